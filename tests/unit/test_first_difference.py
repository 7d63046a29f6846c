"""Which trials a combination lost to the baseline, and after which node a run first differs from another."""

from __future__ import annotations

import operator
import random
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypedDict

import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

from batchyard.judge.first_difference import Difference, How, Step, broken_node, first_difference, steps_of
from batchyard.judge.lost_trials import Lost, LostTrials, worst
from batchyard.model.outcome import Outcome
from batchyard.model.trial import NodeBoundary
from batchyard.testing.state_adapter_conformance import ListeningProbe
from batchyard.workflows.kept_states import read_steps
from batchyard.workflows.langgraph import LangGraphStateAdapter
from judge_builders import a_result

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batchyard.model.trial import AttemptResult


@dataclass
class Note:
    """Counts how often one is made."""

    made: ClassVar[int] = 0
    text: str

    def __post_init__(self) -> None:
        Note.made += 1


class State(TypedDict, total=False):
    question: str
    found: set[str]
    score: float
    note: Note
    log: Annotated[list[str], operator.add]
    messages: Annotated[list[Any], add_messages]


def steps(path: Path, nodes: Mapping[str, Any], durability: str = "sync") -> Any:
    """Run nodes one after the other on a checkpoint file, and read it back."""
    graph: Any = StateGraph(State).add_sequence(list(nodes.items())).add_edge(START, next(iter(nodes)))
    with closing(LangGraphStateAdapter(lambda _: graph, path)) as adapter:
        workflow, begin = adapter.prepare({}), {"question": "why?", "log": []}
        adapter.run(workflow, "t", begin, probe=ListeningProbe(), recursion_limit=9, durability=durability)
    return read_steps(path, "t")


def retrieve(_: State) -> State:
    # Its order hangs on the process, and the message's id on chance.
    return {"found": set(random.sample(list("abcdefgh"), 8)), "messages": [AIMessage("hm")]}


def read(_: State) -> State:
    return {"score": float("nan"), "log": ["read"]}


def read_wrongly(_: State) -> State:
    return {"score": 0.0, "log": ["read"]}


def cite(_: State) -> State:
    return {"log": ["cited"]}


# -- states ------------------------------------------------------------------------------------------------------------


def test_two_equal_runs_differ_in_no_state_whatever_ids_and_orders_chance_gave_them(tmp_path: Path) -> None:
    nodes = {"retrieve": retrieve, "read": read, "cite": cite}

    one, other = steps(tmp_path / "one.db", nodes), steps(tmp_path / "other.db", nodes)

    assert [step.nodes for step in one] == [(), (), ("retrieve",), ("read",), ("cite",)]
    assert first_difference(one, other) == Difference(How.SAME)


def test_the_first_node_after_which_a_state_differs_is_named_with_the_keys(tmp_path: Path) -> None:
    right = steps(tmp_path / "right.db", {"retrieve": retrieve, "read": read, "cite": cite})
    wrong = steps(tmp_path / "wrong.db", {"retrieve": retrieve, "read": read_wrongly, "cite": cite})

    found = first_difference(wrong, right)

    assert found == Difference(How.STATE, ("read",), ("score",))
    assert found.sentence("base") == "first differs from base after node read (score)"


def test_of_a_run_whose_states_were_not_all_kept_none_is_compared(tmp_path: Path) -> None:
    found = steps(tmp_path / "exit.db", {"retrieve": retrieve, "read": read}, durability="exit")

    assert found == ()


def test_reading_states_makes_no_value_of_a_class_of_the_workflow(tmp_path: Path) -> None:
    def keep_a_note(_: State) -> State:
        return {"note": Note("mine")}

    one = steps(tmp_path / "one.db", {"keep": keep_a_note})
    made = Note.made
    other = read_steps(tmp_path / "one.db", "t")

    assert one[-1].state == other[-1].state
    assert "note" in one[-1].state
    assert Note.made == made


# -- the way taken -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "other", "sentence"),
    [
        (["plan", "read"], ["plan", "cite"], "first differs from base after node plan: it goes on to read, not cite"),
        (["plan"], ["plan", "cite"], "first differs from base after node plan: it goes on to the end, not cite"),
        (["read"], ["cite"], "first differs from base at its start: it goes on to read, not cite"),
        (["plan"], ["plan"], ""),
        ([], [], ""),
    ],
)
def test_without_states_the_way_taken_tells_two_runs_apart_or_nothing_does(
    mine: list[str], other: list[str], sentence: str
) -> None:
    found = first_difference(steps_of(boundaries(mine)), steps_of(boundaries(other)))

    assert found.sentence("base") == sentence


def test_nodes_that_ended_in_one_step_are_the_same_in_any_order() -> None:
    one, other = [Step(("a", "b"))], [Step(("b", "a"))]

    assert first_difference(one, other).how is How.UNKNOWN


def test_the_node_that_ended_a_trial_is_at_fault() -> None:
    raised = replace(a_result(), boundaries=(*boundaries(["plan"]), NodeBoundary("read", "failed", 0.1, step=2)))

    found = broken_node(raised)

    assert found is not None
    assert found.sentence("base") == "node read failed"


def test_a_sentence_is_bounded_whatever_the_names_are() -> None:
    names = tuple(f"{number}{'x' * 1000}" for number in range(1000))

    said = Difference(How.STATE, names, names).sentence("base")

    assert said.endswith("… and 995 more)")
    assert len(said) < 1000


def boundaries(nodes: list[str]) -> tuple[NodeBoundary, ...]:
    return tuple(NodeBoundary(node, "completed", 0.1, step=step) for step, node in enumerate(nodes, 1))


# -- what was lost -----------------------------------------------------------------------------------------------------


def result(ordinal: int, combination: str, case: str, outcome: Outcome, repeat: int = 0) -> AttemptResult:
    return replace(a_result(combination, outcome), ordinal=ordinal, case=case, repeat=repeat)


def test_a_trial_is_lost_if_the_baseline_passed_the_same_case_and_repeat() -> None:
    lost = LostTrials("base")

    for one in (
        result(0, "new", "a", Outcome.FAILED),
        result(1, "new", "a", Outcome.FAILED, repeat=1),
        result(2, "new", "b", Outcome.TIMED_OUT),
        result(3, "new", "c", Outcome.ERRORED),
        result(10, "base", "a", Outcome.PASSED),
        result(11, "base", "a", Outcome.FAILED, repeat=1),
        result(12, "base", "b", Outcome.PASSED),
        result(13, "base", "c", Outcome.PASSED),
    ):
        lost.add(one)

    assert lost.by_combination() == {"new": [Lost(0, 10), Lost(2, 12)]}


def test_what_is_looked_into_is_of_every_combination_in_turn_and_bounded() -> None:
    lost = LostTrials("base")
    for case in range(20):
        lost.add(result(100 + case, "base", f"case-{case}", Outcome.PASSED))
        lost.add(result(200 + case, "worse", f"case-{case}", Outcome.FAILED))
    lost.add(result(300, "best", "case-0", Outcome.FAILED))

    found = list(worst(lost.by_combination("best")))

    assert [one.ordinal for one in found] == [300, *range(200, 209)]
