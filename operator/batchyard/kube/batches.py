"""What the operator knows of each open batch: read from the store once, then kept in step with every commit.

All that is here can be lost at any moment: the store has it all. Not for deciding (``decide.lifecycle``).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from batchyard.decide.publish import LIMITED, choose
from batchyard.engine.cluster_ports import EnvironmentRecord, EnvironmentState
from batchyard.engine.ports import BatchUpdate
from batchyard.engine.sources import LoadedBatch
from batchyard.engine.summary import Summary
from batchyard.model.audit import AuditEntry
from batchyard.model.errors import StoreError
from batchyard.model.events import EventType, severity_of
from batchyard.model.outcome import Outcome, Phase
from batchyard.model.spec_environment import Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from batchyard.clock import Clock
    from batchyard.engine.cluster_ports import ClusterRef, ClusterStore
    from batchyard.engine.ports import BatchRecord, Owner, Session
    from batchyard.metrics import Metrics
    from batchyard.model.trial import JSON, AttemptResult

T = TypeVar("T")


class StoreThreads:
    """Runs the store's calls, which wait for a disk, away from the event loop; two calls may overlap."""

    async def __call__(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns, once it has."""
        return await asyncio.to_thread(call)


@dataclass(slots=True, eq=False)
class ActiveBatch:
    """One batch that is not over yet, or whose place is not given back yet.

    ``final`` has a byte for every trial: 1 if its result stands. ``lock`` is held while anything is committed or
    changed; never while the cluster is asked anything. ``limited`` counts the entries that
    may have no event of their own.
    """

    ref: ClusterRef
    record: BatchRecord
    loaded: LoadedBatch
    session: Session
    summary: Summary
    final: bytearray
    environments: list[EnvironmentRecord]
    limited: int = 0
    running: int = 0
    heard_at: datetime | None = None
    asked_at: datetime | None = None
    status_at: datetime | None = None
    releasing: bool = False
    deadline_told: bool = False
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


_NO_FAULT = frozenset({"Suspended", "Interrupted"})


class Batches:
    """The open batches of this operator, by the uid of their BatchTest."""

    def __init__(self, store: ClusterStore, owner: Owner, clock: Clock, metrics: Metrics) -> None:
        """``store`` is fenced by this operator's leadership."""
        self._metrics = metrics
        self.store = store
        self.threads = StoreThreads()
        self.owner = owner
        self._clock = clock
        self._by_uid: dict[str, ActiveBatch] = {}
        self._by_id: dict[str, ActiveBatch] = {}

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
        """Return whether the newest place of a batch is given back, as the store has it."""
        found = await self.threads(lambda: self.store.environments(batch_id))
        return released(found[-1] if found else None)

    async def record_of(self, uid: str) -> BatchRecord | None:
        """Return what the store has of a BatchTest, None if it was never accepted."""
        known = self._by_uid.get(uid)
        return known.record if known else await self.threads(lambda: self.store.batch_of(uid))

    async def open(self, ref: ClusterRef, record: BatchRecord) -> ActiveBatch:
        """Return the batch with everything known of it; takes it over from whichever operator had it before."""
        known = self._by_uid.get(ref.uid)
        if known is not None:
            return known
        batch = await self.threads(lambda: self._read(ref, record))
        self._by_uid[ref.uid] = self._by_id[batch.id] = batch
        return batch

    def forget(self, batch: ActiveBatch) -> None:
        """Drop a batch about which there is nothing left to do."""
        self._by_uid.pop(batch.ref.uid, None)
        self._by_id.pop(batch.id, None)

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
    ) -> Sequence[tuple[int, int]]:
        """Write one step, then keep what is known here in step with it; return the results that were left out.

        The caller holds ``batch.lock``. Raises ``StoreError``; then nothing was written and nothing changed here.
        """
        chosen = choose(entries, batch.limited)
        left_out = await self.threads(
            lambda: self.store.commit_step(
                batch.session,
                results=results,
                entries=entries,
                dropped=dropped,
                batch=update,
                environment=environment,
                segment=segment,
                outbox=chosen.indexes,
            )
        )
        batch.limited = chosen.limited
        for entry in entries:
            self._metrics.audit_entry_stored(entry.type, entry.severity)
        self._metrics.audit_entries_dropped(dropped)
        batch.deadline_told |= any(entry.type is EventType.DEADLINE_EXCEEDED for entry in entries)
        missing = set(left_out)
        for result, final in results:
            if final and (result.ordinal, result.attempt) not in missing:
                batch.final[result.ordinal] = 1
                batch.summary.add(result)
        if environment is not None:
            _put(batch.environments, environment)
        if update is not None:
            batch.record = replace(
                batch.record,
                phase=update.phase,
                reason=update.reason,
                message=update.message,
                status=update.status if update.status is not None else batch.record.status,
                started_at=update.started_at or batch.record.started_at,
                completed_at=update.completed_at or batch.record.completed_at,
            )
        batch.record = replace(
            batch.record,
            audit_entries=batch.record.audit_entries + len(entries),
            audit_dropped=batch.record.audit_dropped + dropped,
        )
        return left_out

    async def refresh_head(self, batch: ActiveBatch) -> None:
        """Read the audit chain's head, which other writers of the batch move too."""
        record = await self.threads(lambda: self.store.batch(batch.id))
        batch.record = replace(
            batch.record,
            audit_head=record.audit_head,
            audit_entries=record.audit_entries,
            audit_dropped=record.audit_dropped,
        )

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
            source="operator",
            details=details or {},
        )

    def ready_entry(self, batch: ActiveBatch, place: EnvironmentRecord) -> AuditEntry:
        """Return the entry that says that a place is ready, and count how long it took."""
        took = ((place.ready_at or self._clock.now()) - place.requested_at).total_seconds()
        self._metrics.environment_provisioned(place.provider, "Ready", took)
        text = f"{place.provider} {place.name} is ready after {took:.0f} s"
        return self.entry(batch, EventType.ENVIRONMENT_READY, text, {"seconds": round(took)})

    def update(
        self, batch: ActiveBatch, phase: Phase, reason: str = "", message: str = "", *, started: bool = False
    ) -> BatchUpdate:
        """Return a new state of a batch that is not over, with its status as the results have it."""
        text = message or f"{batch.summary.finished} of {batch.record.total} trials finished"
        record = replace(batch.record, phase=phase, reason=reason, message=text)
        status = batch.summary.status(record, running=batch.running, gate=None)
        begun = self._clock.now() if started and batch.record.started_at is None else None
        return BatchUpdate(phase, reason, text, status, begun)

    def _read(self, ref: ClusterRef, record: BatchRecord) -> ActiveBatch:
        full = record if record.spec is not None else self.store.batch(record.id)
        loaded = LoadedBatch.from_json(full.spec, Path("/"))
        session = self.store.open_session(record.id, self.owner, self._clock.now())
        summary, final = Summary(loaded.plan), bytearray(full.total)
        for result in self.store.results(record.id):
            final[result.ordinal] = 1
            summary.add(result)
        summary.retried = sum(1 for _ in self.store.results(record.id, final_only=False, outcomes=[Outcome.ERRORED]))
        summary.retried -= summary.counts[Outcome.ERRORED]
        limited, deadline_told = 0, False
        for sealed in self.store.audit_entries(record.id):
            limited += sealed.entry.type in LIMITED
            deadline_told |= sealed.entry.type is EventType.DEADLINE_EXCEEDED
        environments = list(self.store.environments(record.id))
        # The document is large and can be read again; what is needed of it is in ``loaded``.
        slim = replace(full, spec=None, epoch=session.epoch)
        return ActiveBatch(
            ref, slim, loaded, session, summary, final, environments, limited, deadline_told=deadline_told
        )


def _put(environments: list[EnvironmentRecord], changed: EnvironmentRecord) -> None:
    for index, known in enumerate(environments):
        if known.attempt == changed.attempt:
            environments[index] = changed
            return
    environments.append(changed)


def released(environment: EnvironmentRecord | None) -> bool:
    """Return whether nothing of the batch's newest place is left."""
    return environment is None or environment.state is EnvironmentState.RELEASED
