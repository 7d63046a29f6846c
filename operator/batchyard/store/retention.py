"""Deletes audit trails whose retention time is over.

Whole trails only: a chain without its beginning could not be verified. Not for results, which stay with their batch.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sa

from batchyard.engine.sources import sources_in
from batchyard.model.outcome import FINAL_PHASES
from batchyard.store.as_written import UNREADABLE
from batchyard.store.connect import for_writing
from batchyard.store.faults import place_of, reported
from batchyard.store.rows import to_micros
from batchyard.store.tables import audit_entries, batches, documents

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from batchyard.store.sql import SqlStore

MICROS_A_DAY = 24 * 60 * 60 * 1_000_000

# Days in microseconds do not fit the integer that the days are.
_RETENTION = sa.cast(batches.c.audit_retention_days, sa.BigInteger) * sa.literal(MICROS_A_DAY, sa.BigInteger)

_OVER = (
    batches.c.phase.in_(FINAL_PHASES),
    batches.c.audit_pruned_at.is_(None),
    batches.c.completed_at < sa.bindparam("now", type_=sa.BigInteger) - _RETENTION,
)


def prune(store: SqlStore, now: datetime) -> Sequence[str]:
    """Delete the trails of batches that finished more than their ``audit.retentionDays`` ago; return the batches' ids.

    The batch keeps the number of its entries and the head, and says when they went (``audit_pruned_at``). One that an
    unfinished batch begins from or carries results over from stays as it is until that has ended.
    """
    instant = to_micros(now)
    place = place_of(store.engine.url)
    with reported(place, "look for old audit trails"), store.engine.connect() as connection:
        found = connection.scalars(sa.select(batches.c.id).where(*_OVER).order_by(batches.c.id), {"now": instant}).all()
        needed = _needed(connection) if found else set()
    pruned = []
    for batch_id in found:
        if batch_id in needed:
            continue
        # One transaction a batch, so that writers need not wait for all of them.
        with reported(place, "delete an old audit trail"), for_writing(store.engine).begin() as connection:
            # The triggers let entries go only once their batch says so.
            mark = batches.update().where(batches.c.id == batch_id, *_OVER).values(audit_pruned_at=instant)
            if connection.execute(mark, {"now": instant}).rowcount:
                connection.execute(audit_entries.delete().where(audit_entries.c.batch_id == batch_id))
                pruned.append(str(batch_id))
    return pruned


def _needed(connection: sa.Connection) -> set[str]:
    """Return what unfinished batches take from, and what that was taken from: there the states are."""
    looked_at = sa.select(documents.c.spec).join(batches).where(batches.c.phase.not_in(FINAL_PHASES))
    needed: set[str] = set()
    while found := {source for text in connection.scalars(looked_at) for source in _sources_in(text)} - needed:
        needed |= found
        looked_at = sa.select(documents.c.spec).where(documents.c.batch_id.in_(found))
    return needed


def _sources_in(text: str) -> Collection[str]:
    try:
        return sources_in(json.loads(text))
    except UNREADABLE:
        return ()  # damaged: `db check` says so, and no trial of it can run
