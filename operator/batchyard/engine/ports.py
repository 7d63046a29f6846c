"""What the engine needs of the world, as small Protocols. Adapters implement them; ``compose`` wires them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from batchyard.engine.probe import Probe as Probe  # noqa: TC001 - others find it here
from batchyard.engine.probe import StopRequest as StopRequest
from batchyard.model.execution import NO_BREAKPOINTS
from batchyard.model.outcome import Outcome, Phase
from batchyard.model.questions import NO_ANSWERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from batchyard.engine.files import FileTracking
    from batchyard.engine.marks import GraphMarks, ShareableNode
    from batchyard.model.audit import AuditEntry, SealedEntry
    from batchyard.model.errors import RecordDamaged
    from batchyard.model.execution import Breakpoints, Checkpoint
    from batchyard.model.questions import Question
    from batchyard.model.trial import JSON, AttemptResult, Combination, NodeBoundary

# -- the store ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One batch as the store keeps it.

    ``spec`` is the whole BatchTest as JSON with all its cases inline; ``base`` is the folder
    that its relative paths are relative to. ``status`` is the contract's ``status`` as JSON. ``audit_head`` and
    ``audit_entries`` describe the stored chain; ``audit_dropped`` counts entries lost before they could be stored;
    a trail with ``audit_pruned_at`` was deleted after its retention time and cannot be verified any more.
    """

    id: str
    name: str
    spec: JSON
    spec_digest: str
    base: str
    total: int
    accepted_at: datetime
    deadline_at: datetime
    phase: Phase = Phase.PENDING
    reason: str = ""
    message: str = ""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    status: JSON = None
    epoch: int = 0
    audit_head: str = "0" * 64
    audit_entries: int = 0
    audit_dropped: int = 0
    audit_pruned_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that runs a session. ``started`` tells a live process from a later one with the same pid."""

    host: str
    pid: int
    started: str


@dataclass(frozen=True, slots=True)
class Session:
    """The right to write one batch's results, until a later session takes it over (``epoch`` rises by 1)."""

    batch_id: str
    epoch: int
    owner: Owner


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session that was never closed, and when it was last heard of."""

    batch_id: str
    epoch: int
    owner: Owner
    opened_at: datetime
    heard_at: datetime


class BatchStore(Protocol):
    """Keeps batches, attempts and audit entries. Safe to call from any thread.

    Every method raises ``StoreError`` if the database cannot be reached or refuses.
    """

    def create_batch(self, record: BatchRecord) -> None:
        """Add a batch. Raises ``StoreError`` if the id is taken."""
        ...

    def batch(self, reference: str) -> BatchRecord:
        """Return the batch of this id, id prefix or name (the newest). Raises ``BatchNotFound``, ``BatchAmbiguous``."""
        ...

    def batches(self, *, limit: int = 50, damaged: list[RecordDamaged] | None = None) -> Sequence[BatchRecord]:
        """Return the newest batches first, at most ``limit``; ``spec`` is left out (None) for speed.

        Those of them that cannot be read go to ``damaged``; without it, the first is raised.
        """
        ...

    def open_session(self, batch_id: str, owner: Owner, now: datetime, *, after: int | None = None) -> Session:
        """Take the batch over: raise its epoch by 1 and record the owner, so that older sessions are refused.

        Raises ``BatchNotFound``, and ``StaleSession`` if the newest session is another than ``after``. Whether the
        previous owner still lives is the caller's question (``live_owner``).
        """
        ...

    def live_owner(self, batch_id: str) -> tuple[Owner, datetime] | None:
        """Return the owner and last heartbeat of the session that was never closed, if there is one."""
        ...

    def open_sessions(self, damaged: list[RecordDamaged] | None = None) -> Sequence[OpenSession]:
        """Return every session that was never closed and belongs to no BatchTest of a cluster, oldest first.

        Those of them that cannot be read go to ``damaged``; without it, the first is raised.
        """
        ...

    def heartbeat(self, session: Session, now: datetime) -> None:
        """Say that the session lives. Raises ``StaleSession`` if another took over."""
        ...

    def close_session(self, session: Session, reason: str, now: datetime) -> None:
        """End the session, with the reason; a second call changes nothing."""
        ...

    def commit(
        self,
        session: Session,
        *,
        results: Sequence[tuple[AttemptResult, bool]] = (),
        entries: Sequence[AuditEntry] = (),
        dropped: int = 0,
        batch: BatchUpdate | None = None,
    ) -> None:
        """Write results (each with whether it is the trial's final one), entries and the batch's state, all or nothing.

        Durable when it returns. Entries are sealed into the batch's chain in the given order, inside the
        transaction. A result already there (same ordinal and attempt), or a second final result of a trial, is
        left out silently. Raises ``StaleSession`` if another session took over.
        """
        ...

    def finished_ordinals(self, batch_id: str) -> Iterator[int]:
        """Yield the ordinal of every trial that has a final result, ascending."""
        ...

    def attempts_made(self, batch_id: str) -> Mapping[int, int]:
        """Return the number of the newest attempt of each trial that has attempts but no final result."""
        ...

    def attempts_ended(self, batch_id: str) -> Iterator[tuple[str, int]]:
        """Yield the trial's id and the number of every attempt that has a result, by ordinal, then attempt."""
        ...

    def results(
        self,
        batch_id: str,
        *,
        final_only: bool = True,
        outcomes: Sequence[Outcome] | None = None,
        limit: int | None = None,
    ) -> Iterator[AttemptResult]:
        """Yield results by ordinal, then attempt, in pages, so that memory stays flat."""
        ...

    def audit_entries(self, batch_id: str, *, after: int = 0, limit: int | None = None) -> Iterator[SealedEntry]:
        """Yield the batch's entries with ``seq`` over ``after``, oldest first, in pages."""
        ...

    def close(self) -> None:
        """Release every connection."""
        ...


@dataclass(frozen=True, slots=True)
class BatchUpdate:
    """A new state of a batch; None leaves a field as it is."""

    phase: Phase
    reason: str = ""
    message: str = ""
    status: JSON = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


class ResultWriter(Protocol):
    """The one writer of a session's results: takes them in order, commits them in groups."""

    def submit(
        self,
        *,
        results: Sequence[tuple[AttemptResult, bool]] = (),
        entries: Sequence[AuditEntry] = (),
        dropped: int = 0,
        batch: BatchUpdate | None = None,
    ) -> object:
        """Queue one step's rows, which are committed together; see ``BatchStore.commit``.

        Waits while too much is queued. Raises ``StoreError`` once a commit has failed.
        """
        ...

    def flush(self) -> None:
        """Wait until everything submitted is durable. Raises ``StoreError``."""
        ...


# -- the workflow ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunOutput:
    """How a run of a workflow ended.

    ``status``: ``completed``; ``interrupted`` (the graph asked for input: ``message`` has what it asked); ``paused``
    (at a breakpoint); ``stopped`` (ended at a boundary because it was asked to); ``failed``: ``reason`` is a ``Reason``
    of an attempt (NodeRaised, RecursionLimitExceeded, StateNotSerialisable) and ``message`` names node and exception.
    ``state`` is the final (or last) state as the workflow left it. ``upcoming`` has the nodes that would run next,
    ``questions`` what waits to be answered, in the order of the nodes that asked.
    """

    status: str
    state: Mapping[str, object]
    boundaries: tuple[NodeBoundary, ...] = ()
    reason: str = ""
    message: str = ""
    last_checkpoint: str | None = None
    upcoming: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()


class StateAdapter(Protocol):
    """Runs workflows of one framework, one run at a time, and keeps their states. Nobody looks into a workflow."""

    files: FileTracking | None  # what keeps files with the states, if anything does

    def prepare(self, variants: Mapping[str, str]) -> object:
        """Return the workflow for these variants, made by the factory once and kept. Raises ``WorkflowInvalid``."""
        ...

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
        """Run from the start with ``state`` as input on a thread of its own; every node boundary is kept.

        Never raises for what the workflow does; ``BaseException`` that is no ``Exception`` passes through.
        """
        ...

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
        """Go on from the thread's newest checkpoint, with answers by their question ("": the first to come).

        What ran before it does not run again; ``RunOutput.boundaries`` has this run's only. A question without an
        answer is asked again; a breakpoint at which the thread stands holds no more. With ``steps_count`` the steps
        taken so far count towards ``recursion_limit``. Raises ``KeyError`` if the thread is unknown.
        """
        ...

    def marks(
        self, workflow: object, variants: Mapping[str, str], declared: Sequence[ShareableNode], environment: str
    ) -> GraphMarks:
        """Return what tells whether two workflows share declared nodes; ``environment`` is what else decides."""
        ...

    def roll_back(self, thread_id: str, checkpoint_id: str) -> None:
        """Make a checkpoint the thread's newest: drop all that came after it. Raises ``KeyError``."""
        ...

    def fork(self, thread_id: str, checkpoint_id: str, new_thread_id: str) -> None:
        """Copy the thread up to a checkpoint to a new thread; the source stays as it is.

        Raises ``KeyError`` if there is no such checkpoint, ``ValueError`` if the new thread is there already.
        """
        ...

    def edit(self, workflow: object, thread_id: str, values: Mapping[str, JSON], as_node: str | None = None) -> str:
        """Set keys of the thread's newest state, as if ``as_node`` (the one that ran last) had left them so.

        The values replace what is there, also where the workflow would merge; where the run goes next is decided
        anew. Returns the new checkpoint. Raises ``KeyError`` for an unknown thread, ``ValueError`` for what cannot be
        set and if several nodes ran last and none is named.
        """
        ...

    def take_out(self, thread_id: str, checkpoint_id: str | None = None) -> bytes:
        """Return the thread, or what it was at a checkpoint, so that another adapter of its kind can take it in.

        Raises ``ExecutionNotFound`` or ``CheckpointNotFound``.
        """
        ...

    def take_in(self, thread_id: str, piece: bytes) -> None:
        """Add a thread that another adapter of its kind gave.

        Raises ``ValueError`` if the thread is there already, ``StoreError`` if the piece is damaged.
        """
        ...

    def questions(self, workflow: object, thread_id: str) -> tuple[Question, ...]:
        """Return what the thread waits to be answered; nothing if it is at no question, or not known."""
        ...

    def upcoming(self, workflow: object, thread_id: str) -> tuple[str, ...]:
        """Return the nodes that would run next on the thread; none if it has ended."""
        ...

    def nodes(self, workflow: object) -> tuple[str, ...]:
        """Return the names of the workflow's top-level nodes: what a breakpoint can name."""
        ...

    def history(self, thread_id: str) -> Sequence[Checkpoint]:
        """Return the thread's checkpoints, oldest first; empty if the thread is unknown."""
        ...

    def state(self, thread_id: str, checkpoint_id: str | None = None) -> Mapping[str, object]:
        """Return the state at a checkpoint, the newest if none is named. Raises ``KeyError`` if there is none."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...


# -- the environment ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RuntimeEnvironment:
    """What one combination's trials see: ``env`` is added to the process environment, ``packages`` are installed.

    Trials whose ``key`` differs never share a worker process. ``memory_bytes`` None means no limit.
    """

    key: str
    env: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int | None = None
    packages: tuple[str, ...] = ()


class EnvironmentProvider(Protocol):
    """Makes and releases the place where a batch's trials run. Every method may be called twice."""

    def ensure(self, batch_id: str) -> None:
        """Make the place. Raises ``EnvironmentUnavailable`` with what was seen."""
        ...

    def runtime(self, combination: Combination) -> RuntimeEnvironment:
        """Return what the trials of this combination see."""
        ...

    def workspace(self, batch_id: str, trial_id: str, attempt: int) -> Path:
        """Make and return an empty folder for one attempt."""
        ...

    def release_workspace(self, path: Path, *, keep: bool) -> None:
        """Remove an attempt's folder, or keep it for a post-mortem."""
        ...

    def release(self, batch_id: str) -> None:
        """Give the place back; kept workspaces stay."""
        ...
