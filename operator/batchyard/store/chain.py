"""Where a batch's audit chain stands, and how entries are added to it; both under the batch's lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from batchyard.model.audit import AuditEntry, seal
from batchyard.model.errors import StoreError
from batchyard.store import rows
from batchyard.store.tables import audit_entries, batches, documents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.engine.ports import BatchUpdate


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


def append(
    connection: sa.Connection, chain: Chain, entries: Sequence[AuditEntry], dropped: int, update: BatchUpdate | None
) -> str:
    """Seal entries into the chain and bring the batch up to date; return the chain's new head.

    Raises ``StoreError`` if the trail was deleted after its retention time.
    """
    head, seq, sealed = chain.head, chain.entries, []
    if entries and chain.pruned:
        raise StoreError(
            f"batch {chain.batch_id}: its audit trail was deleted after its retention time; run a new batch"
        )
    for entry in entries:
        seq += 1
        link = seal(entry, seq, head)
        sealed.append(rows.entry_row(link))
        head = link.hash
    if sealed:
        connection.execute(audit_entries.insert(), sealed)
    changes: rows.Values = {"audit_head": head, "audit_entries": seq, "audit_dropped": chain.dropped + dropped}
    if update is not None:
        changes |= rows.batch_changes(update)
        if update.status is not None:
            status = {"status": rows.to_json(update.status)}
            connection.execute(documents.update().where(documents.c.batch_id == chain.batch_id), status)
    if entries or dropped or update is not None:
        connection.execute(batches.update().where(batches.c.id == chain.batch_id), changes)
    return head
