"""What the operator knows of each open batch: read from the store once, then kept in step with every commit.

All that is here can be lost at any moment: the store has it all. Not for deciding (``decide.lifecycle``).
"""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from batchyard.decide.publish import choose
from batchyard.engine.cluster_ports import EnvironmentRecord, EnvironmentState
from batchyard.engine.ports import BatchUpdate
from batchyard.events.lines import log_entry
from batchyard.kube.in_step import keep_carried, keep_results, keep_state
from batchyard.kube.known import read_known
from batchyard.model.audit import AuditEntry
from batchyard.model.errors import RecordDamaged, SegmentOutOfOrder, StoreError
from batchyard.model.events import EventType, severity_of
from batchyard.model.outcome import Phase
from batchyard.model.spec_environment import Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from batchyard.clock import Clock
    from batchyard.engine.carrying import Step
    from batchyard.engine.cluster_ports import ClusterRef, ClusterStore
    from batchyard.engine.ports import BatchRecord, Owner, Session
    from batchyard.engine.sources import LoadedBatch
    from batchyard.engine.summary import Summary
    from batchyard.kube.recorder import InThread
    from batchyard.metrics import Metrics
    from batchyard.model.trial import JSON, AttemptResult

T = TypeVar("T")

_OPERATOR = "operator"


async def in_a_thread(call: Callable[[], T]) -> T:
    """Return what a call of the store returns: it waits for a disk, so away from the event loop. Calls may overlap."""
    return await asyncio.to_thread(call)


@dataclass(slots=True)
class Told:
    """What the cluster was told of a batch by this operator: when, how far it was, how often of trouble."""

    at: datetime | None = None
    finished: int = 0
    troubles: int = 0


@dataclass(slots=True, eq=False)
class ActiveBatch:
    """One batch that is not over yet, or whose place is not given back yet.

    ``final`` has a byte for every trial: 1 if its result stands. ``lock`` is held while anything is committed or
    changed; never while the cluster is asked anything. ``limited`` counts the entries that
    may have no event of their own. ``ensured`` is the attempt whose place is known to be made, and ``refused_at`` when
    the newest one's making was last refused. ``status_kept_at`` is when the store was last given a status.
    ``admitted_at`` is when a queue that held the newest place back let it be made.
    ``amended`` is whether it was told what was carried over from the batch that it amends.
    ``opened_at`` is since when this operator hears its workers. ``abandoned`` counts what the newest worker could not
    end.
    """

    ref: ClusterRef
    record: BatchRecord
    loaded: LoadedBatch
    session: Session
    summary: Summary
    final: bytearray
    environments: list[EnvironmentRecord]
    opened_at: datetime
    limited: int = 0
    running: int = 0
    abandoned: int = 0
    heard_at: datetime | None = None
    asked_at: datetime | None = None
    ensured: int = 0
    refused_at: datetime | None = None
    admitted_at: datetime | None = None
    status_kept_at: datetime | None = None
    told: Told = field(default_factory=Told)
    releasing: bool = False
    deadline_told: bool = False
    amended: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def id(self) -> str:
        """Return the batch's id in the store."""
        return self.record.id

    @property
    def environment(self) -> EnvironmentRecord | None:
        """Return the newest attempt at a place, if there was any."""
        return self.environments[-1] if self.environments else None

    @property
    def newest(self) -> EnvironmentRecord:
        """Return the newest attempt at a place. Raises ``LookupError`` before the first."""
        if not self.environments:
            raise LookupError(f"batch {self.id} has no place yet")
        return self.environments[-1]

    @property
    def runner_name(self) -> str:
        """Return who runs the trials, as metrics call it."""
        return "Ray" if self.loaded.batch.spec.environment.provider is Provider.KUBE_RAY else "Threads"

    @property
    def open_trials(self) -> int:
        """Return how many trials have no final result."""
        return self.final.count(0)

    def barren(self) -> int:
        """Return how many of the newest attempts in a row failed without having finished a single trial."""
        count, after = 0, self.summary.finished
        for attempt in reversed(self.environments):
            if attempt.ended_at is None or not attempt.reason or attempt.reason in _NO_FAULT:
                break
            if after > attempt.finished_at_start:
                break
            count, after = count + 1, attempt.finished_at_start
        return count

    def finished_ranges(self) -> tuple[tuple[int, int], ...]:
        """Return the ordinals that have final results as inclusive ranges."""
        ranges: list[tuple[int, int]] = []
        start = self.final.find(1)
        while start >= 0:
            end = self.final.find(0, start)
            end = len(self.final) if end < 0 else end
            ranges.append((start, end - 1))
            start = self.final.find(1, end)
        return tuple(ranges)


_STATUS_SECONDS = 2.0
_WAITED_FOR = frozenset({EnvironmentState.REQUESTED, EnvironmentState.QUEUED, EnvironmentState.READY})
_NO_FAULT = frozenset({"Suspended", "Interrupted", "Preempted"})


class Batches:
    """The open batches of this operator, by the uid of their BatchTest."""

    def __init__(
        self,
        store: ClusterStore,
        owner: Owner,
        clock: Clock,
        metrics: Metrics,
        *,
        in_thread: InThread = in_a_thread,
    ) -> None:
        """``store`` is fenced by this operator's leadership."""
        self._metrics = metrics
        self.store = store
        self.threads = in_thread
        self.owner = owner
        self._clock = clock
        self._by_uid: dict[str, ActiveBatch] = {}
        self._by_id: dict[str, ActiveBatch] = {}
        self._damaged: set[str] = set()
        # A batch that two tasks opened at once would be written by two sessions, of which the older is refused.
        self._opening: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    def known(self, batch_id: str) -> ActiveBatch | None:
        """Return the batch if it is open and has been looked at."""
        return self._by_id.get(batch_id)

    def all(self) -> Sequence[ActiveBatch]:
        """Return every open batch."""
        return list(self._by_uid.values())

    def by_uid(self, uid: str) -> ActiveBatch | None:
        """Return the batch of this BatchTest if it is open and has been looked at."""
        return self._by_uid.get(uid)

    async def ref_of(self, batch_id: str) -> ClusterRef:
        """Return which BatchTest a batch is of, from the store."""
        ref = await self.threads(lambda: self.store.cluster_ref(batch_id))
        if ref is None:
            raise StoreError(f"batch {batch_id} belongs to no BatchTest; run `batchyard db check`")
        return ref

    async def is_released(self, batch_id: str) -> bool:
        """Return whether every place of a batch is given back, as the store has it."""
        found = await self.threads(lambda: self.store.environments(batch_id))
        return all(environment.state is EnvironmentState.RELEASED for environment in found)

    async def record_of(self, uid: str) -> BatchRecord | None:
        """Return what the store has of a BatchTest, but for its spec and status; None if it was never accepted."""
        known = self._by_uid.get(uid)
        return known.record if known else await self.threads(lambda: self.store.batch_of(uid))

    async def open(self, ref: ClusterRef, batch_id: str) -> ActiveBatch:
        """Return the batch with everything known of it; takes it over from whichever operator had it before."""
        lock = self._opening.setdefault(ref.uid, asyncio.Lock())
        async with lock:
            known = self._by_uid.get(ref.uid)
            if known is not None:
                return known
            if batch_id in self._damaged:
                # Each session is a row that stays: there is no other until all of it can be read again.
                await self.threads(lambda: read_known(self.store, batch_id))
            try:
                batch = await self.threads(lambda: self._read(ref, batch_id))
            except RecordDamaged:
                self._damaged.add(batch_id)
                raise
            self._damaged.discard(batch_id)
            self._by_uid[ref.uid] = self._by_id[batch.id] = batch
            return batch

    async def close(self, batch: ActiveBatch) -> None:
        """End this operator's session of a batch about which there is nothing left to do, and drop it."""
        now = self._clock.now()
        await self.threads(lambda: self.store.close_session(batch.session, "Finished", now))
        self.forget(batch)

    async def check_leading(self) -> None:
        """Raise ``StaleLeader`` if another operator took over; for before anything that the store does not see."""
        await self.threads(self.store.check_leading)

    def forget(self, batch: ActiveBatch) -> None:
        """Drop what is known of a batch; the store has it all."""
        if self._by_uid.get(batch.ref.uid) is batch:
            del self._by_uid[batch.ref.uid], self._by_id[batch.id]

    async def commit(
        self,
        batch: ActiveBatch,
        *,
        entries: Sequence[AuditEntry] = (),
        results: Sequence[tuple[AttemptResult, bool]] = (),
        environment: EnvironmentRecord | None = None,
        segment: tuple[int, int] | None = None,
        dropped: int = 0,
        update: BatchUpdate | None = None,
        last: bool = False,
        carried: Step | None = None,
    ) -> Sequence[tuple[int, int]]:
        """Write one step, then keep what is known here in step with it; return the results that were left out.

        The caller holds ``batch.lock``. Raises ``StoreError``; whether anything was written is not known then, so the
        batch is dropped, to be read anew. ``SegmentOutOfOrder`` is sure: nothing was.
        """
        if self._by_uid.get(batch.ref.uid) is not batch:
            raise StoreError(f"what was known of batch {batch.id} is out of step with the store; it is read anew")
        if batch.record.audit_pruned_at is not None:
            entries = ()  # its trail was deleted after its time, and takes nothing more
        chosen = choose(entries, batch.limited)
        write = partial(
            self.store.commit_step, batch.session, results=results, entries=entries, dropped=dropped, batch=update,
            environment=environment, segment=segment, outbox=chosen.indexes,
            closed_at=self._clock.now() if last else None, carried=carried,
        )  # fmt: skip
        try:
            left_out = await self.threads(write)
        except SegmentOutOfOrder:
            raise
        except BaseException:  # also if cancelled: the thread goes on, and nobody hears how it ends
            self.forget(batch)
            raise
        batch.limited = chosen.limited
        self._keep_entries(batch, entries, dropped)
        keep_results(batch, results, set(left_out))
        if carried is not None:
            keep_carried(batch, carried)
        keep_state(batch, environment, update)
        return left_out

    def _keep_entries(self, batch: ActiveBatch, entries: Sequence[AuditEntry], dropped: int) -> None:
        for entry in entries:
            self._metrics.audit_entry_stored(entry.type, entry.severity)
            if entry.source == _OPERATOR:  # a worker has a log of its own
                log_entry(entry, namespace=batch.ref.namespace, name=batch.ref.name)
        self._metrics.audit_entries_dropped(dropped)
        batch.deadline_told |= any(entry.type is EventType.DEADLINE_EXCEEDED for entry in entries)
        batch.amended |= any(entry.type is EventType.BATCH_AMENDED for entry in entries)
        batch.record = replace(
            batch.record,
            audit_entries=batch.record.audit_entries + len(entries),
            audit_dropped=batch.record.audit_dropped + dropped,
        )

    async def refresh_head(self, batch: ActiveBatch) -> None:
        """Read the audit chain's head, which other writers of the batch move too. Raises ``StaleLeader``."""
        trail = await self.threads(lambda: self.store.trail_of(batch.id))
        batch.record = replace(
            batch.record, audit_entries=trail.entries, audit_dropped=trail.dropped, audit_head=trail.head
        )

    def current(self, batch: ActiveBatch) -> BatchRecord:
        """Return what is known of the batch, with its status as the results have it now."""
        record = batch.record
        if record.phase.final:
            return record
        if record.phase is not Phase.SUSPENDED:
            record = replace(record, message=_progress(batch))
        return replace(record, status=batch.summary.status(record, running=batch.running, gate=None))

    def entry(
        self, batch: ActiveBatch, kind: EventType, message: str, details: Mapping[str, JSON] | None = None
    ) -> AuditEntry:
        """Return an entry of the operator's own for the batch's trail."""
        number = batch.environment.attempt if batch.environment else 0
        return AuditEntry(
            at=self._clock.now(),
            type=kind,
            severity=severity_of(kind),
            message=message,
            batch_id=batch.id,
            epoch=number,
            source=_OPERATOR,
            details=details or {},
        )

    def admitted_entry(self, batch: ActiveBatch, place: EnvironmentRecord) -> AuditEntry:
        """Return the entry that says that a queue let a place be made: it tells a later operator since when it may."""
        entry = self.entry(batch, EventType.ENVIRONMENT_ADMITTED, "", {"attempt": place.attempt})
        waited = (entry.at - place.requested_at).total_seconds()
        batch.admitted_at = entry.at
        return replace(entry, message=f"{place.provider} {place.name} was admitted after {waited:.0f} s")

    def ready_entry(self, batch: ActiveBatch, place: EnvironmentRecord) -> AuditEntry:
        """Return the entry that says that a place is ready, and count how long it took."""
        since = batch.admitted_at or place.requested_at
        took = ((place.ready_at or self._clock.now()) - since).total_seconds()
        self._metrics.environment_provisioned(place.provider, "Ready", took)
        text = f"{place.provider} {place.name} is ready after {took:.0f} s"
        return self.entry(batch, EventType.ENVIRONMENT_READY, text, {"seconds": round(took)})

    def update(
        self, batch: ActiveBatch, phase: Phase, reason: str = "", message: str = "", *, started: bool = False
    ) -> BatchUpdate:
        """Return a new state of a batch that is not over, now and then with its status as the results have it."""
        text, now = message or _progress(batch), self._clock.now()
        begun = now if started and batch.record.started_at is None else None
        kept = batch.status_kept_at
        if phase is batch.record.phase and kept is not None and (now - kept).total_seconds() < _STATUS_SECONDS:
            # Segments come several a second, and a status has a row for each of up to 256 combinations.
            return BatchUpdate(phase, reason, text, None, begun)
        batch.status_kept_at = now
        record = replace(batch.record, phase=phase, reason=reason, message=text)
        return BatchUpdate(phase, reason, text, batch.summary.status(record, running=batch.running, gate=None), begun)

    def _read(self, ref: ClusterRef, batch_id: str) -> ActiveBatch:
        # First of all: from then on no other operator's session changes what is read.
        opened_at = self._clock.now()
        session = self.store.open_session(batch_id, self.owner, opened_at)
        known = read_known(self.store, batch_id)
        return ActiveBatch(
            ref, replace(known.record, epoch=session.epoch), known.loaded, session, known.summary, known.final,
            known.environments, opened_at, known.limited,
            admitted_at=known.admitted_at, deadline_told=known.deadline_told, amended=known.amended,
        )  # fmt: skip


def _progress(batch: ActiveBatch) -> str:
    text, place = f"{batch.summary.finished} of {batch.record.total} trials finished", batch.environment
    if place is None or place.state not in _WAITED_FOR:
        return text
    if place.state is EnvironmentState.QUEUED:
        return f"{text}; {place.message}"
    # Only what hinders it has a reason.
    return f"{text}; {place.reason}: {place.message}" if place.reason else text
