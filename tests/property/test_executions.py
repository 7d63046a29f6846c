"""Whatever is done with an execution, in whatever order: it stands where its nodes and its moves put it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from batchyard.decide.execution import ALLOWED
from batchyard.engine.controller import ExecutionController, RunSettings
from batchyard.model.execution import Breakpoints, ExecutionStatus, InvalidTransition, Move
from batchyard.testing.state_adapter_conformance import ListeningProbe
from batchyard.workflows.in_memory import InMemoryStateAdapter, InMemoryWorkflow

NODES = ("a", "b", "c", "d")


def _note(node: str, state: dict[str, Any]) -> dict[str, Any]:
    return {"path": [*state["path"], node]}


class Executions(RuleBasedStateMachine):
    """One execution, and beside it a model: the path it must have gone, and its status."""

    def __init__(self) -> None:
        super().__init__()
        nodes = {name: lambda state, name=name: _note(name, state) for name in NODES}
        self.controller = ExecutionController(
            InMemoryStateAdapter(lambda _: InMemoryWorkflow(nodes)), RunSettings(50, "sync")
        )
        self.controller.create("e", {}, {"path": []})
        self.status = ExecutionStatus.PENDING
        self.path: list[str] = []
        self.at = 0
        self.stops: set[str] = set()
        self.forks = 0

    @rule(nodes=st.sets(st.sampled_from(NODES)))
    def break_before(self, nodes: set[str]) -> None:
        self.controller.set_breakpoints("e", Breakpoints(before=frozenset(nodes)))
        self.stops = nodes

    @rule(move=st.sampled_from([Move.RUN, Move.RESUME]))
    def go_on(self, move: Move) -> None:
        act = self.controller.run if move is Move.RUN else self.controller.resume
        if self.status not in ALLOWED[move]:
            with pytest.raises(InvalidTransition):
                act("e", ListeningProbe())
            return

        act("e", ListeningProbe())

        # A run that begins is held before its first node too; one that goes on is not held where it stands.
        begun = move is Move.RUN
        while self.at < len(NODES) and (NODES[self.at] not in self.stops or not begun):
            self.path.append(NODES[self.at])
            self.at += 1
            begun = True
            if self.at < len(NODES) and NODES[self.at] in self.stops:
                break
        self.status = ExecutionStatus.COMPLETED if self.at == len(NODES) else ExecutionStatus.PAUSED

    @precondition(lambda self: self.at > 0)
    @rule(data=st.data())
    def go_back(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(NODES[: self.at]))
        if self.status not in ALLOWED[Move.ROLL_BACK]:
            with pytest.raises(InvalidTransition):
                self.controller.roll_back("e", node=node)
            return

        self.controller.roll_back("e", node=node)

        self.at = NODES.index(node) + 1
        self.path = list(self.controller.state("e")["path"])  # type: ignore[call-overload]
        assert self.path[-1] == node
        self.status = ExecutionStatus.PAUSED

    @rule()
    def stop(self) -> None:
        if self.status not in ALLOWED[Move.STOP]:
            with pytest.raises(InvalidTransition):
                self.controller.stop("e")
            return

        self.controller.stop("e")

        self.status = ExecutionStatus.CANCELLED

    @rule()
    def edit(self) -> None:
        if self.status is not ExecutionStatus.PAUSED:
            with pytest.raises(InvalidTransition):
                self.controller.edit("e", {"path": []})
            return

        self.controller.edit("e", {"path": ["edited"]})

        self.path = ["edited"]

    @rule()
    def fork(self) -> None:
        if self.status not in ALLOWED[Move.FORK] or not self.controller.history("e"):
            return
        self.forks += 1

        fork = self.controller.fork("e", f"f{self.forks}")

        assert fork.status is ExecutionStatus.PAUSED
        assert self.controller.state(fork.id) == self.controller.state("e")
        assert fork.upcoming == self.controller.get("e").upcoming

    @invariant()
    def stands_where_it_should(self) -> None:
        execution = self.controller.get("e")
        assert execution.status is self.status
        assert self.controller.state("e") == {"path": self.path}
        if execution.status in (ExecutionStatus.PAUSED, ExecutionStatus.COMPLETED):
            assert execution.upcoming == NODES[self.at : self.at + 1]


TestExecutions = Executions.TestCase
TestExecutions.settings = settings(max_examples=60, stateful_step_count=25)
