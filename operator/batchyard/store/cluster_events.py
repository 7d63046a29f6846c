"""The outbox of our own Kubernetes events and the mirror of others', as a part of ``SqlClusterStore``."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from batchyard.engine.cluster_ports import ClusterRef, Mirrored, OutboxItem
from batchyard.model.errors import RecordDamaged
from batchyard.model.plain_json import plain_text
from batchyard.store import rows
from batchyard.store.as_written import UNREADABLE
from batchyard.store.chain import append, read_chain
from batchyard.store.sql import SqlStore
from batchyard.store.tables import audit_entries, cluster_batches, mirrored, outbox, watch_positions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from batchyard.store.as_written import Row

_LONGEST_ERROR = 500
_REMEMBERED_MICROS = 3 * 60 * 60 * 1_000_000
"""How long a mirrored event is known by its key: longer than the cluster itself keeps it."""


def add_to_outbox(connection: sa.Connection, batch_id: str, items: Sequence[tuple[int, datetime]]) -> None:
    """Have the events of these entries (``seq`` and time) posted."""
    made = [
        {
            "batch_id": batch_id,
            "seq": seq,
            "created_at": rows.to_micros(at),
            "tries": 0,
            "next_at": 0,
            "parked": False,
            "last_error": "",
        }
        for seq, at in items
    ]
    connection.execute(outbox.insert(), made)


def _due() -> sa.Select[Any]:
    """Return the query for what is to be posted ``now``, at most so many (``most``); of each batch its oldest first."""
    now, older = sa.bindparam("now", type_=sa.BigInteger), outbox.alias("older")
    blocked = sa.exists().where(
        older.c.batch_id == outbox.c.batch_id,
        older.c.seq < outbox.c.seq,
        older.c.parked.is_(False),
        older.c.next_at > now,
    )
    entry = sa.and_(audit_entries.c.batch_id == outbox.c.batch_id, audit_entries.c.seq == outbox.c.seq)
    ref = outbox.join(cluster_batches, cluster_batches.c.batch_id == outbox.c.batch_id)
    columns = (
        outbox.c.batch_id.label("of"), outbox.c.tries, outbox.c.created_at,
        cluster_batches.c.namespace, cluster_batches.c.name, cluster_batches.c.uid,
    )  # fmt: skip
    return (
        sa.select(*columns, audit_entries)
        .select_from(ref.join(audit_entries, entry))
        .where(outbox.c.parked.is_(False), outbox.c.next_at <= now, ~blocked)
        .order_by(outbox.c.created_at, outbox.c.batch_id, outbox.c.seq)
        .limit(sa.bindparam("most", type_=sa.Integer))
    )


_DUE = _due()


def _item(row: Row) -> OutboxItem:
    """Return what is to be posted. Raises ``RecordDamaged``."""
    try:
        return OutboxItem(
            batch_id=row["of"],
            seq=row["seq"],
            ref=ClusterRef(row["namespace"], row["name"], row["uid"]),
            entry=rows.entry_from(row),
            tries=row["tries"],
            created_at=rows.from_micros(row["created_at"]),
        )
    except UNREADABLE as err:
        raise RecordDamaged.of(f"event {row['seq']} of batch {row['of']}", err) from err


class ClusterEvents(SqlStore):
    """The methods of ``ClusterStore`` that are about Kubernetes events."""

    def outbox_due(self, now: datetime, limit: int, damaged: list[RecordDamaged] | None = None) -> Sequence[OutboxItem]:
        """Return what is to be posted now, oldest first; of a batch nothing overtakes what is older.

        What cannot be read is parked, since it would hold up all others for ever, and goes to ``damaged``.
        """
        given = {"now": rows.to_micros(now), "most": limit}
        with self._read() as connection:
            found = connection.execute(_DUE, given).mappings().all()
        items: list[OutboxItem] = []
        for row in found:
            try:
                items.append(_item(row))
            except RecordDamaged as err:
                self._note_failure(row["of"], row["seq"], str(err), parked=True)
                if damaged is not None:
                    damaged.append(err)
        return items

    def outbox_posted(self, items: Sequence[OutboxItem]) -> None:
        """Forget items that were posted."""
        if not items:
            return
        posted = outbox.delete().where(outbox.c.batch_id == sa.bindparam("of"), outbox.c.seq == sa.bindparam("number"))
        with self._write("note posted events") as connection:
            connection.execute(posted, [{"of": item.batch_id, "number": item.seq} for item in items])

    def outbox_failed(self, item: OutboxItem, error: str, next_at: datetime, *, parked: bool) -> None:
        """Note a failure and when to try again; a parked item is not tried again and holds nothing up."""
        change = {"tries": item.tries + 1, "next_at": rows.to_micros(next_at), "parked": parked}
        self._note_failure(item.batch_id, item.seq, error, **change)

    def _note_failure(self, batch_id: str, seq: int, error: str, **change: int) -> None:
        mine = outbox.update().where(outbox.c.batch_id == batch_id, outbox.c.seq == seq)
        with self._write("note an event that was not posted") as connection:
            connection.execute(mine, {**change, "last_error": plain_text(error)[:_LONGEST_ERROR]})

    def outbox_stats(self) -> tuple[int, datetime | None, int]:
        """Return how many wait, since when the oldest does, and how many are parked."""
        query = sa.select(
            outbox.c.parked, sa.func.count().label("many"), sa.func.min(outbox.c.created_at).label("oldest")
        ).group_by(outbox.c.parked)
        with self._read() as connection:
            found = {bool(row.parked): (row.many, row.oldest) for row in connection.execute(query)}
        waiting, oldest = found.get(False, (0, None))
        return waiting, None if oldest is None else rows.from_micros(oldest), found.get(True, (0, None))[0]

    def mirror(self, rows_: Sequence[Mirrored], kind: str, position: str) -> int:
        """Append entries not seen before to their batches' chains and keep the watch's position, all or nothing."""
        # One order for everybody who locks several batches.
        by_batch = sorted(rows_, key=lambda one: one.entry.batch_id)
        added = 0
        with self._write("mirror events") as connection:
            for batch_id, group in groupby(by_batch, key=lambda one: one.entry.batch_id):
                chain = read_chain(connection, batch_id)
                if chain is None or chain.pruned:
                    continue
                new = [one for one in group if self._is_new(connection, one)]
                append(connection, chain, [one.entry for one in new], 0, None)
                added += len(new)
            if added:
                self._forget_old(connection, max(one.entry.at for one in rows_))
            place = {"kind": kind, "position": position}
            keep = self._insert(watch_positions).values(place)
            connection.execute(
                keep.on_conflict_do_update(index_elements=[watch_positions.c.kind], set_={"position": position})
            )
        return added

    def watch_position(self, kind: str) -> str | None:
        """Return the resource version up to which this watch was mirrored."""
        query = sa.select(watch_positions.c.position).where(watch_positions.c.kind == kind)
        with self._read() as connection:
            found = connection.scalar(query)
        return None if found is None else str(found)

    def _is_new(self, connection: sa.Connection, one: Mirrored) -> bool:
        row = {"key": plain_text(one.key), "seen_at": rows.to_micros(one.entry.at)}
        return connection.execute(self._insert(mirrored).values(row).on_conflict_do_nothing()).rowcount == 1

    def _forget_old(self, connection: sa.Connection, now: datetime) -> None:
        connection.execute(mirrored.delete().where(mirrored.c.seen_at < rows.to_micros(now) - _REMEMBERED_MICROS))
