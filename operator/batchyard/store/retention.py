"""Deletes audit trails whose retention time is over.

Whole trails only: a chain without its beginning could not be verified. Not for results, which stay with their batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from batchyard.model.outcome import Phase
from batchyard.store.connect import for_writing
from batchyard.store.faults import place_of, reported
from batchyard.store.rows import to_micros
from batchyard.store.tables import audit_entries, batches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from batchyard.store.sql import SqlStore

MICROS_A_DAY = 24 * 60 * 60 * 1_000_000

# Days in microseconds do not fit the integer that the days are.
_RETENTION = sa.cast(batches.c.audit_retention_days, sa.BigInteger) * sa.literal(MICROS_A_DAY, sa.BigInteger)

_OVER = (
    batches.c.phase.in_([phase for phase in Phase if phase.final]),
    batches.c.audit_pruned_at.is_(None),
    batches.c.completed_at < sa.bindparam("now", type_=sa.BigInteger) - _RETENTION,
)


def prune(store: SqlStore, now: datetime) -> Sequence[str]:
    """Delete the trails of batches that finished more than their ``audit.retentionDays`` ago; return the batches' ids.

    The batch keeps the number of its entries and the head, and says when they went (``audit_pruned_at``).
    """
    instant = to_micros(now)
    place = place_of(store.engine.url)
    with reported(place, "look for old audit trails"), store.engine.connect() as connection:
        found = connection.scalars(sa.select(batches.c.id).where(*_OVER).order_by(batches.c.id), {"now": instant}).all()
    pruned = []
    for batch_id in found:
        # One transaction a batch, so that writers need not wait for all of them.
        with reported(place, "delete an old audit trail"), for_writing(store.engine).begin() as connection:
            # The triggers let entries go only once their batch says so.
            mark = batches.update().where(batches.c.id == batch_id, *_OVER).values(audit_pruned_at=instant)
            if connection.execute(mark, {"now": instant}).rowcount:
                connection.execute(audit_entries.delete().where(audit_entries.c.batch_id == batch_id))
                pruned.append(str(batch_id))
    return pruned
