"""A state adapter without a framework: plain functions run in order, states kept in memory.

For tests and for showing what a state adapter does. It means the same by boundaries, stops and failures as the
LangGraph one (``testing.state_adapter_conformance`` holds both to it); it keeps nothing on disk.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batchyard.clock import Clock, SystemClock
from batchyard.engine.ports import Checkpoint, Probe, RunOutput
from batchyard.model.errors import WorkflowInvalid
from batchyard.model.outcome import Reason
from batchyard.workflows.endings import STOPPED, in_use, out_of_steps, raised, unstorable
from batchyard.workflows.recorder import Recorder
from batchyard.workflows.unstorable import blame

if TYPE_CHECKING:
    from batchyard.model.trial import JSON

Node = Callable[[dict[str, Any]], Mapping[str, Any] | None]
"""Takes the state and returns what changes in it, or None."""


class AskForInput(Exception):
    """Raised by a node that cannot go on without an answer; the run ends as ``interrupted``."""


@dataclass(frozen=True, slots=True)
class InMemoryWorkflow:
    """Nodes that run in written order, over and over if ``endless``."""

    nodes: Mapping[str, Node]
    endless: bool = False


@dataclass(slots=True)
class _Run:
    """A thread: its checkpoints, oldest first, and the state at each."""

    checkpoints: list[Checkpoint] = field(default_factory=list)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)

    def store(self, step: int, state: dict[str, Any], ran: tuple[str, ...], upcoming: str | None) -> str:
        parent = self.checkpoints[-1].id if self.checkpoints else None
        id_ = f"{len(self.checkpoints):06d}"
        following = () if upcoming is None else (upcoming,)
        self.checkpoints.append(Checkpoint(id_, step, parent, ran, following))
        self.states[id_] = copy.deepcopy(state)
        return id_


class InMemoryStateAdapter:
    """Runs ``InMemoryWorkflow``s. One run at a time.

    Args:
        factory: Called with the variants, returns an ``InMemoryWorkflow``.
        clock: Measures node durations.
    """

    def __init__(self, factory: Callable[[Mapping[str, str]], object], *, clock: Clock | None = None) -> None:
        self._factory = factory
        self._clock = clock or SystemClock()
        self._workflows: dict[tuple[tuple[str, str], ...], InMemoryWorkflow] = {}
        self._threads: dict[str, _Run] = {}

    def prepare(self, variants: Mapping[str, str]) -> object:
        """Return the workflow for these variants, made once and kept."""
        key = tuple(sorted(variants.items()))
        if key not in self._workflows:
            made = self._factory(dict(variants))
            if not isinstance(made, InMemoryWorkflow):
                raise WorkflowInvalid(f"the factory returned a {type(made).__name__}; return an InMemoryWorkflow")
            self._workflows[key] = made
        return self._workflows[key]

    def run(
        self,
        workflow: object,
        thread_id: str,
        state: Mapping[str, JSON],
        *,
        probe: Probe,
        recursion_limit: int,
        durability: str,
    ) -> RunOutput:
        """Run the nodes on a new thread; memory is as durable as it gets, whatever ``durability`` says."""
        if not isinstance(workflow, InMemoryWorkflow):
            raise TypeError(f"run() takes what prepare() returned, not a {type(workflow).__name__}")
        if thread_id in self._threads:
            raise ValueError(in_use(thread_id))
        stop = _Stop()
        probe.on_stop(stop)
        run = self._threads[thread_id] = _Run()
        recorder = Recorder(probe, self._clock)
        current = copy.deepcopy(dict(state))
        ending = _walk(workflow, current, run, recorder, stop, recursion_limit)
        return RunOutput(
            status=ending[0],
            state=current,
            boundaries=recorder.boundaries(),
            reason=ending[1],
            message=ending[2],
            last_checkpoint=recorder.last_checkpoint,
        )

    def history(self, thread_id: str) -> Sequence[Checkpoint]:
        """Return the thread's checkpoints, oldest first."""
        run = self._threads.get(thread_id)
        return () if run is None else tuple(run.checkpoints)

    def state(self, thread_id: str, checkpoint_id: str | None = None) -> Mapping[str, object]:
        """Return the state at a checkpoint."""
        run = self._threads.get(thread_id)
        wanted = checkpoint_id or (run.checkpoints[-1].id if run is not None and run.checkpoints else None)
        if run is None or wanted not in run.states:
            raise KeyError(f'thread "{thread_id}" has no checkpoint{f" {checkpoint_id}" if checkpoint_id else ""}')
        return copy.deepcopy(run.states[wanted])

    def close(self) -> None:
        """Forget every thread."""
        self._threads.clear()


class _Stop:
    """Asks a run to end at its next node boundary."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> None:
        self.asked = True


class _Ended(Exception):
    """Carries how a run ended out of the node that ended it."""

    def __init__(self, status: str, reason: str, message: str) -> None:
        self.ending = (status, reason, message)
        super().__init__(message)


def _walk(
    workflow: InMemoryWorkflow,
    state: dict[str, Any],
    run: _Run,
    recorder: Recorder,
    stop: _Stop,
    recursion_limit: int,
) -> tuple[str, str, str]:
    """Run the nodes, changing ``state`` in place, and return status, reason and message."""
    order = list(workflow.nodes)
    recorder.stored(0, run.store(0, state, (), order[0] if order else None))
    step = 0
    try:
        while order and (workflow.endless or step < len(order)):
            if stop.asked:
                return "stopped", "", STOPPED
            node = order[step % len(order)]
            step += 1
            state.update(_visit(node, workflow.nodes[node], step, state, recorder))
            is_last = not workflow.endless and step == len(order)
            recorder.stored(step, run.store(step, state, (node,), None if is_last else order[step % len(order)]))
            if step >= recursion_limit:  # even if it was the last: LangGraph counts the step that finds no more to do
                return "failed", Reason.RECURSION_LIMIT, out_of_steps(recursion_limit, node)
    except _Ended as end:
        return end.ending
    return "completed", "", ""


def _visit(node: str, function: Node, step: int, state: dict[str, Any], recorder: Recorder) -> Mapping[str, Any]:
    """Run one node and return its update."""
    visit = recorder.enter(node, step, f"{node}:{step}")
    try:
        update = dict(function(copy.deepcopy(state)) or {})
    except AskForInput as question:
        recorder.leave(visit, "interrupted")
        raise _Ended("interrupted", Reason.INTERRUPTED_BY_GRAPH, str(question)) from question
    except BaseException as error:
        recorder.leave(visit, "failed", error)
        if not isinstance(error, Exception):
            raise
        raise _Ended("failed", Reason.NODE_RAISED, raised(node, error)) from error
    try:
        json.dumps(update)
    except (TypeError, ValueError) as error:
        fault = blame(_Json(), update, error)
        recorder.leave(visit, "failed", fault)
        raise _Ended("failed", Reason.STATE_NOT_SERIALISABLE, unstorable([node], fault)) from error
    recorder.leave(visit, "completed")
    return copy.deepcopy(update)


class _Json:
    """Stores what JSON can hold."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return "json", json.dumps(obj).encode()
