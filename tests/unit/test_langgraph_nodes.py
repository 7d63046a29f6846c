"""Every kind of node LangGraph knows is run as LangGraph would, heard by the probe and kept as a boundary."""

from __future__ import annotations

import asyncio
import operator
import threading
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.config import get_config
from langgraph.func import task
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, RetryPolicy, Send, StreamWriter, interrupt

from batchyard.model.outcome import Reason
from batchyard.testing.state_adapter_conformance import ListeningProbe
from batchyard.workflows.langgraph import LangGraphStateAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from langgraph.runtime import Runtime
    from langgraph.store.base import BaseStore

    from batchyard.engine.ports import RunOutput


class State(TypedDict, total=False):
    count: int
    log: Annotated[list[Any], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]


class Bench:
    """Runs one graph on an adapter of its own and keeps what the probe heard."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.probe = ListeningProbe()
        self.adapter: LangGraphStateAdapter | None = None

    def run(self, graph: StateGraph[Any], state: dict[str, Any] | None = None, durability: str = "sync") -> RunOutput:
        self.adapter = LangGraphStateAdapter(lambda _: graph, self.path)
        return self.adapter.run(
            self.adapter.prepare({}),
            "t",
            state or {"count": 0},
            probe=self.probe,
            recursion_limit=20,
            durability=durability,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "checkpoints.db")
    yield made
    if made.adapter is not None:
        made.adapter.close()


def new_graph() -> Any:
    """Return an empty graph, not typed as one: LangGraph's types know fewer kinds of nodes than it runs."""
    return StateGraph(State)


def chain(*nodes: Any) -> Any:
    graph = new_graph()
    return graph.add_sequence([(f"n{index}", node) for index, node in enumerate(nodes)]).add_edge(START, "n0")


def plain(state: State) -> State:
    return {"log": [state["count"]]}


def with_config(state: State, config: RunnableConfig) -> State:
    return {"log": [config["configurable"]["thread_id"], state["count"]]}


def with_runtime(_: State, runtime: Runtime[None]) -> State:
    assert runtime.execution_info is not None
    return {"log": [runtime.execution_info.thread_id]}


def with_writer_and_store(_: State, *, writer: StreamWriter, store: BaseStore | None = None) -> State:
    writer("heard by nobody")
    return {"log": [store]}


async def awaited(state: State) -> State:
    await asyncio.sleep(0)
    return {"log": [f"awaited {state['count']}"]}


@pytest.mark.parametrize(
    ("node", "log"),
    [
        (plain, [0]),
        (with_config, ["t", 0]),
        (with_runtime, ["t"]),
        (with_writer_and_store, [None]),
        (awaited, ["awaited 0"]),
        (RunnableLambda(plain), [0]),
        (RunnableLambda(awaited), ["awaited 0"]),
        (RunnableLambda(plain) | RunnableLambda(lambda update: {"log": [*update["log"], "piped"]}), [0, "piped"]),
        (lambda _: RunnableLambda(plain), [0]),
        (lambda _: {"log": [get_config()["configurable"]["thread_id"]]}, ["t"]),
    ],
)
def test_a_node_is_given_what_it_asks_for(bench: Bench, node: Any, log: list[Any]) -> None:
    output = bench.run(chain(node))

    assert (output.status, output.message) == ("completed", "")
    assert output.state["log"] == log
    assert bench.probe.heard == ["+n0", "-n0"]


def fan_out(width: int, node: Callable[[State], Any]) -> Any:
    graph = new_graph()
    for index in range(width):
        graph.add_node(f"n{index}", node)
        graph.add_edge(START, f"n{index}")
        graph.add_edge(f"n{index}", "join")
    return graph.add_node("join", lambda _: {"log": ["joined"]}).add_edge("join", END)


def test_plain_nodes_that_are_due_at_once_run_at_once(bench: Bench) -> None:
    meeting = threading.Barrier(3, timeout=20)

    def meet(_: State) -> State:
        meeting.wait()
        return {"log": ["met"]}

    output = bench.run(fan_out(3, meet))

    assert output.state["log"] == ["met"] * 3 + ["joined"]
    assert Counter(bench.probe.heard) == Counter(
        f"{sign}{node}" for node in ("n0", "n1", "n2", "join") for sign in "+-"
    )


def test_nodes_of_one_step_share_entry_and_exit(bench: Bench) -> None:
    output = bench.run(fan_out(3, plain))

    first, second, third, join = output.boundaries
    assert {boundary.node for boundary in (first, second, third)} == {"n0", "n1", "n2"}
    assert len({(boundary.entry_checkpoint, boundary.exit_checkpoint) for boundary in (first, second, third)}) == 1
    assert join.entry_checkpoint == first.exit_checkpoint


def test_plain_and_awaited_nodes_that_are_due_at_once_do_not_wait_for_each_other(bench: Bench) -> None:
    awaited_ran = threading.Event()

    async def let_go(_: State) -> State:
        awaited_ran.set()
        return {"log": ["let go"]}

    def hold(_: State) -> State:
        assert awaited_ran.wait(20)
        return {"log": ["held"]}

    graph = new_graph().add_node(hold).add_node(let_go).add_edge(START, "hold").add_edge(START, "let_go")

    output = bench.run(graph)

    log: Any = output.state["log"]
    assert sorted(log) == ["held", "let go"]


def test_every_packet_sent_to_a_node_is_a_run_of_its_own(bench: Bench) -> None:
    graph = new_graph()
    graph.add_node("split", plain)
    graph.add_node("work", lambda packet: {"log": [packet["item"]]})
    graph.add_edge(START, "split")
    graph.add_conditional_edges("split", lambda _: [Send("work", {"item": item}) for item in "abc"])

    output = bench.run(graph)

    assert output.state["log"] == [0, "a", "b", "c"]
    assert [boundary.node for boundary in output.boundaries] == ["split", "work", "work", "work"]
    assert bench.probe.heard.count("+work") == bench.probe.heard.count("-work") == 3


def test_a_command_leads_where_it_says(bench: Bench) -> None:
    graph = new_graph()
    graph.add_node("choose", lambda _: Command(update={"log": ["chose"]}, goto="right"))
    graph.add_node("left", plain)
    graph.add_node("right", lambda _: {"log": ["right"]})
    graph.add_edge(START, "choose")

    output = bench.run(graph)

    assert output.state["log"] == ["chose", "right"]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_conditional_edge_leads_where_it_says(bench: Bench, is_async: bool) -> None:
    def route(_: State) -> str:
        return "right"

    async def route_later(_: State) -> str:
        return "right"

    graph = new_graph().add_node("choose", plain).add_node("left", plain).add_node("right", with_config)
    graph.add_edge(START, "choose")
    graph.add_conditional_edges("choose", route_later if is_async else route, ["left", "right"])

    output = bench.run(graph)

    assert output.state["log"] == [0, "t", 0]


def subgraph(node: Any = plain, **options: Any) -> Any:
    return chain(node, node).compile(**options)


@pytest.mark.parametrize("node", [plain, awaited])
def test_a_subgraph_is_one_node_and_keeps_checkpoints_of_its_own(bench: Bench, node: Any) -> None:
    output = bench.run(chain(plain, subgraph(node)))

    assert bench.probe.heard == ["+n0", "-n0", "+n1", "-n1"]
    log: Any = output.state["log"]
    assert len(log) == 4
    assert bench.adapter is not None
    nested = [
        stored.config["configurable"]["checkpoint_ns"]
        for stored in bench.adapter.checkpoints.list({"configurable": {"thread_id": "t"}})
    ]
    assert len({ns for ns in nested if ns.startswith("n1:")}) == 1
    assert len(bench.adapter.history("t")) == nested.count("")


def test_a_subgraph_that_a_node_calls_is_no_node_of_its_own(bench: Bench) -> None:
    inner = subgraph()

    output = bench.run(chain(lambda state: inner.invoke(state)))

    assert output.status == "completed"
    assert bench.probe.heard == ["+n0", "-n0"]


def test_a_subgraph_may_answer_for_its_parent(bench: Bench) -> None:
    def leave(_: State) -> Command[str]:
        return Command(graph=Command.PARENT, goto="after", update={"log": ["left"]})

    graph = new_graph().add_node("inner", subgraph(leave)).add_node("after", plain).add_edge(START, "inner")

    output = bench.run(graph)

    assert output.state["log"] == ["left", 0]
    assert [boundary.status for boundary in output.boundaries] == ["completed", "completed"]


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return f"about {word}"


@tool
async def look_up_later(word: str) -> str:
    """Look a word up, asynchronously only."""
    await asyncio.sleep(0)
    return f"later about {word}"


@pytest.mark.parametrize(("known", "answer"), [(look_up, "about x"), (look_up_later, "later about x")])
def test_a_tool_node_calls_its_tools(bench: Bench, known: Any, answer: str) -> None:
    call = {"name": known.name, "args": {"word": "x"}, "id": "1"}
    graph = chain(lambda _: {"messages": [AIMessage("", tool_calls=[call])]}, ToolNode([known]))

    output = bench.run(graph)

    messages = output.state["messages"]
    assert isinstance(messages, list)
    assert messages[-1].content == answer


def test_a_retried_node_is_one_boundary(bench: Bench) -> None:
    failures = [OSError("once"), OSError("twice")]

    def flaky(_: State) -> State:
        if failures:
            raise failures.pop()
        return {"log": ["at last"]}

    graph = new_graph().add_edge(START, "flaky")
    graph.add_node(flaky, retry_policy=RetryPolicy(initial_interval=0.001, jitter=False, retry_on=OSError))

    output = bench.run(graph)

    (boundary,) = output.boundaries
    assert (output.status, boundary.status, boundary.error) == ("completed", "completed", "")
    assert bench.probe.heard == ["+flaky", "-flaky"] * 3


def test_a_node_may_run_a_loop_of_its_own(bench: Bench) -> None:
    output = bench.run(chain(lambda state: asyncio.run(awaited(state)), awaited))

    assert output.state["log"] == ["awaited 0", "awaited 0"]


@task
def double(number: int) -> int:
    return 2 * number


def test_a_plain_node_may_wait_for_tasks(bench: Bench) -> None:
    output = bench.run(chain(lambda _: {"log": [sum(future.result() for future in [double(1), double(2)])]}))

    assert output.state["log"] == [6]


def test_plain_nodes_run_on_the_calling_thread_in_an_asynchronous_graph_too(bench: Bench) -> None:
    output = bench.run(chain(awaited, lambda _: {"log": [threading.get_ident()]}))

    assert output.state["log"] == ["awaited 0", threading.get_ident()]


def test_a_failing_node_ends_its_siblings_before_the_run_is_over(bench: Bench) -> None:
    failed = threading.Event()
    ended: list[str] = []

    def fail(_: State) -> State:
        failed.set()
        raise LookupError("gone")

    def linger(_: State) -> State:
        assert failed.wait(20)
        ended.append("lingered")
        return {"log": ["late"]}

    graph = new_graph().add_node("a", linger).add_node("b", linger).add_node("c", fail)
    for name in "abc":
        graph.add_edge(START, name)

    output = bench.run(graph)

    assert (output.status, output.message) == ("failed", 'node "c" raised LookupError: gone')
    assert ended == ["lingered", "lingered"]
    assert {boundary.exit_checkpoint for boundary in output.boundaries} == {None}


def test_an_awaited_node_that_exits_passes_the_exit_through(bench: Bench) -> None:
    async def leave(_: State) -> State:
        raise SystemExit(3)

    with pytest.raises(SystemExit, match="3"):
        bench.run(chain(plain, leave))


def test_a_breakpoint_within_a_subgraph_interrupts_the_run(bench: Bench) -> None:
    output = bench.run(chain(plain, subgraph(interrupt_before=["n1"])))

    assert (output.status, output.reason) == ("interrupted", Reason.INTERRUPTED_BY_GRAPH)
    assert '"n1"' in output.message
    assert [boundary.status for boundary in output.boundaries] == ["completed", "interrupted"]


def test_several_questions_at_once_are_all_told(bench: Bench) -> None:
    graph = new_graph()
    for name in ("a", "b"):
        graph.add_node(name, lambda _, asker=name: interrupt({"asked by": asker}))
        graph.add_edge(START, name)

    output = bench.run(graph)

    assert output.status == "interrupted"
    assert "{'asked by': 'a'}" in output.message
    assert "{'asked by': 'b'}" in output.message


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_run_that_asks_can_be_resumed_by_langgraph_itself(bench: Bench, durability: str) -> None:
    graph = chain(plain, lambda _: {"log": [interrupt("name?")]})

    output = bench.run(graph, durability=durability)

    assert output.message == "name?"
    assert bench.adapter is not None
    resumed = graph.compile(checkpointer=bench.adapter.checkpoints)
    ended = resumed.invoke(Command(resume="Ada"), {"configurable": {"thread_id": "t"}})
    assert ended["log"] == [0, "Ada"]
