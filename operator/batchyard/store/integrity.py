"""Looks for what should not be in a store: rows without their batch, broken trails, wrong counts, stuck events.

Only looks, and says what would mend it; ``repair`` mends. Works on databases whose constraints were off or whose file
was edited, so it takes none of the schema's promises for granted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from batchyard.model.audit import verify_chain
from batchyard.model.errors import StoreError
from batchyard.model.outcome import Outcome, Phase, Reason
from batchyard.store.faults import place_of, reported
from batchyard.store.rows import to_micros
from batchyard.store.tables import (
    IS_FINAL,
    IS_OPEN,
    attempts,
    audit_entries,
    batches,
    cluster_batches,
    documents,
    environments,
    outbox,
    sessions,
)
from batchyard.store.told_results import ToldResults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from batchyard.store.sql import SqlStore

OWNED = (documents, sessions, attempts, outbox, environments, cluster_batches)
"""The tables whose rows are nothing without their batch."""

_SHOWN = 20
_RESTORE = "restore a back-up, see docs/database.md"
_STUCK_MICROS = 60 * 60 * 1_000_000


class FindingSeverity(StrEnum):
    """How bad a finding is: data lost or forged, data that disagrees, or only worth knowing."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Remedy(StrEnum):
    """What mends a finding: one of the things that ``repair`` does, a person, or nothing because nothing is broken."""

    DELETE_ORPHANS = "deleteOrphans"
    DELETE_TRAIL = "deleteTrail"
    UPDATE_STATUS = "updateStatus"
    RETRY_EVENTS = "retryEvents"
    COLLECT_FILES = "collectFiles"
    MANUAL = "manual"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. ``batch_id`` is empty for the database as a whole."""

    severity: FindingSeverity
    kind: str
    batch_id: str
    message: str
    remedy: Remedy = Remedy.MANUAL

    @property
    def can_be_mended(self) -> bool:
        """Return whether a repair mends it, without anybody judging."""
        return self.remedy not in {Remedy.MANUAL, Remedy.NONE}


def check_integrity(store: SqlStore, now: datetime) -> list[Finding]:
    """Return everything found, the whole database first, then batch by batch; nothing is changed.

    Takes time in proportion to the store's size: every audit entry's hash is computed again.
    """
    with reported(place_of(store.engine.url), "check the database"), store.engine.connect() as connection:
        findings = [*_damage(connection), *_dangling(connection)]
        findings += [*_surplus_results(connection), *_unknown_epochs(connection), *_unfinished(connection)]
        findings += [*_orphaned_events(connection), *_waiting_events(connection, to_micros(now))]
        known = connection.scalars(sa.select(batches.c.id)).all()
    for batch_id in known:
        findings += _of_batch(store, batch_id)
    return findings


def _of_batch(store: SqlStore, batch_id: str) -> list[Finding]:
    """Return what is wrong with one batch, with what it is after the look if its trail was deleted meanwhile."""
    batch = _row(store, batch_id)
    if batch is None:
        return []
    against = [*_trail(store, batch)]
    found = [*against, *_counters(store, batch, sound=not against)]
    newer = _row(store, batch_id) if found else None
    if newer is not None and newer.audit_pruned_at != batch.audit_pruned_at:
        return _of_batch(store, batch_id)
    return found


def _row(store: SqlStore, batch_id: str) -> sa.Row[Any] | None:
    """Return all that a batch is judged by, as one statement shows it; ``spec`` is None if it has no document."""
    # Nobody ran such a batch: it was written down for an execution to belong to.
    for_execution = sa.exists().where(
        sessions.c.batch_id == batches.c.id, sessions.c.epoch == 1, sessions.c.close_reason == Reason.EXECUTION
    )
    entries = sa.select(sa.func.count()).where(audit_entries.c.batch_id == batches.c.id)
    final = sa.select(sa.func.count()).where(attempts.c.batch_id == batches.c.id, IS_FINAL)
    query = sa.select(
        batches,
        documents.c.spec,
        documents.c.status,
        for_execution.label("for_execution"),
        entries.scalar_subquery().label("stored_entries"),
        final.scalar_subquery().label("final_results"),
    ).outerjoin(documents)
    with reported(place_of(store.engine.url), "check the database"), store.engine.connect() as connection:
        return connection.execute(query.where(batches.c.id == batch_id)).first()


def _damage(connection: sa.Connection) -> Iterator[Finding]:
    if connection.dialect.name != "sqlite":
        return
    for (text,) in connection.exec_driver_sql(f"PRAGMA integrity_check({_SHOWN})"):
        if text != "ok":
            yield Finding(FindingSeverity.CRITICAL, "damaged_file", "", f"SQLite reports: {text}")
    broken: dict[tuple[str, str], int] = {}
    for table, _rowid, parent, _key in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        broken[table, parent] = broken.get((table, parent), 0) + 1
    for (table, parent), count in broken.items():
        message = f'{count} rows of "{table}" refer to rows of "{parent}" that do not exist'
        yield Finding(FindingSeverity.CRITICAL, "foreign_key", "", message)


def _dangling(connection: sa.Connection) -> Iterator[Finding]:
    for table in (*OWNED, audit_entries):
        owned = sa.exists().where(batches.c.id == table.c.batch_id)
        lost = sa.select(table.c.batch_id, sa.func.count().label("rows")).where(~owned).group_by(table.c.batch_id)
        for row in connection.execute(lost.limit(_SHOWN)):
            message = f'{row.rows} rows of "{table.name}" belong to a batch that does not exist'
            # Entries may be all that tells of it.
            remedy = Remedy.MANUAL if table is audit_entries else Remedy.DELETE_ORPHANS
            yield Finding(FindingSeverity.CRITICAL, "dangling_rows", row.batch_id, message, remedy)


def _surplus_results(connection: sa.Connection) -> Iterator[Finding]:
    beyond = (
        sa.select(attempts.c.batch_id, sa.func.count().label("rows"))
        .join(batches)
        .where((attempts.c.ordinal >= batches.c.total) | (attempts.c.ordinal < 0))
        .group_by(attempts.c.batch_id)
    )
    for row in connection.execute(beyond):
        message = f"{row.rows} attempts are of trials that the batch does not have"
        yield Finding(FindingSeverity.CRITICAL, "surplus_results", row.batch_id, message)


def _unknown_epochs(connection: sa.Connection) -> Iterator[Finding]:
    session = sa.exists().where(sessions.c.batch_id == attempts.c.batch_id, sessions.c.epoch == attempts.c.epoch)
    orphans = sa.select(attempts.c.batch_id, sa.func.count().label("rows")).join(batches).where(~session)
    for row in connection.execute(orphans.group_by(attempts.c.batch_id)):
        message = f"{row.rows} attempts were run by a session that does not exist"
        yield Finding(FindingSeverity.WARNING, "unknown_session", row.batch_id, message)


def _unfinished(connection: sa.Connection) -> Iterator[Finding]:
    live = sa.exists().where(sessions.c.batch_id == batches.c.id, IS_OPEN)
    left = sa.select(batches.c.id, batches.c.phase).where(
        batches.c.phase.in_([Phase.PROVISIONING, Phase.RUNNING, Phase.EVALUATING]), ~live
    )
    for row in connection.execute(left):
        message = f"it is {row.phase}, but no session has it: continue it with `batchyard resume {row.id}`"
        yield Finding(FindingSeverity.INFO, "no_live_session", row.id, message, Remedy.NONE)


def _orphaned_events(connection: sa.Connection) -> Iterator[Finding]:
    """Find events to be posted whose audit entry, or whose BatchTest, is not there: they never will be."""
    entry = sa.exists().where(audit_entries.c.batch_id == outbox.c.batch_id, audit_entries.c.seq == outbox.c.seq)
    known = sa.exists().where(cluster_batches.c.batch_id == outbox.c.batch_id)
    lost = sa.select(outbox.c.batch_id, sa.func.count().label("rows")).join(batches).where(~entry | ~known)
    for row in connection.execute(lost.group_by(outbox.c.batch_id)):
        message = f"{row.rows} Kubernetes events are to be posted that no audit entry or BatchTest tells of"
        yield Finding(FindingSeverity.WARNING, "orphaned_events", row.batch_id, message, Remedy.DELETE_ORPHANS)


def _waiting_events(connection: sa.Connection, now: int) -> Iterator[Finding]:
    """Find events that were given up, and those that wait for more than an hour."""
    old = outbox.c.parked | (outbox.c.created_at < now - _STUCK_MICROS)
    found = (
        sa.select(
            outbox.c.batch_id,
            outbox.c.parked,
            sa.func.count().label("rows"),
            sa.func.max(outbox.c.last_error).label("why"),
        )
        .where(old)
        .group_by(outbox.c.batch_id, outbox.c.parked)
        .order_by(outbox.c.batch_id, outbox.c.parked)
    )
    for row in connection.execute(found):
        kind, what = (
            ("parked_events", "were given up") if row.parked else ("stuck_events", "wait for more than an hour")
        )
        message = f"{row.rows} Kubernetes events {what}" + (f"; the API server said: {row.why}" if row.why else "")
        yield Finding(FindingSeverity.WARNING, kind, row.batch_id, message, Remedy.RETRY_EVENTS)


def _trail(store: SqlStore, batch: sa.Row[Any]) -> Iterator[Finding]:
    """Find what is wrong with a batch's trail, and results that are not as a sound trail tells."""
    if batch.audit_pruned_at is not None:
        if next(iter(store.audit_entries(batch.id, limit=1)), None) is not None:
            message = "its audit trail counts as deleted, but there are entries"
            yield Finding(FindingSeverity.WARNING, "audit_pruned", batch.id, message, Remedy.DELETE_TRAIL)
        return
    if batch.stored_entries != batch.audit_entries:
        message = f"it counts {batch.audit_entries} audit entries, but {batch.stored_entries} are stored"
        yield Finding(FindingSeverity.CRITICAL, "audit_count", batch.id, message)
    told = ToldResults()
    # Up to what the head was read for: a batch that runs goes on adding entries.
    entries = store.audit_entries(batch.id, limit=batch.audit_entries)
    try:
        fault = verify_chain(told.heard(entries), batch.audit_head)
    except StoreError as err:
        fault = str(err)
    if fault:
        yield Finding(FindingSeverity.CRITICAL, "audit_chain", batch.id, f"its audit trail does not verify: {fault}")
    elif Phase(batch.phase).final:
        found = [*told.contradictions(store, batch.id, all_told=not batch.audit_dropped)]
        if found:
            more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            message = f"its results contradict its audit trail: {'; '.join(found[:_SHOWN])}{more}; {_RESTORE}"
            yield Finding(FindingSeverity.CRITICAL, "contradicted_results", batch.id, message)


def _counters(store: SqlStore, batch: sa.Row[Any], *, sound: bool) -> Iterator[Finding]:
    """Find numbers that disagree; ``sound``: nothing speaks against the results, so that a status may follow them."""
    if batch.spec is None:
        yield Finding(FindingSeverity.CRITICAL, "no_document", batch.id, "its specification is missing")
        return
    final = batch.final_results
    never_run = batch.for_execution and batch.phase == Phase.CANCELLED and batch.started_at is None
    if Phase(batch.phase).final and final < batch.total and not never_run:
        message = f"it is {batch.phase}, but only {final} of {batch.total} trials have a final result; {_RESTORE}"
        yield Finding(FindingSeverity.CRITICAL, "missing_results", batch.id, message)
    yield from _status(store, batch, sound=sound)


def _status(store: SqlStore, batch: sa.Row[Any], *, sound: bool) -> Iterator[Finding]:
    try:
        _, status = json.loads(batch.spec), json.loads(batch.status or "null")
    except ValueError as err:
        message = f"its specification or status is no JSON: {err}; {_RESTORE}"
        yield Finding(FindingSeverity.CRITICAL, "unreadable_document", batch.id, message)
        return
    told = status.get("trials") if isinstance(status, dict) else None
    if not isinstance(told, dict) or not Phase(batch.phase).final:
        # While a batch runs, its status may lag behind its results.
        return
    counted = store.counts(batch.id)
    # Where results are missing or were changed, the status may be all that tells of them.
    remedy = Remedy.UPDATE_STATUS if sound and sum(counted.values()) == batch.total else Remedy.MANUAL
    for outcome in Outcome:
        name = status_key(outcome)
        if name in told and told[name] != counted.get(outcome, 0):
            message = f"its status tells of {told[name]} {outcome} trials, but {counted.get(outcome, 0)} are stored"
            yield Finding(FindingSeverity.WARNING, "status_count", batch.id, message, remedy)


def status_key(outcome: Outcome) -> str:
    """Return how a status names the count of an outcome."""
    return outcome[0].lower() + outcome[1:]
