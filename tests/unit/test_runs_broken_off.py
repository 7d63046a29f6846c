"""A run that raises leaves its execution where it can be gone on with: as it was, or at its last boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batchyard.engine.controller import ExecutionController, RunSettings
from batchyard.model.execution import ExecutionError, ExecutionStatus
from batchyard.model.questions import Answer
from batchyard.testing.state_adapter_conformance import ListeningProbe, add_one, ask
from batchyard.workflows.in_memory import InMemoryStateAdapter, InMemoryWorkflow, Node

if TYPE_CHECKING:
    from collections.abc import Mapping

THREE: dict[str, Node] = {"one": add_one, "two": add_one, "three": add_one}


def controller_of(nodes: Mapping[str, Node]) -> ExecutionController:
    adapter = InMemoryStateAdapter(lambda _variants: InMemoryWorkflow(nodes))
    return ExecutionController(adapter, RunSettings(recursion_limit=20, durability="sync"))


def begun(nodes: Mapping[str, Node]) -> ExecutionController:
    controller = controller_of(nodes)
    controller.create("e", {}, {"count": 0})
    controller.run("e", ListeningProbe())
    return controller


def test_a_run_that_an_interrupt_ends_is_paused_at_its_last_boundary_and_can_go_on() -> None:
    interrupts = [True]

    def interrupted_once(state: dict[str, Any]) -> dict[str, Any]:
        if interrupts:
            interrupts.pop()
            raise KeyboardInterrupt
        return add_one(state)

    controller = controller_of({**THREE, "two": interrupted_once})
    controller.create("e", {}, {"count": 0})

    with pytest.raises(KeyboardInterrupt):
        controller.run("e", ListeningProbe())
    paused = controller.get("e")
    controller.resume("e", ListeningProbe())

    assert (paused.status, paused.upcoming) == (ExecutionStatus.PAUSED, ("two",))
    assert controller.get("e").status is ExecutionStatus.COMPLETED
    assert controller.state("e") == {"count": 3}


def test_a_resume_that_an_interrupt_ends_at_once_leaves_the_question() -> None:
    class Interrupts(ListeningProbe):
        def on_stop(self, _stop: object) -> None:
            raise KeyboardInterrupt

    controller = begun({"ask": ask})
    asking = controller.get("e")

    with pytest.raises(KeyboardInterrupt):
        controller.resume("e", Interrupts(), answers=[Answer("yes")])

    assert controller.get("e") == asking


def test_an_execution_whose_thread_another_has_is_refused_and_stays_pending() -> None:
    controller = begun(THREE)
    controller.forget("e")
    created = controller.create("e", {}, {"count": 0})

    with pytest.raises(ExecutionError, match="e"):
        controller.run("e", ListeningProbe())

    assert controller.get("e") == created


def test_a_fork_to_a_thread_that_there_is_already_is_refused() -> None:
    controller = begun(THREE)
    controller.fork("e", "f")
    controller.forget("f")

    with pytest.raises(ExecutionError, match="f"):
        controller.fork("e", "f")
