"""A state adapter without a framework: plain functions run in order, states kept in memory.

For tests and for showing what a state adapter does. It means the same by boundaries, stops and failures as the
LangGraph one (``testing.state_adapter_conformance`` holds both to it); it keeps nothing on disk.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from batchyard.clock import Clock, SystemClock
from batchyard.engine.marks import GraphMarks
from batchyard.engine.ports import Probe, RunOutput
from batchyard.model.errors import StoreError, WorkflowInvalid
from batchyard.model.execution import (
    NO_BREAKPOINTS,
    Breakpoints,
    Checkpoint,
    CheckpointNotFound,
    ExecutionNotFound,
)
from batchyard.model.outcome import Reason
from batchyard.model.questions import NO_ANSWERS, Question
from batchyard.workflows.endings import STOPPED, asked, in_use, no_checkpoint, out_of_steps, paused, raised, unstorable
from batchyard.workflows.recorder import Recorder
from batchyard.workflows.unstorable import blame

if TYPE_CHECKING:
    from batchyard.engine.files import FileTracking
    from batchyard.model.trial import JSON

Node = Callable[[dict[str, Any]], Mapping[str, Any] | None]
"""Takes the state and returns what changes in it, or None."""


class AskForInput(Exception):
    """Raised by a node that cannot go on without an answer; the run ends as ``interrupted``.

    An answer stands for what the node would have returned.
    """


@dataclass(frozen=True, slots=True)
class InMemoryWorkflow:
    """Nodes that run in written order, over and over if ``endless``, or all in one step if ``at_once``."""

    nodes: Mapping[str, Node]
    endless: bool = False
    at_once: bool = False

    def first(self) -> tuple[str, ...]:
        """Return the nodes of the first step."""
        return tuple(self.nodes) if self.at_once else tuple(self.nodes)[:1]

    def after(self, nodes: tuple[str, ...]) -> tuple[str, ...]:
        """Return the nodes of the step that follows one of these nodes."""
        order = list(self.nodes)
        if self.at_once or (not self.endless and nodes[-1] == order[-1]):
            return ()
        return (order[(order.index(nodes[-1]) + 1) % len(order)],)


@dataclass(slots=True)
class _Thread:
    """A thread: its checkpoints, oldest first, the state at each, and what is known of the step under way."""

    checkpoints: list[Checkpoint] = field(default_factory=list)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: int = 0
    updates: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    questions: dict[str, Question] = field(default_factory=dict)

    @property
    def head(self) -> Checkpoint:
        return self.checkpoints[-1]

    def store(self, step: int, state: dict[str, Any], ran: tuple[str, ...], upcoming: tuple[str, ...]) -> str:
        parent = self.checkpoints[-1].id if self.checkpoints else None
        id_ = f"{self.made:06d}"
        self.made += 1
        self.checkpoints.append(Checkpoint(id_, step, parent, ran, upcoming))
        self.states[id_] = copy.deepcopy(state)
        self.updates, self.questions = {}, {}
        return id_

    def up_to(self, checkpoint_id: str) -> _Thread:
        """Return this thread as it was when the checkpoint was its newest. Raises ``StopIteration``."""
        last = next(at for at, point in enumerate(self.checkpoints) if point.id == checkpoint_id)
        kept = self.checkpoints[: last + 1]
        return _Thread(kept, {point.id: copy.deepcopy(self.states[point.id]) for point in kept}, self.made)


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
        self._threads: dict[str, _Thread] = {}
        self.files: FileTracking | None = None  # what lives in memory keeps no files

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
        breakpoints: Breakpoints = NO_BREAKPOINTS,
    ) -> RunOutput:
        """Run the nodes on a new thread; memory is as durable as it gets, whatever ``durability`` says."""
        made = _workflow(workflow)
        if thread_id in self._threads:
            raise ValueError(in_use(thread_id))
        thread = self._threads[thread_id] = _Thread()
        recorder = Recorder(probe, self._clock)
        recorder.stored(0, thread.store(0, dict(state), (), made.first()))
        return _run(_Walk(made, thread, recorder, breakpoints, recursion_limit), probe)

    def resume(
        self,
        workflow: object,
        thread_id: str,
        *,
        answers: Mapping[str, JSON] = NO_ANSWERS,
        probe: Probe,
        recursion_limit: int,
        durability: str,
        breakpoints: Breakpoints = NO_BREAKPOINTS,
        steps_count: bool = False,
    ) -> RunOutput:
        """Go on from the thread's newest checkpoint."""
        thread = self._thread(thread_id)
        recorder = Recorder(probe, self._clock)
        recorder.stored(thread.head.step, thread.head.id)
        walk = _Walk(_workflow(workflow), thread, recorder, breakpoints, recursion_limit, held_at=thread.head.id)
        walk.answers, walk.steps = answers, thread.head.step if steps_count else 0
        return _run(walk, probe)

    def roll_back(self, thread_id: str, checkpoint_id: str) -> None:
        """Drop all that came after a checkpoint."""
        self._threads[thread_id] = self._up_to(thread_id, checkpoint_id)

    def fork(self, thread_id: str, checkpoint_id: str, new_thread_id: str) -> None:
        """Copy the thread up to a checkpoint to a new one."""
        copied = self._up_to(thread_id, checkpoint_id)
        if new_thread_id in self._threads:
            raise ValueError(in_use(new_thread_id))
        self._threads[new_thread_id] = copied

    def take_out(self, thread_id: str, checkpoint_id: str | None = None) -> bytes:
        """Return the thread, or what it was at a checkpoint."""
        if thread_id not in self._threads:
            raise ExecutionNotFound(f"there is no thread {thread_id}")
        try:
            thread = self._threads[thread_id] if checkpoint_id is None else self._up_to(thread_id, checkpoint_id)
        except KeyError as error:
            raise CheckpointNotFound(str(error)) from error
        return json.dumps(asdict(thread)).encode()

    def take_in(self, thread_id: str, piece: bytes) -> None:
        """Add a thread that another adapter gave."""
        if thread_id in self._threads:
            raise ValueError(in_use(thread_id))
        try:
            body = json.loads(piece)
            points = [
                Checkpoint(**{**point, "nodes": tuple(point["nodes"]), "next": tuple(point["next"])})
                for point in body["checkpoints"]
            ]
            questions = {node: Question(**asked) for node, asked in body["questions"].items()}
            self._threads[thread_id] = _Thread(points, body["states"], body["made"], body["updates"], questions)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"a thread that was to be gone on with is damaged: {error}") from error

    def edit(self, workflow: object, thread_id: str, values: Mapping[str, JSON], as_node: str | None = None) -> str:
        """Set keys of the thread's newest state; any key may be set, where the run goes next is always the same."""
        made, thread = _workflow(workflow), self._thread(thread_id)
        if as_node is not None and as_node not in made.nodes:
            raise ValueError(f'the workflow has no node "{as_node}"; it has {", ".join(made.nodes)}')
        state = thread.states[thread.head.id]
        head = thread.head
        return thread.store(head.step + 1, {**state, **copy.deepcopy(dict(values))}, (), head.next)

    def questions(self, workflow: object, thread_id: str) -> tuple[Question, ...]:
        """Return what the thread waits to be answered."""
        _workflow(workflow)
        thread = self._threads.get(thread_id)
        return () if thread is None else tuple(thread.questions.values())

    def marks(self, *_about: object) -> GraphMarks:
        """Mark nothing: there is no file in which others could find what a node left."""
        return GraphMarks()

    def upcoming(self, workflow: object, thread_id: str) -> tuple[str, ...]:
        """Return the nodes that would run next on the thread."""
        _workflow(workflow)
        return self._thread(thread_id).head.next

    def nodes(self, workflow: object) -> tuple[str, ...]:
        """Return the names of the workflow's nodes."""
        return tuple(_workflow(workflow).nodes)

    def history(self, thread_id: str) -> Sequence[Checkpoint]:
        """Return the thread's checkpoints, oldest first."""
        thread = self._threads.get(thread_id)
        return () if thread is None else tuple(thread.checkpoints)

    def state(self, thread_id: str, checkpoint_id: str | None = None) -> Mapping[str, object]:
        """Return the state at a checkpoint."""
        thread = self._thread(thread_id, checkpoint_id)
        wanted = checkpoint_id or thread.head.id
        if wanted not in thread.states:
            raise KeyError(no_checkpoint(thread_id, checkpoint_id))
        return copy.deepcopy(thread.states[wanted])

    def close(self) -> None:
        """Forget every thread."""
        self._threads.clear()

    def _thread(self, thread_id: str, checkpoint_id: str | None = None) -> _Thread:
        if thread_id not in self._threads:
            raise KeyError(no_checkpoint(thread_id, checkpoint_id))
        return self._threads[thread_id]

    def _up_to(self, thread_id: str, checkpoint_id: str) -> _Thread:
        try:
            return self._thread(thread_id, checkpoint_id).up_to(checkpoint_id)
        except StopIteration:
            raise KeyError(no_checkpoint(thread_id, checkpoint_id)) from None


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


class _Walk:
    """One run of the nodes on a thread, from where that stands."""

    def __init__(
        self,
        workflow: InMemoryWorkflow,
        thread: _Thread,
        recorder: Recorder,
        breakpoints: Breakpoints,
        recursion_limit: int,
        *,
        held_at: str = "",
    ) -> None:
        """``held_at`` is the checkpoint at which no breakpoint holds the run, since it goes on from there."""
        self.recorder = recorder
        self.answers: Mapping[str, JSON] = NO_ANSWERS
        self.stop = _Stop()
        self.state = copy.deepcopy(thread.states[thread.head.id])
        self._workflow, self._thread, self.steps = workflow, thread, 0
        self._breakpoints, self._recursion_limit, self._held_at = breakpoints, recursion_limit, held_at

    @property
    def upcoming(self) -> tuple[str, ...]:
        """Return the nodes that would run next."""
        return self._thread.head.next

    @property
    def questions(self) -> tuple[Question, ...]:
        """Return what waits to be answered."""
        return tuple(self._thread.questions.values())

    def to_its_end(self) -> tuple[str, str, str]:
        """Run the nodes and return status, reason and message."""
        try:
            while self.upcoming:
                if self.stop.asked:
                    return "stopped", "", STOPPED
                if self._is_held():
                    return "paused", "", paused(self.upcoming)
                nodes = self.upcoming
                self._take(nodes)
                self.steps += 1
                # Even if it was the last: LangGraph counts the step that finds no more to do.
                if self.steps >= self._recursion_limit:
                    return "failed", Reason.RECURSION_LIMIT, out_of_steps(self._recursion_limit, nodes[-1])
        except _Ended as end:
            return end.ending
        return "completed", "", ""

    def _is_held(self) -> bool:
        head = self._thread.head
        return head.id != self._held_at and (
            any(mark in self._breakpoints.before for mark in (*head.next, "*"))
            or any(mark in self._breakpoints.after for mark in (*head.nodes, *("*" for _ in head.nodes)))
        )

    def _take(self, nodes: tuple[str, ...]) -> None:
        thread, step = self._thread, self._thread.head.step + 1
        for node in nodes:
            if node not in thread.updates:
                self._visit(node, step)
        if thread.questions:
            raise _Ended("interrupted", Reason.INTERRUPTED_BY_GRAPH, asked(self.questions))
        for node in nodes:
            self.state.update(thread.updates[node])
        self.recorder.stored(step, thread.store(step, self.state, nodes, self._workflow.after(nodes)))

    def _visit(self, node: str, step: int) -> None:
        """Run one node and keep its update, or what it asked."""
        recorder, visit = self.recorder, self.recorder.enter(node, step, f"{node}:{step}")
        try:
            update = dict(self._call(node, visit.task) or {})
        except AskForInput as question:
            self._thread.questions[node] = Question(visit.task, node, str(question))
            recorder.leave(visit, "interrupted")
            return
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
        self._thread.questions.pop(node, None)
        self._thread.updates[node] = copy.deepcopy(update)

    def _call(self, node: str, question: str) -> Mapping[str, Any] | None:
        try:
            return self._workflow.nodes[node](copy.deepcopy(self.state))
        except AskForInput:
            known = question if question in self.answers else ""
            if known not in self.answers:
                raise
            given = self.answers[known]
            return given if isinstance(given, dict) else None


def _run(walk: _Walk, probe: Probe) -> RunOutput:
    probe.on_stop(walk.stop)
    status, reason, message = walk.to_its_end()
    return RunOutput(
        status=status,
        state=walk.state,
        boundaries=walk.recorder.boundaries(),
        reason=reason,
        message=message,
        last_checkpoint=walk.recorder.last_checkpoint,
        upcoming=walk.upcoming,
        questions=walk.questions if status == "interrupted" else (),
    )


def _workflow(workflow: object) -> InMemoryWorkflow:
    if not isinstance(workflow, InMemoryWorkflow):
        raise TypeError(f"a workflow is what prepare() returned, not a {type(workflow).__name__}")
    return workflow


class _Json:
    """Stores what JSON can hold."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return "json", json.dumps(obj).encode()
