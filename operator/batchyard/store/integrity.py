"""Looks for what should not be in a store: rows without their batch, broken trails, counts that disagree.

Only looks; what it finds is for a person to judge. Works on databases whose constraints were off or whose file was
edited, so it takes none of the schema's promises for granted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from batchyard.model.audit import verify_chain
from batchyard.model.errors import StoreError
from batchyard.model.outcome import Outcome, Phase
from batchyard.store.faults import place_of, reported
from batchyard.store.tables import IS_FINAL, IS_OPEN, attempts, audit_entries, batches, documents, sessions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.store.sql import SqlStore

_SHOWN = 20


class FindingSeverity(StrEnum):
    """How bad a finding is: data lost or forged, data that disagrees, or only worth knowing."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. ``batch_id`` is empty for the database as a whole."""

    severity: FindingSeverity
    kind: str
    batch_id: str
    message: str


def check_integrity(store: SqlStore) -> list[Finding]:
    """Return everything found, the whole database first, then batch by batch; nothing is changed.

    Takes time in proportion to the store's size: every audit entry's hash is computed again.
    """
    with reported(place_of(store.engine.url), "check the database"), store.engine.connect() as connection:
        findings = [*_damage(connection), *_dangling(connection)]
        findings += [*_surplus_results(connection), *_unknown_epochs(connection), *_unfinished(connection)]
        known = connection.execute(
            sa.select(batches, documents.c.batch_id.label("document")).outerjoin(documents)
        ).all()
    for batch in known:
        findings += [*_trail(store, batch), *_counters(store, batch)]
    return findings


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
    for table in (documents, sessions, attempts, audit_entries):
        owned = sa.exists().where(batches.c.id == table.c.batch_id)
        lost = sa.select(table.c.batch_id, sa.func.count().label("rows")).where(~owned).group_by(table.c.batch_id)
        for row in connection.execute(lost.limit(_SHOWN)):
            message = f'{row.rows} rows of "{table.name}" belong to a batch that does not exist'
            yield Finding(FindingSeverity.CRITICAL, "dangling_rows", row.batch_id, message)


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
        yield Finding(FindingSeverity.INFO, "no_live_session", row.id, message)


def _trail(store: SqlStore, batch: sa.Row[Any]) -> Iterator[Finding]:
    if batch.audit_pruned_at is not None:
        if next(iter(store.audit_entries(batch.id, limit=1)), None) is not None:
            message = "its audit trail counts as deleted, but there are entries"
            yield Finding(FindingSeverity.WARNING, "audit_pruned", batch.id, message)
        return
    try:
        fault = verify_chain(store.audit_entries(batch.id), batch.audit_head)
    except StoreError as err:
        fault = str(err)
    if fault:
        yield Finding(FindingSeverity.CRITICAL, "audit_chain", batch.id, f"its audit trail does not verify: {fault}")


def _counters(store: SqlStore, batch: sa.Row[Any]) -> Iterator[Finding]:
    if batch.document is None:
        yield Finding(FindingSeverity.CRITICAL, "no_document", batch.id, "its specification is missing")
        return
    with store.engine.connect() as connection:
        stored = connection.scalars(
            sa.select(sa.func.count()).select_from(audit_entries).where(audit_entries.c.batch_id == batch.id)
        ).one()
        final = connection.scalars(
            sa.select(sa.func.count()).select_from(attempts).where(attempts.c.batch_id == batch.id, IS_FINAL)
        ).one()
    if batch.audit_pruned_at is None and stored != batch.audit_entries:
        message = f"it counts {batch.audit_entries} audit entries, but {stored} are stored"
        yield Finding(FindingSeverity.CRITICAL, "audit_count", batch.id, message)
    if Phase(batch.phase).final and final < batch.total:
        message = f"it is {batch.phase}, but only {final} of {batch.total} trials have a final result"
        yield Finding(FindingSeverity.WARNING, "missing_results", batch.id, message)
    yield from _status(store, batch)


def _status(store: SqlStore, batch: sa.Row[Any]) -> Iterator[Finding]:
    status = store.batch(batch.id).status
    told = status.get("trials") if isinstance(status, dict) else None
    if not isinstance(told, dict) or not Phase(batch.phase).final:
        # While a batch runs, its status may lag behind its results.
        return
    counted = store.counts(batch.id)
    for outcome in Outcome:
        name = outcome[0].lower() + outcome[1:]
        if name in told and told[name] != counted.get(outcome, 0):
            message = f"its status tells of {told[name]} {outcome} trials, but {counted.get(outcome, 0)} are stored"
            yield Finding(FindingSeverity.WARNING, "status_count", batch.id, message)
