"""Executions are moved as their status allows; what is refused changes nothing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.engine.controller import ExecutionController, RunSettings
from batchyard.model.errors import WorkflowInvalid
from batchyard.model.execution import (
    Breakpoints,
    CheckpointNotFound,
    ExecutionError,
    ExecutionNotFound,
    ExecutionStatus,
    InvalidTransition,
    NoRollbackTarget,
)
from batchyard.model.questions import Answer
from batchyard.testing.state_adapter_conformance import ListeningProbe, add_one, ask, fail
from batchyard.workflows.in_memory import InMemoryStateAdapter, InMemoryWorkflow, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

THREE: dict[str, Node] = {"one": add_one, "two": add_one, "three": add_one}


def controller_of(nodes: Mapping[str, Node] | None = None, **others: Mapping[str, Node]) -> ExecutionController:
    """Return a controller; ``others`` are the workflows of other variants of dimension ``way``."""
    made = {"": nodes or THREE, **others}
    adapter = InMemoryStateAdapter(lambda variants: InMemoryWorkflow(made[variants.get("way", "")]))
    return ExecutionController(adapter, RunSettings(recursion_limit=20, durability="sync"))


def begun(
    controller: ExecutionController, *, before: str = "", variants: Mapping[str, str] | None = None
) -> ExecutionController:
    breakpoints = Breakpoints(before=frozenset([before])) if before else Breakpoints()
    controller.create("e", variants or {}, {"count": 0}, breakpoints=breakpoints)
    controller.run("e", ListeningProbe())
    return controller


def test_a_new_execution_is_pending_and_has_its_input_as_state() -> None:
    controller = controller_of()

    execution = controller.create("e", {}, {"count": 0})

    assert execution.status is ExecutionStatus.PENDING
    assert controller.state("e") == {"count": 0}
    assert list(controller.history("e")) == []


def test_a_run_completes_and_keeps_every_boundary() -> None:
    controller = begun(controller_of())

    execution = controller.get("e")

    assert (execution.status, execution.upcoming) == (ExecutionStatus.COMPLETED, ())
    assert [boundary.node for boundary in execution.boundaries] == ["one", "two", "three"]
    assert controller.state("e") == {"count": 3}


@pytest.mark.proves("execution-controller")
def test_an_execution_pauses_at_its_breakpoint_and_resumes() -> None:
    controller = begun(controller_of(), before="two")
    paused = controller.get("e")

    controller.resume("e", ListeningProbe())

    assert (paused.status, paused.upcoming) == (ExecutionStatus.PAUSED, ("two",))
    assert controller.get("e").status is ExecutionStatus.COMPLETED
    assert [boundary.node for boundary in controller.get("e").boundaries] == ["one", "two", "three"]


@pytest.mark.proves("execution-controller")
def test_a_pause_from_another_thread_holds_a_run_at_its_next_boundary() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def wait(state: dict[str, Any]) -> dict[str, Any]:
        entered.set()
        assert go_on.wait(20)
        return add_one(state)

    controller = controller_of({"one": wait, "two": add_one})
    controller.create("e", {}, {"count": 0})
    running = threading.Thread(target=controller.run, args=("e", ListeningProbe()))
    running.start()
    assert entered.wait(20)

    controller.pause("e")
    go_on.set()
    running.join(20)

    assert controller.get("e").status is ExecutionStatus.PAUSED
    controller.resume("e", ListeningProbe())
    assert controller.state("e") == {"count": 2}


def test_a_pause_before_the_run_can_be_asked_to_stop_is_not_lost() -> None:
    controller = controller_of()
    controller.create("e", {}, {"count": 0})

    class PausesEarly(ListeningProbe):
        def on_stop(self, _stop: object) -> None:
            controller.pause("e")

    controller.run("e", PausesEarly())

    assert controller.get("e").status is ExecutionStatus.PAUSED
    assert controller.get("e").upcoming == ("one",)


def test_a_stop_outranks_a_pause() -> None:
    controller = controller_of()
    controller.create("e", {}, {"count": 0})

    class StopsInOne(ListeningProbe):
        def node_started(self, node: str, task: str) -> None:
            if node == "one":
                controller.stop("e")
                controller.pause("e")

    controller.run("e", StopsInOne())

    assert controller.get("e").status is ExecutionStatus.CANCELLED
    with pytest.raises(InvalidTransition):
        controller.resume("e", ListeningProbe())


def test_a_paused_execution_that_is_stopped_is_cancelled_at_once() -> None:
    controller = begun(controller_of(), before="two")

    controller.stop("e")

    assert controller.get("e").status is ExecutionStatus.CANCELLED


def test_a_question_pauses_and_its_answer_goes_on() -> None:
    controller = begun(controller_of({"one": ask, "two": add_one}))
    asked = controller.get("e")

    controller.resume("e", ListeningProbe(), answers=[Answer({"words": "this"})])

    assert (asked.status, asked.question) == (ExecutionStatus.PAUSED, "Which one?")
    assert controller.get("e").status is ExecutionStatus.COMPLETED
    assert controller.get("e").question == ""
    assert controller.state("e") == {"count": 1, "words": "this"}


def test_a_failed_execution_names_its_node_and_can_be_taken_back_and_tried_again() -> None:
    trouble = [True]

    def shaky(state: dict[str, Any]) -> dict[str, Any]:
        return fail(state) if trouble else add_one(state)

    controller = begun(controller_of({"one": add_one, "two": shaky}))
    failed = controller.get("e")
    trouble.clear()

    back = controller.roll_back("e", node="one")
    controller.resume("e", ListeningProbe())

    assert (failed.status, failed.failed_node) == (ExecutionStatus.FAILED, "two")
    assert "no such document" in failed.error
    assert (back.status, back.error, back.failed_node) == (ExecutionStatus.PAUSED, "", "")
    assert controller.state("e") == {"count": 2}


@pytest.mark.proves("execution-controller")
def test_going_back_forgets_the_boundaries_that_came_after() -> None:
    controller = begun(controller_of())

    back = controller.roll_back("e", node="one")

    assert [boundary.node for boundary in back.boundaries] == ["one"]
    assert back.upcoming == ("two",)
    assert controller.state("e") == {"count": 1}


def test_one_goes_back_to_where_a_node_ended_last() -> None:
    rounds = [3]

    def again(state: dict[str, Any]) -> dict[str, Any]:
        rounds[0] -= 1
        return add_one(state)

    adapter = InMemoryStateAdapter(lambda _: InMemoryWorkflow({"loop": again}, endless=True))
    controller = ExecutionController(adapter, RunSettings(3, "sync"))
    controller.create("e", {}, {"count": 0})
    controller.run("e", ListeningProbe())

    controller.roll_back("e", node="loop")

    assert controller.state("e") == {"count": 3}


def test_a_checkpoint_may_be_named_by_its_beginning() -> None:
    controller = begun(controller_of())
    first = controller.history("e")[1].id

    controller.roll_back("e", checkpoint=first)

    assert controller.state("e") == {"count": 1}
    with pytest.raises(CheckpointNotFound, match="several"):
        controller.roll_back("e", checkpoint="0")


@pytest.mark.proves("bug-30")
def test_a_fork_is_paused_where_it_was_made_and_leaves_its_source_alone() -> None:
    controller = begun(controller_of())
    source = controller.get("e")

    fork = controller.fork("e", "f", node="one", state={"count": 10})
    controller.resume("f", ListeningProbe())

    assert fork.status is ExecutionStatus.PAUSED
    assert fork.origin is not None
    assert (fork.origin.execution, fork.origin.checkpoint) == ("e", controller.history("e")[1].id)
    assert controller.state("f") == {"count": 12}
    assert controller.get("e") == source
    assert controller.state("e") == {"count": 3}


@pytest.mark.proves("execution-controller")
def test_a_fork_may_go_on_with_another_combination() -> None:
    def by_ten(state: dict[str, Any]) -> dict[str, Any]:
        return {"count": state["count"] + 10}

    controller = begun(controller_of(THREE, fast={**THREE, "two": by_ten}))

    controller.fork("e", "f", node="one", variants={"way": "fast"})
    controller.resume("f", ListeningProbe())

    assert controller.state("f") == {"count": 12}
    assert controller.get("f").variants == {"way": "fast"}


def test_a_fork_to_a_workflow_without_the_next_node_is_refused_and_leaves_nothing() -> None:
    controller = begun(controller_of(THREE, short={"one": add_one}))

    with pytest.raises(ExecutionError, match="two would run next"):
        controller.fork("e", "f", node="one", variants={"way": "short"})

    with pytest.raises(ExecutionNotFound):
        controller.get("f")


def test_an_execution_is_not_gone_on_with_by_a_workflow_that_lost_the_next_node() -> None:
    nodes = dict(THREE)
    adapter = InMemoryStateAdapter(lambda _: InMemoryWorkflow(nodes))
    settings = RunSettings(20, "sync")
    begun(ExecutionController(adapter, settings), before="three")
    del nodes["three"]
    later = ExecutionController(adapter, settings)
    adopted = later.adopt("e", {})

    with pytest.raises(ExecutionError, match="three would run next, and the workflow has no such node"):
        later.resume("e", ListeningProbe())

    assert later.get("e") == adopted


def test_an_edit_of_a_paused_execution_is_seen_by_the_next_node() -> None:
    controller = begun(controller_of(), before="two")

    controller.edit("e", {"count": 100})
    controller.resume("e", ListeningProbe())

    assert controller.state("e") == {"count": 102}


def test_breakpoints_may_be_changed_while_an_execution_is_held() -> None:
    controller = begun(controller_of(), before="two")

    controller.set_breakpoints("e", Breakpoints(after=frozenset(["two"])))
    controller.resume("e", ListeningProbe())

    assert controller.get("e").upcoming == ("three",)


def test_an_execution_of_an_earlier_controller_is_adopted_where_it_stands() -> None:
    adapter = InMemoryStateAdapter(lambda _: InMemoryWorkflow(THREE))
    settings = RunSettings(20, "sync")
    begun(ExecutionController(adapter, settings), before="three")
    later = ExecutionController(adapter, settings)

    adopted = later.adopt("e", {})
    later.resume("e", ListeningProbe())

    assert (adopted.status, adopted.upcoming) == (ExecutionStatus.PAUSED, ("three",))
    assert later.state("e") == {"count": 3}


@pytest.mark.parametrize(
    ("move", "error"),
    [
        (lambda made: made.roll_back("e", node="nowhere"), NoRollbackTarget),
        (lambda made: made.roll_back("e", checkpoint="zzz"), CheckpointNotFound),
        (lambda made: made.fork("e", "f", checkpoint="zzz"), CheckpointNotFound),
        (lambda made: made.fork("e", "e"), ExecutionError),
        (lambda made: made.edit("e", {"count": 1}, as_node="nowhere"), ExecutionError),
        (lambda made: made.create("e", {}, {}), ExecutionError),
        (lambda made: made.set_breakpoints("e", Breakpoints(before=frozenset(["nowhere"]))), ExecutionError),
        (lambda made: made.create("g", {}, {}, breakpoints=Breakpoints(frozenset(["nowhere"]))), ExecutionError),
        (lambda made: made.run("e", ListeningProbe()), InvalidTransition),
        (lambda made: made.pause("e"), InvalidTransition),
        (lambda made: made.get("never"), ExecutionNotFound),
        (lambda made: made.adopt("never", {}), ExecutionNotFound),
        (lambda made: made.state("e", "zzz"), CheckpointNotFound),
    ],
)
@pytest.mark.proves("execution-controller")
def test_what_is_refused_is_told_by_its_type_and_changes_nothing(
    move: Callable[[ExecutionController], object], error: type[ExecutionError]
) -> None:
    controller = begun(controller_of(), before="two")
    before, history = controller.get("e"), list(controller.history("e"))

    with pytest.raises(error):
        move(controller)

    assert controller.get("e") == before
    assert list(controller.history("e")) == history


def test_a_refusal_says_the_status_the_move_and_what_it_takes() -> None:
    controller = begun(controller_of())

    with pytest.raises(InvalidTransition) as refused:
        controller.resume("e", ListeningProbe())

    assert (refused.value.status, str(refused.value.move)) == (ExecutionStatus.COMPLETED, "resume")
    assert str(refused.value) == "cannot resume execution e: it is Completed; that takes Paused"


def test_a_workflow_that_cannot_be_made_makes_no_execution() -> None:
    adapter = InMemoryStateAdapter(lambda _: "no workflow")
    controller = ExecutionController(adapter, RunSettings(20, "sync"))

    with pytest.raises(WorkflowInvalid):
        controller.create("e", {}, {})

    with pytest.raises(ExecutionNotFound):
        controller.get("e")
