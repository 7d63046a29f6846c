"""Results of one batch that are taken over by another, within the database; see ``engine.carrying.PastResults``.

What a row holds is copied by the database itself, so that outputs, however large, never pass through this process.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from batchyard.engine.sources import with_setting
from batchyard.model.errors import StoreError
from batchyard.model.outcome import FINAL_PHASES, Outcome
from batchyard.store import rows
from batchyard.store.connect import for_writing
from batchyard.store.faults import StoreBusy, place_of, reported
from batchyard.store.paging import paged
from batchyard.store.tables import IS_FINAL, attempts, batches, documents
from batchyard.store.writer import RETRY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchyard.engine.carrying import Pair
    from batchyard.engine.ports import BatchRecord, Session
    from batchyard.model.audit import AuditEntry
    from batchyard.model.setting import Setting
    from batchyard.model.trial import AttemptResult
    from batchyard.store.sql import SqlStore

_PAGE = 500
_CHANGED: dict[str, sa.ColumnElement[Any]] = {
    "batch_id": sa.bindparam("new_batch", type_=sa.Text),
    "ordinal": sa.bindparam("new_ordinal", type_=sa.Integer),
    "epoch": sa.bindparam("new_epoch", type_=sa.Integer),
    "weight": sa.bindparam("new_weight", type_=sa.Double),
}
_UNREAD: dict[str, sa.ColumnElement[Any]] = {"output": sa.null().label("output")}
# Of what did not pass they tell where it went wrong.
_NODES_UNREAD: dict[str, sa.ColumnElement[Any]] = {
    "boundaries": sa.case((attempts.c.outcome == Outcome.PASSED.value, "[]"), else_=attempts.c.boundaries).label(
        "boundaries"
    )
}


def _columns(instead: dict[str, sa.ColumnElement[Any]]) -> list[sa.ColumnElement[Any]]:
    return [instead.get(column.name, column) for column in attempts.c]


_COPY = attempts.insert().from_select(
    [column.name for column in attempts.c],
    sa.select(*_columns(_CHANGED)).where(
        attempts.c.batch_id == sa.bindparam("old_batch", type_=sa.Text),
        attempts.c.ordinal == sa.bindparam("old_ordinal", type_=sa.Integer),
        IS_FINAL,
    ),
)


_COUNT = (
    sa.select(sa.func.count())
    .select_from(attempts)
    .where(
        attempts.c.batch_id == sa.bindparam("batch"),
        attempts.c.ordinal.in_(sa.bindparam("ordinals", expanding=True)),
        IS_FINAL,
    )
)


def copy_rows(connection: sa.Connection, batch_id: str, source: str, pairs: Sequence[Pair], epoch: int) -> None:
    """Copy final results of ``source`` to trials of another batch. Raises ``StoreError`` if one is not there."""
    moved = [
        {
            "new_batch": batch_id,
            "new_ordinal": pair.new,
            "new_epoch": epoch,
            "new_weight": pair.weight,
            "old_batch": source,
            "old_ordinal": pair.old,
        }
        for pair in pairs
    ]
    connection.execute(_COPY, moved)
    # Asked, because not every driver counts what many statements did.
    copied = connection.scalars(_COUNT, {"batch": batch_id, "ordinals": [pair.new for pair in pairs]}).one()
    if copied != len(moved):
        raise StoreError(
            f"only {copied} of {len(moved)} results of batch {source} are still there; run all of it anew, "
            "without amending"
        )


class SqlPastResults:
    """Looks at and copies results between the batches of one store. Safe to call from any thread."""

    def __init__(self, store: SqlStore) -> None:
        """Work on this store; whoever opened it closes it."""
        self._store = store
        self._place = place_of(store.engine.url)

    def results(self, batch_id: str, *, with_nodes: bool) -> Iterator[AttemptResult]:
        """Yield a batch's final results by ordinal; see ``engine.carrying.PastResults``."""
        unread = _UNREAD if with_nodes else _UNREAD | _NODES_UNREAD
        query = sa.select(*_columns(unread)).where(attempts.c.batch_id == batch_id, IS_FINAL)
        key = (attempts.c.ordinal,)
        page = paged(self._store.engine, self._place, query, key=key, after=(-1,), size=_PAGE)
        return (rows.attempt_from(row) for row in page)

    def earlier(self, name: str, limit: int) -> Sequence[BatchRecord]:
        """Return the newest finished batches of a name, with their specs, newest first; but for any that is damaged."""
        final = batches.c.phase.in_(FINAL_PHASES)
        newest = (
            sa.select(batches, documents.c.spec)
            .join(documents)
            .where(batches.c.name == name, final)
            .order_by(batches.c.accepted_at.desc(), batches.c.id.desc())
            .limit(limit)
        )
        with reported(self._place, "read"), self._store.engine.connect() as connection:
            return rows.readable(rows.batch_from, connection.execute(newest).mappings(), damaged=[])

    def write_setting(self, batch_id: str, setting: Setting) -> None:
        """Write into a batch's document what it runs with from now on; all else stays as it was accepted."""
        document = with_setting(self._store.batch(batch_id).spec, setting)
        change = documents.update().where(documents.c.batch_id == batch_id)
        with (
            reported(self._place, "write what the batch runs with"),
            for_writing(self._store.engine).begin() as connection,
        ):
            connection.execute(change, {"spec": rows.to_json(document)})

    def carry_over(
        self, session: Session, source: str, pairs: Sequence[Pair], entries: Sequence[AuditEntry], dropped: int
    ) -> None:
        """Copy final results of ``source`` to trials of the session's batch, with what tells of it, all or nothing."""

        def copy(connection: sa.Connection, _newest: int) -> None:
            copy_rows(connection, session.batch_id, source, pairs, session.epoch)

        for pause in (*RETRY_SECONDS, None):
            try:
                self._store.write_also(session, entries, dropped, copy)
            except StoreBusy:
                if pause is None:
                    raise
                # Nobody sets it: a pause on this thread alone, which holds no lock.
                threading.Event().wait(pause)
            else:
                return
