"""Where a batch's audit chain stands, read under the lock that whoever adds to it holds."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from batchyard.store.tables import batches


@dataclass(frozen=True, slots=True)
class Chain:
    """What a commit must know of its batch; read under the lock."""

    batch_id: str
    epoch: int
    head: str
    entries: int
    dropped: int
    pruned: bool


# FOR UPDATE is for PostgreSQL; SQLite's write lock was taken when the transaction began.
_CHAIN = (
    sa.select(
        batches.c.epoch,
        batches.c.audit_head,
        batches.c.audit_entries,
        batches.c.audit_dropped,
        batches.c.audit_pruned_at,
    )
    .where(batches.c.id == sa.bindparam("key"))
    .with_for_update()
)


def read_chain(connection: sa.Connection, batch_id: str) -> Chain | None:
    """Lock a batch's row for this transaction and return where its chain stands; None if there is no such batch."""
    row = connection.execute(_CHAIN, {"key": batch_id}).first()
    if row is None:
        return None
    return Chain(
        batch_id, row.epoch, row.audit_head, row.audit_entries, row.audit_dropped, row.audit_pruned_at is not None
    )
