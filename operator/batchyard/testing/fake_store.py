"""A store in a few dictionaries, held to the same conformance suite as the real one. A fake: nothing is durable.

``FakeWriter`` commits each submission at once, so that a test can look at the store after every step.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC
from itertools import islice
from typing import TYPE_CHECKING

from batchyard.engine.ports import BatchRecord, BatchUpdate, OpenSession, Owner, Session
from batchyard.model.audit import AuditEntry, SealedEntry, seal
from batchyard.model.errors import BatchAmbiguous, BatchNotFound, StaleSession, StoreError
from batchyard.model.plain_json import plain_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from batchyard.model.errors import RecordDamaged
    from batchyard.model.outcome import Outcome
    from batchyard.model.trial import AttemptResult


@dataclass
class _Kept:
    """One batch with all that belongs to it. ``final`` has the attempt that settled each trial."""

    record: BatchRecord
    attempts: dict[tuple[int, int], AttemptResult] = field(default_factory=dict)
    final: dict[int, int] = field(default_factory=dict)
    entries: list[SealedEntry] = field(default_factory=list)
    owner: tuple[Owner, datetime] | None = None


class FakeStore:
    """See ``BatchStore``. ``fail_next`` has the next commit raise; ``heartbeats`` counts them."""

    def __init__(self) -> None:
        """Begin empty."""
        self._kept: dict[str, _Kept] = {}
        self.fail_next: StoreError | None = None
        self.heartbeats = 0

    def create_batch(self, record: BatchRecord) -> None:
        """Add a batch."""
        if record.id in self._kept:
            raise StoreError(f"there is a batch {record.id} already")
        self._kept[record.id] = _Kept(_in_utc(record))

    def batch(self, reference: str) -> BatchRecord:
        """Return the batch of this id, name or unique id prefix."""
        if reference in self._kept:
            return self._kept[reference].record
        named = [batch for batch in self.batches(limit=len(self._kept)) if batch.name == reference]
        found = [named[0].id] if named else [id_ for id_ in self._kept if reference and id_.startswith(reference)]
        if not found:
            raise BatchNotFound(f'no batch "{reference}"')
        if len(found) > 1:
            raise BatchAmbiguous(f'"{reference}" could be {", ".join(found)}')
        return self._kept[found[0]].record

    def batches(self, *, limit: int = 50, damaged: list[RecordDamaged] | None = None) -> Sequence[BatchRecord]:
        """Return the newest batches first, without their specs; none is ever damaged."""
        del damaged
        records = [replace(kept.record, spec=None) for kept in self._kept.values()]
        return sorted(records, key=lambda record: (record.accepted_at, record.id), reverse=True)[:limit]

    def open_session(self, batch_id: str, owner: Owner, now: datetime, *, after: int | None = None) -> Session:
        """Take the batch over."""
        kept = self._of(batch_id)
        if after not in {None, kept.record.epoch}:
            raise StaleSession(f"batch {batch_id}: session {kept.record.epoch} took over from session {after}")
        kept.record = replace(kept.record, epoch=kept.record.epoch + 1)
        kept.owner = (owner, now)
        return Session(batch_id, kept.record.epoch, owner)

    def live_owner(self, batch_id: str) -> tuple[Owner, datetime] | None:
        """Return who has the batch and when that was last heard."""
        return self._of(batch_id).owner

    def open_sessions(self, damaged: list[RecordDamaged] | None = None) -> Sequence[OpenSession]:
        """Return the sessions that were never closed."""
        return [
            OpenSession(batch_id, kept.record.epoch, kept.owner[0], kept.owner[1], kept.owner[1])
            for batch_id, kept in self._kept.items()
            if kept.owner is not None
        ]

    def heartbeat(self, session: Session, now: datetime) -> None:
        """Say that the session lives."""
        self._held(session).owner = (session.owner, now)
        self.heartbeats += 1

    def close_session(self, session: Session, reason: str, now: datetime) -> None:
        """End the session, unless a newer one has the batch."""
        kept = self._of(session.batch_id)
        if kept.record.epoch == session.epoch:
            kept.owner = None

    def commit(
        self,
        session: Session,
        *,
        results: Sequence[tuple[AttemptResult, bool]] = (),
        entries: Sequence[AuditEntry] = (),
        dropped: int = 0,
        batch: BatchUpdate | None = None,
    ) -> None:
        """Write all or nothing."""
        kept = self._held(session)
        failure, self.fail_next = self.fail_next, None
        if failure is not None:
            raise failure
        for result, _ in results:
            _writable(result)
        if any(entry.batch_id != session.batch_id for entry in entries):
            raise StoreError("an entry of another batch")
        for result, final in results:
            _add(kept, result, final=final)
        for entry in entries:
            kept.entries.append(seal(entry, len(kept.entries) + 1, kept.record.audit_head))
            kept.record = replace(kept.record, audit_head=kept.entries[-1].hash, audit_entries=len(kept.entries))
        kept.record = replace(kept.record, audit_dropped=kept.record.audit_dropped + dropped)
        if batch is not None:
            kept.record = _updated(kept.record, batch)

    def finished_ordinals(self, batch_id: str) -> Iterator[int]:
        """Yield the ordinals of trials that are over."""
        yield from sorted(self._of(batch_id).final)

    def attempts_made(self, batch_id: str) -> Mapping[int, int]:
        """Return the newest attempt of each trial that is not over."""
        kept = self._of(batch_id)
        return {ordinal: attempt for ordinal, attempt in sorted(kept.attempts) if ordinal not in kept.final}

    def attempts_ended(self, batch_id: str) -> Iterator[tuple[str, int]]:
        """Yield the trial and the number of every attempt."""
        for _, result in sorted(self._of(batch_id).attempts.items()):
            yield result.trial_id, result.attempt

    def results(
        self,
        batch_id: str,
        *,
        final_only: bool = True,
        outcomes: Sequence[Outcome] | None = None,
        limit: int | None = None,
    ) -> Iterator[AttemptResult]:
        """Yield results by ordinal, then attempt."""
        kept = self._kept.get(batch_id)
        rows = sorted(kept.attempts.items()) if kept is not None else []
        wanted = (
            result
            for (ordinal, attempt), result in rows
            if (not final_only or (kept is not None and kept.final.get(ordinal) == attempt))
            and (outcomes is None or result.outcome in outcomes)
        )
        return islice(wanted, limit)

    def audit_entries(self, batch_id: str, *, after: int = 0, limit: int | None = None) -> Iterator[SealedEntry]:
        """Yield the entries after number ``after``."""
        kept = self._kept.get(batch_id)
        return islice(iter(kept.entries[after:] if kept is not None else []), limit)

    def close(self) -> None:
        """Keep everything: a test may want to look."""

    def _of(self, batch_id: str) -> _Kept:
        if batch_id not in self._kept:
            raise BatchNotFound(f'no batch "{batch_id}"')
        return self._kept[batch_id]

    def _held(self, session: Session) -> _Kept:
        kept = self._of(session.batch_id)
        if kept.record.epoch != session.epoch:
            raise StaleSession(f"session {kept.record.epoch} has batch {session.batch_id}")
        return kept


class FakeWriter:
    """See ``ResultWriter``; ``on_commit`` is called after each commit."""

    def __init__(self, store: FakeStore, session: Session, on_commit: Callable[[], None] = lambda: None) -> None:
        """Write for this session."""
        self._store = store
        self._session = session
        self._on_commit = on_commit

    def submit(
        self,
        *,
        results: Sequence[tuple[AttemptResult, bool]] = (),
        entries: Sequence[AuditEntry] = (),
        dropped: int = 0,
        batch: BatchUpdate | None = None,
    ) -> None:
        """Commit at once."""
        self._store.commit(self._session, results=results, entries=entries, dropped=dropped, batch=batch)
        self._on_commit()

    def flush(self) -> None:
        """Have nothing to wait for."""


def _add(kept: _Kept, result: AttemptResult, *, final: bool) -> None:
    key = (result.ordinal, result.attempt)
    if key in kept.attempts or (final and result.ordinal in kept.final):
        return
    kept.attempts[key] = replace(
        result, message=plain_text(result.message), output=json.loads(json.dumps(result.output))
    )
    if final:
        kept.final[result.ordinal] = result.attempt


def _writable(result: AttemptResult) -> None:
    try:
        json.dumps(result.output)
    except (TypeError, ValueError) as err:
        raise StoreError(f"{result.trial_id} cannot be written: {err}") from err


def _updated(record: BatchRecord, update: BatchUpdate) -> BatchRecord:
    return replace(
        record,
        phase=update.phase,
        reason=update.reason,
        message=update.message,
        status=record.status if update.status is None else update.status,
        started_at=update.started_at or record.started_at,
        completed_at=update.completed_at or record.completed_at,
    )


def _in_utc(record: BatchRecord) -> BatchRecord:
    return replace(
        record, accepted_at=record.accepted_at.astimezone(UTC), deadline_at=record.deadline_at.astimezone(UTC)
    )
