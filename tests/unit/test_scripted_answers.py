"""Answers that a case brings along: which question gets which, and that a run goes on with them as one run."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, cast

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from batchyard.clock import SystemClock
from batchyard.decide.answers import addressed, scripted
from batchyard.engine.attempts import Order
from batchyard.engine.controller import RunSettings
from batchyard.judge import EvaluationEngine
from batchyard.model.execution import ExecutionError
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.questions import Answer, Question, ScriptedAnswer
from batchyard.runners.attempt import Executed, execute
from batchyard.runners.meter import Meter
from batchyard.testing.state_adapter_conformance import HastyProbe, ListeningProbe
from batchyard.workflows.langgraph import LangGraphStateAdapter
from usage_page import UsagePage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batchyard.engine.ports import Probe
    from batchyard.model.trial import JSON

WHO = Question("1", "review", "Who pays?")
WHERE = Question("2", "ship", "Where to?")


# -- which answer goes to which question -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "given"),
    [
        ([ScriptedAnswer("me"), ScriptedAnswer("here")], {"1": "me", "2": "here"}),
        ([ScriptedAnswer("here", node="ship"), ScriptedAnswer("me")], {"1": "me", "2": "here"}),
        ([ScriptedAnswer("here", question="Where"), ScriptedAnswer("me")], {"1": "me", "2": "here"}),
        ([ScriptedAnswer("me")], {"1": "me"}),
        ([ScriptedAnswer("no", node="ship", question="Who")], {}),
        ([], {}),
    ],
)
def test_each_question_takes_the_first_answer_that_fits(script: list[ScriptedAnswer], given: dict[str, str]) -> None:
    answers, left = scripted([WHO, WHERE], script)

    assert {answer.question: answer.value for answer in answers} == given
    assert len(left) == len(script) - len(given)


def test_an_answer_is_given_once() -> None:
    _, left = scripted([WHO], [ScriptedAnswer("me", node="review")])

    assert scripted([WHO], left) == ((), ())


@pytest.mark.parametrize(("questions", "given"), [([WHO], {"1": "me"}), ([], {"": "me"})])
def test_the_only_question_and_one_to_come_need_not_be_named(questions: list[Question], given: dict[str, str]) -> None:
    assert addressed("e", questions, [Answer("me")]) == given


@pytest.mark.parametrize(
    ("questions", "answers", "words"),
    [
        ([], [Answer("me", "1")], "execution e asks no question 1; it asks nothing"),
        ([], [Answer("me"), Answer("you")], "question to come is answered twice"),
        ([WHO, WHERE], [Answer("me")], r'several questions: 1 \(node "review"\), 2 \(node "ship"\); say which'),
        ([WHO], [Answer("me", "3")], "asks no question 3; it asks 1"),
        ([WHO], [Answer("me", "1"), Answer("you", "1")], "question 1 is answered twice"),
    ],
)
def test_an_answer_to_what_is_not_asked_is_refused(
    questions: list[Question], answers: list[Answer], words: str
) -> None:
    with pytest.raises(ExecutionError, match=words):
        addressed("e", questions, answers)


# -- an attempt goes on with its case's answers ----------------------------------------------------------------------


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    metrics: Annotated[dict[str, float], operator.or_]


def asking(*questions: str) -> Callable[[State], State]:
    """A node that asks one thing after another and logs the answers."""
    return lambda _: {"log": [str(interrupt(question)) for question in questions], "metrics": {"asked": 1}}


def plain(_: State) -> State:
    return {"log": ["plain"]}


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Callable[..., Executed]]:
    """Run these nodes, one after the other or at once, as an attempt whose case has these answers."""
    adapters: list[LangGraphStateAdapter] = []

    def run(
        nodes: dict[str, Any], *answers: JSON, at_once: bool = False, judge: Any = None, probe: Probe | None = None
    ) -> Executed:
        graph: Any = StateGraph(State)
        for name, node in nodes.items():
            graph.add_node(name, cast("Any", node))
        for before, after in zip([START, *nodes], nodes, strict=False):
            graph.add_edge(START if at_once else before, after)
        adapters.append(LangGraphStateAdapter(lambda _: graph, tmp_path / f"{len(adapters)}.db"))
        order = Order("t/one/0", 0, "t", {}, "one", 0, 1, 1, "thread", {"log": []}, answers=answers)
        return execute(
            order, adapters[-1], judge or EvaluationEngine([], 0.5), RunSettings(20, "sync"),
            probe or ListeningProbe(), Meter(UsagePage()), SystemClock().monotonic,
        )  # fmt: skip

    yield run
    for adapter in adapters:
        adapter.close()


def test_a_graph_that_asks_goes_on_with_the_case_s_answers(attempt: Callable[..., Executed]) -> None:
    executed = attempt({"first": plain, "ask": asking("who?", "where?"), "last": plain}, {"value": "me"}, {"value": 7})

    assert (executed.outcome, executed.message) == (Outcome.PASSED, "")
    assert executed.output["log"] == ["plain", "me", "7", "plain"]


def test_all_that_ran_before_and_after_an_answer_is_one_result(attempt: Callable[..., Executed]) -> None:
    executed = attempt({"first": plain, "ask": asking("who?"), "last": plain}, {"value": "me"})

    assert [(boundary.node, boundary.status) for boundary in executed.boundaries] == [
        ("first", "completed"), ("ask", "interrupted"), ("ask", "completed"), ("last", "completed"),
    ]  # fmt: skip
    assert executed.metrics["asked"] == 1


def test_nodes_that_ask_at_once_each_get_their_own_answer(attempt: Callable[..., Executed]) -> None:
    executed = attempt(
        {"a": asking("who?"), "b": plain, "c": asking("where?")},
        {"value": "here", "node": "c"}, {"value": "me", "node": "a"},
        at_once=True,
    )  # fmt: skip

    assert executed.outcome is Outcome.PASSED
    assert executed.output["log"] == ["me", "plain", "here"]
    # What completed beside the questions has its exit where the step that they share ended.
    exits = {boundary.exit_checkpoint for boundary in executed.boundaries if boundary.status == "completed"}
    assert len(exits) == 1
    assert None not in exits


def test_a_question_nobody_answers_says_who_asked_and_what_was_used(attempt: Callable[..., Executed]) -> None:
    executed = attempt(
        {"ask": asking("who?"), "ask again": asking("where?")}, {"value": "me"}, {"value": "x", "node": "elsewhere"}
    )

    assert (executed.outcome, executed.reason) == (Outcome.NEEDS_INPUT, Reason.INTERRUPTED_BY_GRAPH)
    assert executed.message == (
        'node "ask again" asks: where? (1 of the case\'s 2 answers used, none of the others fits)'
    )
    assert executed.output["log"] == ["me"]


def test_a_case_without_answers_says_what_was_asked_as_ever(attempt: Callable[..., Executed]) -> None:
    executed = attempt({"ask": asking("who?")})

    assert (executed.outcome, executed.message) == (Outcome.NEEDS_INPUT, "who?")


def test_an_attempt_that_is_asked_to_stop_is_not_answered_into_going_on(attempt: Callable[..., Executed]) -> None:
    executed = attempt({"ask": asking("who?"), "last": plain}, {"value": "me"}, probe=HastyProbe())

    assert (executed.outcome, executed.stopped) == (Outcome.CANCELLED, True)


def test_the_time_of_all_runs_is_judged_together(attempt: Callable[..., Executed]) -> None:
    seen: list[float] = []

    class Judge(EvaluationEngine):
        def judge(self, observed: Any) -> Any:
            seen.append(observed.duration_seconds)
            return super().judge(observed)

    executed = attempt({"ask": asking("who?"), "last": plain}, {"value": "me"}, judge=Judge([], 0.5))

    assert seen[0] >= sum(boundary.duration_seconds for boundary in executed.boundaries)
