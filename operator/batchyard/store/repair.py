"""Mends what ``integrity`` found, as far as that needs nobody's judgement.

It never invents or rewrites a result or an entry. What was mended of a batch is told in its audit trail, in the same
transaction.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from batchyard.model.audit import AuditEntry
from batchyard.model.errors import RecordDamaged, StoreError
from batchyard.model.events import EventType, severity_of
from batchyard.model.outcome import Outcome
from batchyard.store import rows
from batchyard.store.as_written import UNREADABLE, parsed
from batchyard.store.batch_integrity import status_key
from batchyard.store.chain import append, read_chain
from batchyard.store.connect import for_writing
from batchyard.store.faults import place_of, reported
from batchyard.store.findings import Remedy
from batchyard.store.integrity import OWNED
from batchyard.store.tables import IS_FINAL, attempts, audit_entries, batches, cluster_batches, documents, outbox

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from batchyard.store.findings import Finding
    from batchyard.store.sql import SqlStore

_DONE = {
    Remedy.DELETE_ORPHANS: "rows that belonged to nothing were deleted",
    Remedy.UPDATE_STATUS: "the counts of the status were made those of the stored results",
    Remedy.RETRY_EVENTS: "Kubernetes events that were given up or stuck are to be posted again",
}


def back_up(store: SqlStore, now: datetime) -> Path | None:
    """Copy a store's SQLite file beside it, safe while others write; None for PostgreSQL, which has its own ways.

    Raises ``StoreError`` if there is no room for it.
    """
    database = store.engine.url.database
    if store.engine.dialect.name != "sqlite" or database is None:
        return None
    copy = Path(f"{database}.{now:%Y%m%dT%H%M%SZ}.bak")
    try:
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    except (sqlite3.Error, OSError) as error:
        copy.unlink(missing_ok=True)
        raise StoreError(
            f"store {database}: it could not be copied to {copy}, so nothing was mended: {error}"
        ) from error
    return copy


class Repair(NamedTuple):
    """What was done and what could not be, each as (batch id, what or why not), batch by batch."""

    done: list[tuple[str, str]]
    failed: list[tuple[str, str]]


def repair(store: SqlStore, findings: Iterable[Finding], now: datetime) -> Repair:
    """Mend what can be mended, each batch in a transaction of its own: one that cannot be written stops no other."""
    wanted: dict[str, set[Remedy]] = defaultdict(set)
    for finding in findings:
        if finding.can_be_mended:
            wanted[finding.batch_id].add(finding.remedy)
    result = Repair([], [])
    for batch_id, remedies in sorted(wanted.items()):
        try:
            mended = _mend_batch(store, batch_id, remedies, now)
        except StoreError as err:
            result.failed.append((batch_id, str(err)))
        else:
            result.done.extend((batch_id, _DONE[remedy]) for remedy in mended)
    return result


def _mend_batch(store: SqlStore, batch_id: str, remedies: set[Remedy], now: datetime) -> list[Remedy]:
    with reported(place_of(store.engine.url), "mend a batch"), for_writing(store.engine).begin() as connection:
        mended = [remedy for remedy in Remedy if remedy in remedies and _mend(connection, batch_id, remedy)]
        _tell(connection, batch_id, mended, now)
    return mended


def _mend(connection: sa.Connection, batch_id: str, remedy: Remedy) -> bool:
    """Apply one remedy to one batch; return whether there was anything left to mend."""
    match remedy:
        case Remedy.DELETE_ORPHANS:
            return _delete_orphans(connection, batch_id)
        case Remedy.UPDATE_STATUS:
            return _update_status(connection, batch_id)
        case _:
            again = {"parked": False, "tries": 0, "next_at": 0}
            waiting = outbox.update().where(outbox.c.batch_id == batch_id, outbox.c.parked | (outbox.c.tries > 0))
            return connection.execute(waiting.values(again)).rowcount > 0


def _delete_orphans(connection: sa.Connection, batch_id: str) -> bool:
    if _exists(connection, batch_id):
        entry = sa.exists().where(audit_entries.c.batch_id == outbox.c.batch_id, audit_entries.c.seq == outbox.c.seq)
        known = sa.exists().where(cluster_batches.c.batch_id == outbox.c.batch_id)
        lost = outbox.delete().where(outbox.c.batch_id == batch_id, ~entry | ~known)
        return connection.execute(lost).rowcount > 0
    deleted = [connection.execute(table.delete().where(table.c.batch_id == batch_id)).rowcount for table in OWNED]
    return any(deleted)


def _update_status(connection: sa.Connection, batch_id: str) -> bool:
    text = connection.scalar(sa.select(documents.c.status).where(documents.c.batch_id == batch_id))
    try:
        status = parsed("status", text, dict) if text else None
    except UNREADABLE as err:
        raise RecordDamaged.of(f"the status of batch {batch_id}", err) from err
    told = status.get("trials") if isinstance(status, dict) else None
    if not isinstance(status, dict) or not isinstance(told, dict):
        return False
    final = sa.select(attempts.c.outcome, sa.func.count()).where(attempts.c.batch_id == batch_id, IS_FINAL)
    counted = {str(outcome): many for outcome, many in connection.execute(final.group_by(attempts.c.outcome))}
    right = {key: counted.get(outcome, 0) for outcome in Outcome if (key := status_key(outcome)) in told}
    if told.items() >= right.items():
        return False
    mended = {**status, "trials": {**told, **right}}
    connection.execute(documents.update().where(documents.c.batch_id == batch_id), {"status": rows.to_json(mended)})
    return True


def _tell(connection: sa.Connection, batch_id: str, mended: list[Remedy], now: datetime) -> None:
    """Add an entry to the trail of a batch that has one."""
    chain = read_chain(connection, batch_id) if mended else None
    if chain is None or chain.pruned:
        return
    kind = EventType.STORE_REPAIRED
    message = "; ".join(_DONE[remedy] for remedy in mended)
    details = {"remedies": [remedy.value for remedy in mended]}
    entry = AuditEntry(now, kind, severity_of(kind), message, batch_id, chain.epoch, details=details)
    append(connection, chain, [entry], 0, None)


def _exists(connection: sa.Connection, batch_id: str) -> bool:
    return connection.scalar(sa.select(batches.c.id).where(batches.c.id == batch_id)) is not None
