"""What the operator needs of its store beyond ``BatchStore``: leadership, places, segments, the outbox, mirrors."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from batchyard.engine.ports import BatchStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from batchyard.engine.carrying import PastResults, Step
    from batchyard.engine.ports import BatchRecord, BatchUpdate, Session
    from batchyard.model.audit import AuditEntry, SealedEntry
    from batchyard.model.errors import RecordDamaged
    from batchyard.model.outcome import Outcome
    from batchyard.model.trial import AttemptResult


@dataclass(frozen=True, slots=True)
class ClusterRef:
    """The BatchTest that a batch belongs to. A rejected generation has the uid ``<uid>#<generation>``."""

    namespace: str
    name: str
    uid: str


class EnvironmentState(StrEnum):
    """Where one attempt at a place stands."""

    REQUESTED = "Requested"
    QUEUED = "Queued"
    READY = "Ready"
    RUNNING = "Running"
    ENDED = "Ended"
    RELEASED = "Released"


@dataclass(frozen=True, slots=True)
class EnvironmentRecord:
    """One attempt at giving a batch a place.

    ``heard_at`` is the last contact that was written down. ``segments`` is the number of the newest segment.
    ``finished_at_start`` is how many trials were final when it began. ``identity`` tells a place from another of the
    same name (Ray's session and the head's uid, or the pod's uid). ``done_stop`` is why the worker said it stopped,
    None while it has not.
    """

    batch_id: str
    attempt: int
    provider: str
    name: str
    state: EnvironmentState
    requested_at: datetime
    ready_at: datetime | None = None
    started_at: datetime | None = None
    heard_at: datetime | None = None
    ended_at: datetime | None = None
    released_at: datetime | None = None
    segments: int = 0
    finished_at_start: int = 0
    identity: str = ""
    reason: str = ""
    message: str = ""
    done_stop: str | None = None


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """An audit entry whose Kubernetes event is to be posted. ``tries`` counts those that failed."""

    batch_id: str
    seq: int
    ref: ClusterRef
    entry: SealedEntry
    tries: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Mirrored:
    """Another's Kubernetes event as an entry; ``key`` is ``<event uid>/<count>``."""

    key: str
    entry: AuditEntry


@dataclass(frozen=True, slots=True)
class Trail:
    """Where a batch's audit trail stands: how many entries it has, how many were lost, the newest one's hash."""

    entries: int
    dropped: int
    head: str


class ClusterStore(BatchStore, Protocol):
    """Keeps all that an operator must not lose. Safe to call from any thread; every method raises ``StoreError``."""

    def take_leadership(self, holder: str, now: datetime) -> int:
        """Raise the leadership epoch by 1 in favour of ``holder`` and return it."""
        ...

    def leadership(self) -> tuple[int, str] | None:
        """Return the epoch and the holder; None before the first."""
        ...

    def fenced(self, epoch: int) -> ClusterStore:
        """Return a view whose every writing transaction first checks that leadership still has this epoch.

        Its methods raise ``StaleLeader``, and write nothing, once it has not.
        """
        ...

    def check_leading(self) -> None:
        """Raise ``StaleLeader`` if leadership has not this view's epoch any more."""
        ...

    def token_key(self) -> bytes:
        """Return the store's own 32 secret bytes, made at the first call."""
        ...

    def create_cluster_batch(self, record: BatchRecord, ref: ClusterRef) -> bool:
        """Add a batch with its BatchTest; False, and no change, if the same one is there already."""
        ...

    def cluster_ref(self, batch_id: str) -> ClusterRef | None:
        """Return the BatchTest of a batch."""
        ...

    def batch_of(self, uid: str) -> BatchRecord | None:
        """Return the batch of a BatchTest, without ``spec`` and ``status``, which may be large."""
        ...

    def finals(self, batch_id: str, ordinals: Sequence[int] | None) -> Iterator[AttemptResult]:
        """Yield the final results of these trials, in this order; of all, by ordinal, if none are named."""
        ...

    def newest_of(self, namespace: str, name: str) -> BatchRecord | None:
        """Return the batch that was accepted last of a BatchTest of this name, with ``spec``; none was if rejected."""
        ...

    def open_batches(self) -> Sequence[tuple[str, ClusterRef]]:
        """Return every batch that is not over, or one of whose places is not released."""
        ...

    def trail_of(self, batch_id: str) -> Trail:
        """Return where the batch's audit trail stands. Raises ``BatchNotFound``; ``StaleLeader`` as a write does."""
        ...

    def environments(self, batch_id: str) -> Sequence[EnvironmentRecord]:
        """Return the batch's places, oldest first."""
        ...

    def commit_step(
        self,
        session: Session,
        *,
        results: Sequence[tuple[AttemptResult, bool]] = (),
        entries: Sequence[AuditEntry] = (),
        dropped: int = 0,
        batch: BatchUpdate | None = None,
        environment: EnvironmentRecord | None = None,
        segment: tuple[int, int] | None = None,
        outbox: Sequence[int] = (),
        closed_at: datetime | None = None,
        carried: Step | None = None,
    ) -> Sequence[tuple[int, int]]:
        """Write one step, all or nothing; see ``BatchStore.commit``. Return (ordinal, attempt) of results left out.

        ``segment`` (attempt, number) must follow the newest segment of that attempt, else ``SegmentOutOfOrder`` is
        raised. ``outbox`` holds the indexes of the entries whose Kubernetes event is to be posted. ``closed_at``
        ends the session, as ``close_session`` does. The results of ``carried`` are copied from the batch that ran them;
        ``StoreError`` is raised if one is not there any more.
        """
        ...

    def outbox_due(self, now: datetime, limit: int, damaged: list[RecordDamaged] | None = None) -> Sequence[OutboxItem]:
        """Return what is to be posted now, oldest first; of a batch nothing overtakes what is older.

        What cannot be read is parked, since it would hold up all others for ever, and goes to ``damaged``.
        """
        ...

    def outbox_posted(self, items: Sequence[OutboxItem]) -> None:
        """Forget items that were posted."""
        ...

    def outbox_failed(self, item: OutboxItem, error: str, next_at: datetime, *, parked: bool) -> None:
        """Note a failure and when to try again; a parked item is not tried again and holds nothing up."""
        ...

    def outbox_stats(self) -> tuple[int, datetime | None, int]:
        """Return how many wait, since when the oldest does, and how many are parked."""
        ...

    def mirror(self, rows: Sequence[Mirrored], kind: str, position: str) -> int:
        """Append entries not seen before to their batches' chains and keep the watch's position, all or nothing."""
        ...

    def watch_position(self, kind: str) -> str | None:
        """Return the resource version up to which this watch was mirrored."""
        ...

    def past(self) -> PastResults:
        """Return what reads the results of finished batches without what is large in them."""
        ...

    def prune(self, now: datetime) -> Sequence[str]:
        """Delete the audit trails whose retention time is over; return their batches. Raises ``StaleLeader``."""
        ...

    def counts(self, batch_id: str) -> Mapping[Outcome, int]:
        """Return how many trials ended with each outcome."""
        ...
