"""Looks for what should not be in a store: rows without their batch, broken trails, wrong counts, stuck events.

Only looks, and says what would mend it; ``repair`` mends. Works on databases whose constraints were off or whose file
was edited, so it takes none of the schema's promises for granted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from batchyard.model.errors import RecordDamaged
from batchyard.model.outcome import Phase
from batchyard.store import rows
from batchyard.store.as_written import Row, as_written
from batchyard.store.batch_integrity import UNTOLD, batch_findings
from batchyard.store.faults import place_of, reported
from batchyard.store.findings import Finding, FindingSeverity, Remedy
from batchyard.store.rows import to_micros
from batchyard.store.tables import (
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from batchyard.store.sql import SqlStore

OWNED = (documents, sessions, attempts, outbox, environments, cluster_batches)
"""The tables whose rows are nothing without their batch."""

_READERS: Mapping[sa.Table, Callable[[Row], object]] = {
    sessions: rows.open_session_from,
    environments: rows.environment_from,
    outbox: as_written(outbox, lambda row: f"event {row['seq']} of batch {row['batch_id']}")(lambda row: row),
    cluster_batches: as_written(cluster_batches, lambda row: f"BatchTest {row['name']} of batch {row['batch_id']}")(
        lambda row: row
    ),
}

_SHOWN = 20
_STUCK_MICROS = 60 * 60 * 1_000_000


def check_integrity(store: SqlStore, now: datetime) -> list[Finding]:
    """Return everything found, the whole database first, then batch by batch; nothing is changed.

    Takes time in proportion to the store's size: every audit entry's hash is computed again, every result read.
    """
    with reported(place_of(store.engine.url), "check the database"), store.engine.connect() as connection:
        findings = [*_damage(connection), *_dangling(connection), *_unreadable_rows(connection)]
        findings += [*_surplus_results(connection), *_unknown_epochs(connection), *_unfinished(connection)]
        findings += [*_orphaned_events(connection), *_waiting_events(connection, to_micros(now))]
        known = dict.fromkeys(connection.scalars(sa.select(batches.c.id)))
    for batch_id in known:
        if isinstance(batch_id, str):
            findings += batch_findings(store, batch_id)
        else:
            findings.append(
                Finding(FindingSeverity.CRITICAL, "unreadable_batch", _named(batch_id), "its id is no text")
            )
    # What is mended of a batch is told in its trail, and nothing is added to one that does not verify.
    untold = {finding.batch_id for finding in findings if finding.kind in UNTOLD}
    if any(one.severity is FindingSeverity.CRITICAL and one.batch_id in known for one in findings):
        # Rows that seem to be nobody's may be what a batch lacks.
        untold |= {one.batch_id for one in findings if one.kind == "dangling_rows"}
    # Of these only the batch's own row is missing, and the rest may show what it was.
    untold |= {one.batch_id for one in findings if one.kind == "dangling_rows" and one.remedy is Remedy.MANUAL}
    return [replace(one, remedy=Remedy.MANUAL) if one.batch_id in untold else one for one in findings]


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
            by_hand = table is audit_entries or not isinstance(row.batch_id, str)
            remedy = Remedy.MANUAL if by_hand else Remedy.DELETE_ORPHANS
            yield Finding(FindingSeverity.CRITICAL, "dangling_rows", _named(row.batch_id), message, remedy)


def _unreadable_rows(connection: sa.Connection) -> Iterator[Finding]:
    """Find what is not as it was written in the tables that are read as a whole nowhere else."""
    for table, read in _READERS.items():
        faults: dict[str, list[str]] = {}
        for row in connection.execute(table.select()).mappings():
            try:
                read(row)
            except RecordDamaged as err:
                faults.setdefault(_named(row["batch_id"]), []).append(str(err))
        for batch_id, found in faults.items():
            message = f'{len(found)} rows of "{table.name}" cannot be read; the first: {found[0]}'
            yield Finding(FindingSeverity.CRITICAL, "unreadable_rows", batch_id, message)


def _named(batch_id: object) -> str:
    """Return a batch's id as it is shown, also if it is none."""
    return batch_id if isinstance(batch_id, str) else repr(batch_id)


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
        message = f"{row.rows} Kubernetes events {what}" + (f"; the last time: {row.why}" if row.why else "")
        yield Finding(FindingSeverity.WARNING, kind, row.batch_id, message, Remedy.RETRY_EVENTS)
