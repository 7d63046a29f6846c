"""What a held, rolled back or forked run must respect in LangGraph: reducers, branches, fan-out, subgraphs."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, cast

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt

from batchyard.engine.controller import ExecutionController, RunSettings
from batchyard.model.execution import Breakpoints, ExecutionError, ExecutionStatus
from batchyard.model.questions import Answer
from batchyard.testing.state_adapter_conformance import ListeningProbe
from batchyard.workflows.langgraph import LangGraphStateAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    way: str
    number: int


@pytest.fixture
def controller_of(tmp_path: Path) -> Iterator[Any]:
    made: list[LangGraphStateAdapter] = []

    def make(factory: Callable[[Mapping[str, str]], object]) -> ExecutionController:
        made.append(LangGraphStateAdapter(factory, tmp_path / "checkpoints.db"))
        return ExecutionController(made[-1], RunSettings(50, "sync"))

    yield make
    for adapter in made:
        adapter.close()


def noting(name: str) -> Any:
    return lambda _state: {"log": [name]}


def chain(_variants: Mapping[str, str], *names: str) -> StateGraph[Any]:
    graph = StateGraph(State)
    for name in names:
        graph.add_node(name, noting(name))
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph


def before(*nodes: str) -> Breakpoints:
    return Breakpoints(before=frozenset(nodes))


def started(
    controller: ExecutionController, state: State | None = None, breakpoints: Breakpoints | None = None
) -> ExecutionController:
    controller.create("e", {}, dict(state or {}), breakpoints=breakpoints or Breakpoints())
    controller.run("e", ListeningProbe())
    return controller


def test_what_was_rolled_back_leaves_no_trace_in_a_list_that_is_added_to(controller_of: Any) -> None:
    controller = started(controller_of(lambda v: chain(v, "a", "b", "c")))

    controller.roll_back("e", node="a")
    controller.resume("e", ListeningProbe())

    assert controller.state("e") == {"log": ["a", "b", "c"]}


def test_an_edit_replaces_a_list_that_nodes_add_to(controller_of: Any) -> None:
    controller = started(controller_of(lambda v: chain(v, "a", "b", "c")), breakpoints=before("b"))

    controller.edit("e", {"log": ["edited"]})
    controller.resume("e", ListeningProbe())

    assert controller.state("e") == {"log": ["edited", "b", "c"]}


def test_an_edit_decides_anew_where_a_branch_goes(controller_of: Any) -> None:
    def factory(_: Mapping[str, str]) -> StateGraph[Any]:
        graph = StateGraph(State)
        for name in ("ask", "left", "right"):
            graph.add_node(name, noting(name))
            if name != "ask":
                graph.add_edge(name, END)
        graph.add_edge(START, "ask")
        graph.add_conditional_edges("ask", lambda state: state["way"], ["left", "right"])
        return graph

    controller = started(controller_of(factory), {"way": "left"}, before("left", "right"))
    held = controller.get("e").upcoming

    edited = controller.edit("e", {"way": "right"})
    controller.resume("e", ListeningProbe())

    assert (held, edited.upcoming) == (("left",), ("right",))
    assert controller.state("e") == {"log": ["ask", "right"], "way": "right"}


def test_nodes_that_ran_at_once_are_edited_as_one_that_is_named(controller_of: Any) -> None:
    def factory(_: Mapping[str, str]) -> StateGraph[Any]:
        graph = StateGraph(State)
        for name in ("a", "b", "join"):
            graph.add_node(name, noting(name))
        graph.add_edge(START, "a")
        graph.add_edge(START, "b")
        graph.add_edge(["a", "b"], "join")
        graph.add_edge("join", END)
        return graph

    controller = started(controller_of(factory), breakpoints=before("join"))

    with pytest.raises(ExecutionError, match="ran last, at once"):
        controller.edit("e", {"number": 1})
    controller.edit("e", {"number": 1}, as_node="a")
    controller.resume("e", ListeningProbe())

    assert controller.state("e") == {"log": ["a", "b", "join"], "number": 1}


def test_a_fan_out_is_forked_with_all_that_it_had_sent(controller_of: Any) -> None:
    def factory(_: Mapping[str, str]) -> StateGraph[Any]:
        graph = StateGraph(State)
        graph.add_node("plan", noting("plan"))
        graph.add_node("work", cast("Any", lambda state: {"log": [f"work {state['number']}"]}))
        graph.add_node("end", noting("end"))
        graph.add_edge(START, "plan")
        graph.add_conditional_edges("plan", lambda _: [Send("work", {"number": n}) for n in range(3)], ["work"])
        graph.add_edge("work", "end")
        graph.add_edge("end", END)
        return graph

    controller = started(controller_of(factory))

    fork = controller.fork("e", "f", node="plan")
    controller.resume("f", ListeningProbe())

    assert fork.upcoming == ("work",)
    assert controller.state("f") == controller.state("e")
    assert controller.state("f")["log"] == ["plan", "work 0", "work 1", "work 2", "end"]


def test_a_subgraph_runs_again_whole_after_going_back_behind_it(controller_of: Any) -> None:
    def factory(_: Mapping[str, str]) -> StateGraph[Any]:
        graph = StateGraph(State)
        graph.add_node("a", noting("a"))
        graph.add_node("inner", chain({}, "x", "y").compile())
        graph.add_node("b", noting("b"))
        for first, second in ((START, "a"), ("a", "inner"), ("inner", "b"), ("b", END)):
            graph.add_edge(first, second)
        return graph

    controller = started(controller_of(factory))
    whole = controller.state("e")

    controller.roll_back("e", node="a")
    controller.resume("e", ListeningProbe())

    assert controller.state("e") == whole


def test_a_failed_branch_is_tried_again_and_its_sisters_are_not(controller_of: Any) -> None:
    ran: list[str] = []

    def factory(_: Mapping[str, str]) -> StateGraph[Any]:
        def good(_state: Any) -> Any:
            ran.append("good")
            return {"log": ["good"]}

        def bad(_state: Any) -> Any:
            ran.append("bad")
            if ran.count("bad") == 1:
                raise RuntimeError("once")
            return {"log": ["bad"]}

        graph = StateGraph(State)
        graph.add_node("good", cast("Any", good))
        graph.add_node("bad", cast("Any", bad))
        for name in ("good", "bad"):
            graph.add_edge(START, name)
            graph.add_edge(name, END)
        return graph

    controller = started(controller_of(factory))
    assert controller.get("e").status is ExecutionStatus.FAILED

    controller.roll_back("e")
    controller.resume("e", ListeningProbe())

    # Going back to the newest boundary drops what the step had done: both branches run.
    assert sorted(ran) == ["bad", "bad", "good", "good"]
    assert sorted(controller.state("e")["log"]) == ["bad", "good"]  # type: ignore[call-overload]


def test_a_question_within_a_subgraph_is_answered_there(controller_of: Any) -> None:
    def factory(_: Mapping[str, str]) -> StateGraph[Any]:
        inner = StateGraph(State)
        inner.add_node("x", noting("x"))
        inner.add_node("ask", cast("Any", lambda _state: {"log": [interrupt("who?")]}))
        for first, second in ((START, "x"), ("x", "ask"), ("ask", END)):
            inner.add_edge(first, second)
        graph = StateGraph(State)
        graph.add_node("inner", inner.compile())
        graph.add_edge(START, "inner")
        graph.add_edge("inner", END)
        return graph

    controller = started(controller_of(factory))
    asked = controller.get("e")

    controller.resume("e", ListeningProbe(), answers=[Answer("me")])

    assert asked.question == "who?"
    assert controller.state("e") == {"log": ["x", "me"]}


def test_a_fork_of_a_question_asks_it_again(controller_of: Any) -> None:
    def factory(_: Mapping[str, str]) -> StateGraph[Any]:
        graph = StateGraph(State)
        graph.add_node("ask", cast("Any", lambda _state: {"log": [interrupt("who?")]}))
        graph.add_edge(START, "ask")
        graph.add_edge("ask", END)
        return graph

    controller = started(controller_of(factory))
    controller.fork("e", "f")

    controller.resume("f", ListeningProbe())
    asked = controller.get("f").question
    controller.resume("f", ListeningProbe(), answers=[Answer("you")])

    assert asked == "who?"
    assert controller.state("f") == {"log": ["you"]}
    assert controller.get("e").status is ExecutionStatus.PAUSED


def test_an_execution_is_adopted_by_another_process_s_adapter_on_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "checkpoints.db"

    def factory(variants: Mapping[str, str]) -> StateGraph[Any]:
        return chain(variants, "a", "b", "c")

    first = LangGraphStateAdapter(factory, file)
    started(ExecutionController(first, RunSettings(50, "sync")), breakpoints=before("c"))
    first.close()
    second = LangGraphStateAdapter(factory, file)
    controller = ExecutionController(second, RunSettings(50, "sync"))

    adopted = controller.adopt("e", {})
    controller.resume("e", ListeningProbe())

    assert adopted.upcoming == ("c",)
    assert controller.state("e") == {"log": ["a", "b", "c"]}
    second.close()


def test_an_edit_of_a_key_that_the_state_does_not_have_is_refused(controller_of: Any) -> None:
    controller = started(controller_of(lambda v: chain(v, "a", "b")), breakpoints=before("b"))

    with pytest.raises(ExecutionError, match=r'no "nonsense"; it has "log", "way", "number"'):
        controller.edit("e", {"nonsense": 1})
