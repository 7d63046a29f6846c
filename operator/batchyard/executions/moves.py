"""What a person can do with the executions of one batch: look, make, go on, edit, take back, fork, stop.

Every move is checked against ``decide.execution``, is durable when it returns, and is told in the batch's audit trail:
before it is done, if user code runs in it, and after. Not for how a run is led (``running``), nor for the terminal.
"""

from __future__ import annotations

import shutil
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from batchyard.decide.execution import check, heeded, meant, named, reverted
from batchyard.engine.attempts import Start
from batchyard.executions.running import Pausing
from batchyard.local_files import objects_folder
from batchyard.model.errors import StaleSession
from batchyard.model.execution import BatchRuns, ExecutionError, ExecutionStatus, Move
from batchyard.model.outcome import Outcome, Reason
from batchyard.workflows.blobs import BlobStore
from batchyard.workflows.checkpoint_file import CheckpointFile
from batchyard.workflows.checkpoint_reading import read_history
from batchyard.workflows.snapshots import check_whole
from batchyard.workflows.thread_copy import export_thread, import_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batchyard.clock import Clock
    from batchyard.executions.held import Held, HeldFolder, HeldFolders
    from batchyard.executions.running import OneRun
    from batchyard.executions.trail import BatchTrail
    from batchyard.model.execution import Checkpoint
    from batchyard.model.trial import JSON, AttemptResult, Combination

_log = structlog.get_logger(__name__)

NOTHING_ASKED = Pausing()

_HEARING_SECONDS = 10.0
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Source:
    """A thread that can be looked at and gone on with: a held execution's, or that of an attempt that was kept.

    ``held`` describes it; for an attempt, as the execution that the first move would make of it.
    """

    held: Held
    file: Path
    thread: str
    folder: HeldFolder | None = None
    history: Sequence[Checkpoint] = ()


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run of an execution ended: as it stands now, and what its attempt came to (None if it never began)."""

    held: Held
    result: AttemptResult | None


class Moves:
    """The moves of one batch's executions. One at a time for each execution; other processes may move others."""

    def __init__(
        self,
        folders: HeldFolders,
        runs: OneRun,
        trail: BatchTrail,
        clock: Clock,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take everything made. A run pauses as soon as ``interrupted``."""
        self._folders, self._runs, self._trail, self._clock = folders, runs, trail, clock
        self._interrupted = interrupted

    # -- moves that run user code ----------------------------------------------------------------------------------

    def begin(self, made: Held, pausing: Pausing = NOTHING_ASKED) -> Ran:
        """Make an execution and run it from its input."""
        self._trail.refuse_if_run()
        folder = self._folders.new(made.batch)
        held = self._described(replace(made, id=folder.id), ExecutionStatus.PENDING)
        with folder.locked(Move.RUN), _gone_if_refused(folder, stood=()):
            folder.make_thread_file()
            folder.save(held)
            return self._run(folder, held, None, pausing, Move.RUN)

    def resume(self, source: Source, pausing: Pausing = NOTHING_ASKED, answer: Sequence[JSON] = ()) -> Ran:
        """Go on until it ends or pauses again."""
        with self._moving(source, Move.RESUME) as (folder, held):
            # One that was killed before its first boundary begins anew; one that has lost its states is refused.
            start = Start(answer=answer) if folder.history() else None
            return self._run(folder, held, start, pausing, Move.RESUME)

    def edit(self, source: Source, values: Mapping[str, JSON], as_node: str = "") -> Ran:
        """Set keys of the state; where it goes next is decided anew. Raises ``ExecutionError``."""
        with self._moving(source, Move.EDIT) as (folder, held):
            result = self._hold(folder, held, Start(edits=values, as_node=as_node, hold=True))
            edited = self._settle(folder, replace(held, question="", message=""))
            self._told(edited, f"state edited: {', '.join(values)}", {"keys": list(values)})
            return Ran(edited, result)

    def fork(self, source: Source, to: str, combination: Combination, values: Mapping[str, JSON]) -> Ran:
        """Make a paused execution from a boundary of this one, which stays as it is.

        Its tracked files come with the first run. Raises ``FilesLost`` if they are not whole.
        """
        check(source.held.execution, Move.FORK)
        self._trail.refuse_if_run()
        target = self._whole_target(source, to)
        piece = export_thread(source.file, source.thread, target.id)
        folder = self._folders.new(source.held.batch)
        origin = f"{source.held.id or source.held.origin} at {target.id}"
        made = replace(
            source.held, id=folder.id, combination=combination.name, variants=combination.variants, origin=origin,
            question="", message="", outcome="", reason="", score=None, runs=0, nodes=(),
            trial="/".join((combination.name, *source.held.trial.split("/")[1:])),
        )  # fmt: skip
        with folder.locked(Move.FORK), _gone_if_refused(folder):
            result = self._hold(folder, made, replace(Start.from_piece(piece, edits=values), hold=True))
            forked = self._settle(folder, self._described(made, ExecutionStatus.PAUSED))
            self._trail.note(forked, f"forked from {origin}", {"origin": origin, "keys": list(values)})
            return Ran(forked, result)

    def state(self, source: Source, to: str = "") -> JSON:
        """Return the state at a checkpoint or after a node, or the newest; nothing changes, and no file is needed."""
        target = target_of(source, to)
        folder = self._folders.new(source.held.batch)
        try:
            # On a copy: the execution may be running, and looking must not disturb it.
            import_thread(folder.thread_file, export_thread(source.file, source.thread, target.id), folder.id)
            return self._hold(folder, replace(source.held, id=folder.id), Start(hold=True)).output
        finally:
            shutil.rmtree(folder.path, ignore_errors=True)

    # -- moves on the thread alone ---------------------------------------------------------------------------------

    def roll_back(self, source: Source, to: str) -> Held:
        """Take it back to a checkpoint, or to where a node had last ended; it is paused there.

        Its tracked files come with the next run, whose folder is a new one. Raises ``FilesLost`` if they are not whole.
        """
        check(source.held.execution, Move.ROLL_BACK)
        target = self._whole_target(source, to)
        with self._moving(source, Move.ROLL_BACK) as (folder, held):
            history = folder.history()
            meant(folder.id, history, checkpoint=target.id)  # another process may have taken it back further
            undone = reverted(history, target.id)
            with closing(CheckpointFile(folder.thread_file)) as file:
                file.roll_back(folder.id, target.id)
            changed = self._described(held, ExecutionStatus.PAUSED)
            changed = self._settle(folder, replace(changed, question="", message="", outcome="", reason="", score=None))
            where = f"rolled back to {target.id}" + (f", before {', '.join(undone)}" if undone else "")
            self._told(changed, where, {"checkpoint": target.id, "undone": list(undone)})
            return changed

    def stop(self, source: Source) -> Held:
        """End it for good; one that runs in another process at its next node boundary, softly."""
        if self._asked_of_its_process(source, Move.STOP):
            return source.held
        with self._moving(source, Move.STOP) as (folder, held):
            changed = self._settle(folder, self._described(held, ExecutionStatus.CANCELLED))
            self._told(changed, "stopped")
            return changed

    def pause(self, source: Source) -> Held:
        """Have one that runs in another process pause at its next node boundary."""
        if not self._asked_of_its_process(source, Move.PAUSE):
            held = source.held if source.folder is None else source.folder.load()
            check(held.execution, Move.PAUSE)
        return source.held

    # -- how --------------------------------------------------------------------------------------------------------

    def _whole_target(self, source: Source, to: str) -> Checkpoint:
        target = target_of(source, to)
        if target.files:
            check_whole(BlobStore(objects_folder(self._folders.files)), target.files)
        return target

    def _asked_of_its_process(self, source: Source, move: Move) -> bool:
        """Return whether the process that is at it runs it, and so hears, or has left it as asked."""
        folder = source.folder
        if folder is None or not folder.is_locked():
            return False
        runs = folder.load().runs
        folder.ask(move)
        pause, until = threading.Event(), self._clock.monotonic() + _HEARING_SECONDS
        while folder.asked() is not None and folder.is_locked() and self._clock.monotonic() < until:
            pause.wait(_LOOK_SECONDS)
        held = folder.load()
        if held.status is ExecutionStatus.RUNNING and held.runs != runs:
            return self._asked_of_its_process(source, move)  # it began meanwhile, perhaps with nothing asked
        return held.status in (ExecutionStatus.RUNNING, _LEADS_TO[move])

    @contextmanager
    def _moving(self, source: Source, move: Move) -> Iterator[tuple[HeldFolder, Held]]:
        """Give the execution, locked and allowed to make the move; an attempt's is made by its first move."""
        self._trail.refuse_if_run()
        folder = source.folder or self._folders.new(source.held.batch)
        with folder.locked(move):
            if source.folder is not None:
                held = folder.load(mine=True)
                check(held.execution, move)
                yield folder, held
                return
            with _gone_if_refused(folder, stood=source.history):
                check(replace(source.held.execution, id=source.held.origin), move)
                held = self._described(replace(source.held, id=folder.id), source.held.status)
                import_thread(folder.thread_file, export_thread(source.file, source.thread), folder.id)
                folder.save(held)
                self._trail.note(held, f"taken up from {held.origin}", {"origin": held.origin})
                try:
                    yield folder, held
                except ExecutionError:
                    self._told(held, "let go again: the move was refused")
                    raise

    def _run(self, folder: HeldFolder, held: Held, start: Start | None, pausing: Pausing, move: Move) -> Ran:
        stood = folder.history()
        self._trail.note(held, "begins" if move is Move.RUN else "resumed", {"move": move.value})
        running = self._described(replace(held, runs=held.runs + 1), ExecutionStatus.RUNNING)
        running = replace(running, question="", message="", outcome="", reason="", score=None)
        folder.save(running)
        heard: list[Move | None] = [None]

        def asked() -> Move | None:
            if (word := folder.asked()) is not None:
                folder.forget_asked()
            for wanted in (word, Move.PAUSE if self._interrupted() else None):
                if wanted is not None:
                    heard[0] = heeded(heard[0], wanted)
            return heard[0]

        try:
            result = self._runs.carry_out(folder, held, start, pausing, asked=asked)
        except BaseException as err:
            self._never_ran_on(folder, held, running, stood, str(err) or type(err).__name__)
            raise
        if result is not None and result.reason in _NEVER_BEGAN:
            self._never_ran_on(folder, held, running, stood, result.message)
            raise ExecutionError(_about(held, result.message))
        ended = self._settle(folder, _after(running, result, heard[0]))
        details: dict[str, JSON] = {"outcome": ended.outcome, "reason": ended.reason, "nodes": list(ended.nodes)}
        self._told(ended, f"{ended.status}" + (f": {ended.message}" if ended.message else ""), details)
        return Ran(ended, result)

    def _never_ran_on(
        self, folder: HeldFolder, held: Held, running: Held, stood: Sequence[Checkpoint], why: str
    ) -> None:
        """Leave an execution as it was before a run that came to nothing, unless its thread has moved."""
        if folder.history() == stood:
            folder.save(held)
            self._told(held, f"nothing was run: {why}")
        else:
            ended = self._settle(folder, replace(running, status=ExecutionStatus.PAUSED))
            self._told(ended, f"{ended.status}: {why}")

    def _told(self, held: Held, did: str, details: Mapping[str, JSON] | None = None) -> None:
        """Add an entry of what was done. It stands also if the batch was taken up meanwhile: that is logged."""
        try:
            self._trail.note(held, did, details)
        except (BatchRuns, StaleSession) as err:
            _log.warning("a move was made that the trail does not tell of", execution=held.id, did=did, error=str(err))

    def _hold(self, folder: HeldFolder, held: Held, start: Start) -> AttemptResult:
        """Have a worker make the state as ``start`` says, running no node. Raises ``ExecutionError``."""
        result = self._runs.carry_out(folder, held, start)
        if result is None or result.reason != Reason.PAUSED:
            raise ExecutionError(result.message if result is not None else "it was stopped before it began")
        return result

    def _settle(self, folder: HeldFolder, held: Held) -> Held:
        changed = replace(held, changed_at=self._clock.now().isoformat())
        folder.save(changed)
        return changed

    def _described(self, held: Held, status: ExecutionStatus) -> Held:
        now = self._clock.now().isoformat()
        return replace(held, status=status, changed_at=now, created_at=held.created_at if held.runs else now)


_LEADS_TO = {Move.PAUSE: ExecutionStatus.PAUSED, Move.STOP: ExecutionStatus.CANCELLED}
_NEVER_BEGAN = (Reason.START_REFUSED, Reason.WORKFLOW_INVALID)
_STOPPED = "ended because it was stopped"
_COMPLETED = (Reason.BELOW_THRESHOLD, Reason.EVALUATION_FAILED)


def _after(held: Held, result: AttemptResult | None, asked: Move | None) -> Held:
    """Return an execution as it stands after a run."""
    if result is None:
        status = ExecutionStatus.CANCELLED if asked is Move.STOP else ExecutionStatus.PAUSED
        return replace(held, status=status)
    status = status_after(result, stopped=asked is Move.STOP)
    stopped = status is ExecutionStatus.CANCELLED
    return replace(
        held,
        status=status,
        question=result.message if result.reason == Reason.INTERRUPTED_BY_GRAPH else "",
        message=_STOPPED if stopped else "" if result.reason == Reason.INTERRUPTED_BY_GRAPH else result.message,
        outcome=result.outcome.value,
        reason=result.reason,
        score=result.score,
        nodes=tuple(boundary.node for boundary in result.boundaries),
    )


def status_after(result: AttemptResult, *, stopped: bool = False) -> ExecutionStatus:
    """Return where an execution stands whose run came to this. What was cut short stands at its last boundary."""
    match result.outcome:
        case Outcome.PASSED:
            return ExecutionStatus.COMPLETED
        case Outcome.FAILED if result.reason in _COMPLETED:
            return ExecutionStatus.COMPLETED
        case Outcome.FAILED if result.reason not in _NEVER_BEGAN:
            return ExecutionStatus.FAILED
        case Outcome.CANCELLED if stopped:
            return ExecutionStatus.CANCELLED
        case _:
            return ExecutionStatus.PAUSED


def target_of(source: Source, to: str) -> Checkpoint:
    """Return the boundary of this name, a checkpoint's or a node's, or the newest. Raises as ``decide.execution``."""
    return named(source.held.id or source.held.origin, source.history, to)


@contextmanager
def _gone_if_refused(folder: HeldFolder, *, stood: Sequence[Checkpoint] | None = None) -> Iterator[None]:
    """Remove an execution that was made for a move which came to nothing; if its thread ``stood`` so and moved, not."""
    try:
        yield
    except BaseException:
        if stood is None or len(read_history(folder.thread_file, folder.id)) == len(stood):
            shutil.rmtree(folder.path, ignore_errors=True)
        raise


def _about(held: Held, message: str) -> str:
    about = f"execution {held.id}"
    return message if message.startswith(about) else f"{about}: {message}"
