"""ExecutionController: creates, runs, pauses, resumes, stops, rolls back, forks, inspects and edits executions.

Every attempt of a trial, in whatever runner, is one of its executions; so is one that a person holds. What may be done
when is decided in ``decide.execution``; how it is done is the state adapter's business. Not for deadlines: who runs
an execution ends it.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batchyard.decide.answers import addressed
from batchyard.decide.execution import ENDING, check, check_breakpoints, heeded, joined, meant
from batchyard.engine.broken_off import broken_off, refusals_of
from batchyard.engine.files import whole_snapshot, with_files
from batchyard.engine.listening import Listening
from batchyard.model.execution import (
    NO_BREAKPOINTS,
    Execution,
    ExecutionError,
    ExecutionNotFound,
    ExecutionStatus,
    Move,
    Origin,
)
from batchyard.model.questions import NO_ANSWERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from batchyard.engine.ports import Probe, RunOutput, StateAdapter, StopRequest
    from batchyard.model.execution import Breakpoints, Checkpoint
    from batchyard.model.questions import Answer
    from batchyard.model.trial import JSON


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What all runs of a controller share; see ``StateAdapter.run``."""

    recursion_limit: int
    durability: str


class ExecutionController:
    """Moves executions on one state adapter. One run at a time; ``pause`` and ``stop`` may come from any thread.

    Every method that is given an id raises ``ExecutionNotFound``, and ``InvalidTransition`` if the execution's status
    does not allow the move; then nothing has changed.
    """

    def __init__(self, adapter: StateAdapter, settings: RunSettings) -> None:
        """Whoever made the adapter closes it."""
        self._adapter, self._settings = adapter, settings
        self._executions: dict[str, Execution] = {}
        self._workflows: dict[str, object] = {}
        self._lock = threading.Lock()  # guards _asked and the status of what runs; taken by pause(), stop() and runs
        self._asked: Move | None = None
        self._stop: StopRequest | None = None

    def get(self, execution_id: str) -> Execution:
        """Return the execution as it stands."""
        try:
            return self._executions[execution_id]
        except KeyError:
            raise ExecutionNotFound(f"there is no execution {execution_id}") from None

    def create(
        self,
        execution_id: str,
        variants: Mapping[str, str],
        state: Mapping[str, JSON],
        *,
        breakpoints: Breakpoints = NO_BREAKPOINTS,
        workspace: Path | None = None,
    ) -> Execution:
        """Make an execution of the workflow with these variants; nothing runs yet.

        ``workspace`` is the folder of its files, of which those are kept that the adapter tracks.

        Raises ``WorkflowInvalid``, and ``ExecutionError`` if the id is taken or a breakpoint names no node.
        """
        if execution_id in self._executions:
            raise ExecutionError(f"there is an execution {execution_id} already; choose another id")
        workflow = self._adapter.prepare(variants)
        self._check_breakpoints(workflow, breakpoints)
        if self._adapter.files is not None and workspace is not None:
            self._adapter.files.watch(execution_id, workspace)
        self._workflows[execution_id] = workflow
        return self._keep(Execution(execution_id, variants, breakpoints=breakpoints, state=state))

    def adopt(
        self, execution_id: str, variants: Mapping[str, str], *, breakpoints: Breakpoints = NO_BREAKPOINTS
    ) -> Execution:
        """Take up, as paused, a thread that the adapter has already, of an earlier process for example.

        Raises as ``create`` does, and ``ExecutionNotFound`` if the adapter has no such thread.
        """
        history = self._adapter.history(execution_id)
        if not history:
            raise ExecutionNotFound(f"there is no execution {execution_id}: its thread has no checkpoint")
        made = self.create(execution_id, variants, {}, breakpoints=breakpoints)
        return self._keep(self._standing(replace(made, status=ExecutionStatus.PAUSED)))

    def take_up(
        self,
        execution_id: str,
        variants: Mapping[str, str],
        piece: bytes,
        *,
        breakpoints: Breakpoints = NO_BREAKPOINTS,
    ) -> Execution:
        """Take up, as paused, a thread that was taken out of another adapter, perhaps with other variants.

        Raises as ``create`` does, ``StoreError`` if the piece is damaged, and ``ExecutionError`` if there is such a
        thread already or the workflow lacks a node that would run next.
        """
        with refusals_of(execution_id):
            self._adapter.take_in(execution_id, piece)
        made = self.adopt(execution_id, variants, breakpoints=breakpoints)
        self._check_fits(execution_id, self._adapter.history(execution_id)[-1].next, "fork from an earlier node")
        return made

    def run(self, execution_id: str, probe: Probe) -> RunOutput:
        """Run a new execution until it ends or pauses. Raises ``ExecutionError`` if the adapter has its thread."""
        with self._running(execution_id, Move.RUN) as execution, refusals_of(execution_id):
            output = self._adapter.run(
                self._workflows[execution_id],
                execution_id,
                {**execution.state},
                probe=Listening(probe, self._hear_stop),
                recursion_limit=self._settings.recursion_limit,
                durability=self._settings.durability,
                breakpoints=execution.breakpoints,
            )
        return self._ended(execution, output)

    def resume(
        self, execution_id: str, probe: Probe, *, answers: Sequence[Answer] = (), steps_count: bool = False
    ) -> RunOutput:
        """Go on with a paused execution until it ends or pauses again; ``answers`` are for a graph that asked.

        With ``steps_count`` the steps it has taken count towards the recursion limit. Raises ``ExecutionError`` for an
        answer to nothing that is asked, and if the workflow lacks a node that would run next.
        """
        check(self.get(execution_id), Move.RESUME)
        # A framework passes over a task of a node that it does not know, and would call the run completed.
        self._check_fits(
            execution_id,
            self._adapter.history(execution_id)[-1].next,
            "give it that node back, or edit the state, after which is decided anew what runs next",
        )
        given = self._addressed(execution_id, answers) if answers else NO_ANSWERS
        with self._running(execution_id, Move.RESUME) as execution:
            output = self._adapter.resume(
                self._workflows[execution_id],
                execution_id,
                answers=given,
                probe=Listening(probe, self._hear_stop),
                recursion_limit=self._settings.recursion_limit,
                durability=self._settings.durability,
                breakpoints=execution.breakpoints,
                steps_count=steps_count,
            )
        return self._ended(execution, output)

    def pause(self, execution_id: str) -> None:
        """Have a running execution pause at its next node boundary."""
        self._ask(execution_id, Move.PAUSE)

    def stop(self, execution_id: str) -> None:
        """End an execution for good: a running one at its next node boundary, any other at once."""
        with self._lock:
            execution = self.get(execution_id)
            if execution.status is not ExecutionStatus.RUNNING:
                check(execution, Move.STOP)
                self._keep(replace(execution, status=ExecutionStatus.CANCELLED))
                return
        self._ask(execution_id, Move.STOP)

    def set_breakpoints(self, execution_id: str, breakpoints: Breakpoints) -> Execution:
        """Replace the breakpoints of an execution; a running one hears of them when it is resumed."""
        execution = self.get(execution_id)
        self._check_breakpoints(self._workflows[execution_id], breakpoints)
        return self._keep(replace(execution, breakpoints=breakpoints))

    def roll_back(
        self, execution_id: str, *, checkpoint: str = "", node: str = "", remove_later_files: bool = False
    ) -> Execution:
        """Take an execution back to a checkpoint, or to where ``node`` had last ended; it is paused there.

        All that came after is dropped. Files that are tracked are put back; those that came later stay, or are moved
        away with ``remove_later_files``.

        Raises ``CheckpointNotFound`` or ``NoRollbackTarget``, and ``FilesLost``: before anything was changed if the
        files of that boundary are not whole, afterwards if they cannot be written; then going back there again is safe.
        """
        execution = self.get(execution_id)
        check(execution, Move.ROLL_BACK)
        target = self._target(execution_id, checkpoint, node)
        snapshot = whole_snapshot(self._adapter, execution_id, target)
        self._adapter.roll_back(execution_id, target)
        paused = self._keep(self._standing(replace(execution, status=ExecutionStatus.PAUSED)))
        return self._keep(with_files(self._adapter, paused, snapshot, remove_later=remove_later_files))

    def fork(
        self,
        execution_id: str,
        new_id: str,
        *,
        checkpoint: str = "",
        node: str = "",
        state: Mapping[str, JSON] | None = None,
        variants: Mapping[str, str] | None = None,
        workspace: Path | None = None,
    ) -> Execution:
        """Make a new, paused execution from a boundary of this one, which stays as it is.

        Args:
            execution_id: What is forked.
            new_id: The id of the fork.
            checkpoint: Where to fork from, or the beginning of its id; without it and ``node`` the newest one.
            node: Fork from where this node had last ended.
            state: Keys of the state that are set in the fork.
            variants: Another combination, whose workflow must have the nodes that would run next.
            workspace: The folder of the fork's own files, which are put there as the boundary has them.

        Raises:
            FilesLost: The files of that boundary are not whole, or cannot be written.
            CheckpointNotFound, NoRollbackTarget: There is no such place.
            WorkflowInvalid: The other combination has no workflow.
            ExecutionError: The id is taken, the other workflow lacks a node, or the state cannot be set so.
        """
        source = self.get(execution_id)
        check(source, Move.FORK)
        target = self._target(execution_id, checkpoint, node)
        chosen = source.variants if variants is None else variants
        made = self.create(new_id, chosen, {})
        try:
            upcoming = next(point.next for point in self._adapter.history(execution_id) if point.id == target)
            self._check_fits(new_id, upcoming, "fork from an earlier node")
            with refusals_of(new_id):
                self._adapter.fork(execution_id, target, new_id)
            forked = replace(made, status=ExecutionStatus.PAUSED, origin=Origin(execution_id, target))
            self._keep(self._standing(forked))
            if workspace is not None:
                self.move_in(new_id, workspace)
            return self.edit(new_id, state) if state else self.get(new_id)
        except BaseException:
            self.forget(new_id)
            raise

    def move_in(self, execution_id: str, workspace: Path) -> Execution:
        """Give an execution that does not run a folder, and put its tracked files there as its checkpoint has them.

        Raises ``FilesLost``, and ``ExecutionError`` if there is no such folder.
        """
        execution, files = self.get(execution_id), self._adapter.files
        if files is None:
            return execution
        files.watch(execution_id, workspace)
        snapshot = whole_snapshot(self._adapter, execution_id, execution.checkpoint)
        return self._keep(with_files(self._adapter, execution, snapshot))

    def edit(self, execution_id: str, values: Mapping[str, JSON], *, as_node: str | None = None) -> Execution:
        """Set keys of a paused execution's state; where it goes next is decided anew. Raises ``ExecutionError``."""
        execution = self.get(execution_id)
        check(execution, Move.EDIT)
        with refusals_of(execution_id):
            self._adapter.edit(self._workflows[execution_id], execution_id, values, as_node)
        return self._keep(self._standing(execution))

    def history(self, execution_id: str) -> Sequence[Checkpoint]:
        """Return the execution's checkpoints, oldest first; none before it has run."""
        self.get(execution_id)
        return self._adapter.history(execution_id)

    def state(self, execution_id: str, checkpoint: str = "") -> Mapping[str, object]:
        """Return the state at a checkpoint, or the newest one. Raises ``CheckpointNotFound``."""
        execution = self.get(execution_id)
        if not checkpoint and not self._adapter.history(execution_id):
            return execution.state
        return self._adapter.state(execution_id, self._target(execution_id, checkpoint, ""))

    def forget(self, execution_id: str) -> None:
        """Let go of an execution that does not run; its checkpoints stay."""
        self._executions.pop(execution_id, None)
        self._workflows.pop(execution_id, None)
        if self._adapter.files is not None:
            self._adapter.files.unwatch(execution_id)

    # -- how a run begins and ends -----------------------------------------------------------------------------

    @contextmanager
    def _running(self, execution_id: str, move: Move) -> Iterator[Execution]:
        """Give the execution as one that runs; if the run raises, it stands at its last boundary or as before."""
        with self._lock:
            before = self.get(execution_id)
            check(before, move)
            self._asked = self._stop = None
            running = self._keep(
                replace(before, status=ExecutionStatus.RUNNING, question="", questions=(), error="", failed_node="")
            )
        try:
            yield running
        except BaseException as error:
            stands = broken_off(self._adapter, before, running, error)
            with self._lock:
                self._stop = None
                self._keep(replace(stands, breakpoints=self.get(execution_id).breakpoints))
            raise

    def _ended(self, before: Execution, output: RunOutput) -> RunOutput:
        with self._lock:
            self._stop = None
            status = ENDING[output.status]
            if output.status == "stopped" and self._asked is Move.PAUSE:
                status = ExecutionStatus.PAUSED
                output = replace(output, status="paused")
            failed = [boundary.node for boundary in output.boundaries if boundary.status == "failed"]
            self._keep(
                replace(
                    self.get(before.id),
                    status=status,
                    checkpoint=output.last_checkpoint or before.checkpoint,
                    upcoming=output.upcoming,
                    question=output.message if output.status == "interrupted" else "",
                    questions=output.questions,
                    error=output.message if output.status == "failed" else "",
                    failed_node=failed[-1] if output.status == "failed" and failed else "",
                    boundaries=joined(before.boundaries, output.boundaries),
                )
            )
        return output

    def _ask(self, execution_id: str, move: Move) -> None:
        with self._lock:
            check(self.get(execution_id), move)
            self._asked = heeded(self._asked, move)
            if self._stop is not None:
                self._stop()

    def _hear_stop(self, stop: StopRequest) -> None:
        with self._lock:
            self._stop = stop
            if self._asked is not None:  # before the run had said how it can be asked
                stop()

    # -- what is known of an execution ---------------------------------------------------------------------------

    def _keep(self, execution: Execution) -> Execution:
        self._executions[execution.id] = execution
        return execution

    def _standing(self, execution: Execution) -> Execution:
        """Return an execution that does not run, as its thread has it now."""
        history = self._adapter.history(execution.id)
        ids = {checkpoint.id for checkpoint in history}
        questions = self._adapter.questions(self._workflows[execution.id], execution.id)
        return replace(
            execution,
            checkpoint=history[-1].id,
            upcoming=self._adapter.upcoming(self._workflows[execution.id], execution.id),
            question="; ".join(question.text for question in questions),
            questions=questions,
            error="",
            failed_node="",
            boundaries=tuple(boundary for boundary in execution.boundaries if boundary.exit_checkpoint in ids),
        )

    def _target(self, execution_id: str, checkpoint: str, node: str) -> str:
        return meant(execution_id, self._adapter.history(execution_id), checkpoint=checkpoint, node=node).id

    def _addressed(self, execution_id: str, answers: Sequence[Answer]) -> Mapping[str, JSON]:
        questions = self._adapter.questions(self._workflows[execution_id], execution_id)
        return addressed(execution_id, questions, answers)

    def _check_breakpoints(self, workflow: object, breakpoints: Breakpoints) -> None:
        if breakpoints:
            check_breakpoints(breakpoints.before | breakpoints.after, self._adapter.nodes(workflow))

    def _check_fits(self, execution_id: str, upcoming: Sequence[str], what_now: str) -> None:
        """Raise ``ExecutionError`` if the execution's workflow lacks a node that would run next."""
        nodes = self._adapter.nodes(self._workflows[execution_id])
        if lacking := [node for node in upcoming if node not in (*nodes, "__start__")]:
            raise ExecutionError(
                f"execution {execution_id} cannot go on: {', '.join(lacking)} would run next, and the workflow has no "
                f"such node (it has {', '.join(nodes)}); {what_now}"
            )
