"""The store of an operator: ``SqlStore`` and all that ``ClusterStore`` adds, fenced by leadership.

Not for the outbox and the mirror (``cluster_events``).
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from batchyard.engine.cluster_ports import ClusterRef, EnvironmentRecord, Trail
from batchyard.model.errors import BatchNotFound, SegmentOutOfOrder, StaleLeader, StoreError
from batchyard.model.outcome import FINAL_PHASES
from batchyard.model.plain_json import plain_text
from batchyard.store import rows
from batchyard.store.carrying import SqlPastResults, copy_rows
from batchyard.store.cluster_events import ClusterEvents, add_to_outbox
from batchyard.store.lookup import finals_of
from batchyard.store.retention import prune
from batchyard.store.sql import NEWEST_FIRST, SqlStore
from batchyard.store.tables import (
    IS_NOT_RELEASED,
    IS_OPEN,
    attempts,
    batches,
    cluster_batches,
    documents,
    environments,
    leadership,
    sessions,
    settings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy.engine import RowMapping

    from batchyard.engine.carrying import PastResults, Step
    from batchyard.engine.ports import BatchRecord, BatchUpdate, Session
    from batchyard.model.audit import AuditEntry
    from batchyard.model.errors import RecordDamaged
    from batchyard.model.trial import AttemptResult

_TOKEN_KEY = "token-key"  # noqa: S105 - the name of a setting
_ONLY = 1


# Made once: every transaction of an operator asks.
_LEADER = sa.select(leadership.c.epoch, leadership.c.holder).where(leadership.c.id == _ONLY)
# FOR SHARE is for PostgreSQL: a new leader waits for this transaction, and the next one sees it.
_LEADER_HELD = _LEADER.with_for_update(read=True)


class SqlClusterStore(ClusterEvents, SqlStore):
    """Implements ``ClusterStore``. With an ``epoch`` every writing transaction first checks that it still leads."""

    def __init__(self, engine: sa.Engine, epoch: int | None = None) -> None:
        """Take over ``engine``, whose schema must be the newest."""
        super().__init__(engine)
        self._epoch = epoch
        put, keys = self._insert(environments), environments.primary_key.columns
        changed = {name: column for name, column in put.excluded.items() if name not in keys}
        self._put = put.on_conflict_do_update(index_elements=list(keys), set_=changed)

    def fenced(self, epoch: int) -> SqlClusterStore:
        """Return a view on the same connections that writes only while leadership has this epoch."""
        return SqlClusterStore(self._engine, epoch)

    @contextmanager
    def _write(self, action: str) -> Iterator[sa.Connection]:
        with super()._write(action) as connection:
            if self._epoch is not None:
                self._check_leadership(connection, self._epoch)
            yield connection

    def _check_leadership(self, connection: sa.Connection, epoch: int, *, lock: bool = True) -> None:
        row = connection.execute(_LEADER_HELD if lock else _LEADER).first()
        if row is None or row.epoch != epoch:
            newer = f"{row.holder} (epoch {row.epoch})" if row is not None else "nobody"
            raise StaleLeader(f"this operator led with epoch {epoch}, but now {newer} leads; nothing was written")

    # -- leadership and settings ---------------------------------------------------------------------------------

    def take_leadership(self, holder: str, now: datetime) -> int:
        """Raise the leadership epoch by 1 in favour of ``holder`` and return it."""
        row = {"holder": plain_text(holder), "taken_at": rows.to_micros(now)}
        mine = leadership.update().where(leadership.c.id == _ONLY)
        with self._write("take leadership") as connection:
            query = sa.select(leadership.c.epoch).where(leadership.c.id == _ONLY).with_for_update()
            previous = connection.scalar(query)
            if previous is None:
                try:
                    with connection.begin_nested():
                        connection.execute(leadership.insert(), {"id": _ONLY, "epoch": 1, **row})
                except IntegrityError:  # another made the row in between; now it can be waited for
                    previous = connection.scalar(query)
            epoch = (previous or 0) + 1
            if previous is not None:
                connection.execute(mine, {"epoch": epoch, **row})
        return epoch

    def leadership(self) -> tuple[int, str] | None:
        """Return the epoch and the holder; None before the first."""
        with self._read() as connection:
            row = connection.execute(_LEADER).first()
        return None if row is None else (row.epoch, row.holder)

    def check_leading(self) -> None:
        """Raise ``StaleLeader`` if another operator leads; without an epoch do nothing."""
        if self._epoch is not None:
            with self._read() as connection:
                self._check_leadership(connection, self._epoch, lock=False)

    def token_key(self) -> bytes:
        """Return the store's own 32 secret bytes, made at the first call."""
        query = sa.select(settings.c.value).where(settings.c.name == _TOKEN_KEY)
        with self._read() as connection:
            found = connection.scalar(query)
        if found is None:
            made = {"name": _TOKEN_KEY, "value": secrets.token_hex(32)}
            with self._write("make the token key") as connection:
                connection.execute(self._insert(settings).on_conflict_do_nothing(), made)
                found = connection.scalar(query)
        return bytes.fromhex(str(found))

    # -- batches and places ----------------------------------------------------------------------------------------

    def create_cluster_batch(self, record: BatchRecord, ref: ClusterRef) -> bool:
        """Add a batch with its BatchTest; False, and no change, if the same one is there already."""
        known = self.cluster_ref(record.id)
        if known is not None:
            if known != ref:
                raise StoreError(f"batch {record.id} belongs to BatchTest {known.namespace}/{known.name} already")
            return False
        row = {"batch_id": record.id, "namespace": ref.namespace, "name": ref.name, "uid": ref.uid}
        with self._write("create the batch") as connection:
            self._add_batch(connection, record)
            connection.execute(cluster_batches.insert(), row)
        return True

    def cluster_ref(self, batch_id: str) -> ClusterRef | None:
        """Return the BatchTest of a batch."""
        query = cluster_batches.select().where(cluster_batches.c.batch_id == batch_id)
        with self._read() as connection:
            row = connection.execute(query).first()
        return None if row is None else ClusterRef(row.namespace, row.name, row.uid)

    def batch_of(self, uid: str) -> BatchRecord | None:
        """Return the batch of a BatchTest, without ``spec`` and ``status``."""
        query = sa.select(batches).join(cluster_batches, cluster_batches.c.batch_id == batches.c.id)
        with self._read() as connection:
            row = connection.execute(query.where(cluster_batches.c.uid == uid)).mappings().first()
        return None if row is None else rows.batch_from(row)

    def finals(self, batch_id: str, ordinals: Sequence[int] | None) -> Iterator[AttemptResult]:
        """Yield the final results of these trials, in this order; of all, by ordinal, if none are named."""
        return finals_of(self, batch_id, ordinals)

    def newest_of(self, namespace: str, name: str) -> BatchRecord | None:
        """Return the batch that was accepted last of a BatchTest of this name, without ``status``."""
        query = (
            sa.select(batches, documents.c.spec)
            .join(cluster_batches, cluster_batches.c.batch_id == batches.c.id)
            .join(documents, documents.c.batch_id == batches.c.id)
            .where(cluster_batches.c.namespace == namespace, cluster_batches.c.name == name, batches.c.total > 0)
            .order_by(*NEWEST_FIRST)
            .limit(1)
        )
        with self._read() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else rows.batch_from(row)

    def batch_and_test(self, reference: str, namespace: str) -> tuple[BatchRecord, ClusterRef | None]:
        """Return what ``batch`` does, only of those in a namespace unless it is "", and the BatchTest it belongs to."""
        with self._read() as connection:
            record = self._batch(connection, reference, _in(namespace))
        return record, self.cluster_ref(record.id)

    def batches_and_tests(
        self, namespace: str, limit: int, damaged: list[RecordDamaged]
    ) -> Sequence[tuple[BatchRecord, ClusterRef | None]]:
        """Return what ``batches`` does, only of those in a namespace unless it is "", and their BatchTests."""
        where = [getattr(cluster_batches.c, name).label(f"test_{name}") for name in ("namespace", "name", "uid")]
        query = (
            sa.select(batches, documents.c.status, documents.c.batch_id.label("documented"), *where)
            .outerjoin(documents, documents.c.batch_id == batches.c.id)
            .outerjoin(cluster_batches, cluster_batches.c.batch_id == batches.c.id)
            .where(_in(namespace))
            .order_by(*NEWEST_FIRST)
            .limit(limit)
        )
        with self._read() as connection:
            found = connection.execute(query).mappings().all()
        tests = {row["id"]: _test_of(row) for row in found}
        return [(record, tests[record.id]) for record in rows.readable(rows.listed_from, found, damaged)]

    def open_batches(self) -> Sequence[tuple[str, ClusterRef]]:
        """Return every batch that is not over, or one of whose places is not released."""
        held = sa.select(environments.c.batch_id).where(IS_NOT_RELEASED)
        query = (
            sa.select(cluster_batches)
            .join(batches, batches.c.id == cluster_batches.c.batch_id)
            .where(sa.or_(batches.c.phase.not_in(FINAL_PHASES), cluster_batches.c.batch_id.in_(held)))
            .order_by(batches.c.accepted_at, batches.c.id)
        )
        with self._read() as connection:
            return [(row.batch_id, ClusterRef(row.namespace, row.name, row.uid)) for row in connection.execute(query)]

    def trail_of(self, batch_id: str) -> Trail:
        """Return where the batch's audit trail stands. Raises ``BatchNotFound``; ``StaleLeader`` as a write does."""
        columns = (batches.c.audit_entries, batches.c.audit_dropped, batches.c.audit_head)
        with self._read() as connection:
            if self._epoch is not None:
                self._check_leadership(connection, self._epoch, lock=False)
            row = connection.execute(sa.select(*columns).where(batches.c.id == batch_id)).first()
        if row is None:
            raise BatchNotFound(f'store {self._place.shown}: no batch has the id "{batch_id}"')
        return Trail(row.audit_entries, row.audit_dropped, row.audit_head)

    def environments(self, batch_id: str) -> Sequence[EnvironmentRecord]:
        """Return the batch's places, oldest first."""
        query = environments.select().where(environments.c.batch_id == batch_id).order_by(environments.c.attempt)
        with self._read() as connection:
            return [rows.environment_from(row) for row in connection.execute(query).mappings()]

    def past(self) -> PastResults:
        """Return what reads the results of finished batches without what is large in them."""
        return SqlPastResults(self)

    def prune(self, now: datetime) -> Sequence[str]:
        """Delete the audit trails whose retention time is over; return their batches. Raises ``StaleLeader``."""
        self.check_leading()
        return prune(self, now)

    # -- one step ----------------------------------------------------------------------------------------------------

    def commit_step(
        self,
        session: Session,
        *,
        results: Sequence[tuple[AttemptResult, bool]] = (),
        entries: Sequence[AuditEntry] = (),
        dropped: int = 0,
        batch: BatchUpdate | None = None,
        environment: EnvironmentRecord | None = None,
        segment: tuple[int, int] | None = None,
        outbox: Sequence[int] = (),
        closed_at: datetime | None = None,
        carried: Step | None = None,
    ) -> Sequence[tuple[int, int]]:
        """Write one step, all or nothing; return (ordinal, attempt) of the results that were there already."""
        left_out: list[tuple[int, int]] = []

        def also(connection: sa.Connection, seq: int) -> None:
            left_out[:] = _known(connection, session.batch_id, results)
            if carried is not None:
                copy_rows(connection, session.batch_id, carried.source, carried.pairs, carried.epoch)
            if segment is not None:
                _take_segment(connection, session.batch_id, *segment)
            if environment is not None:
                self._put_environment(connection, environment)
            if outbox:
                add_to_outbox(connection, session.batch_id, [(seq + 1 + index, entries[index].at) for index in outbox])
            if closed_at is not None:
                _end_session(connection, session, closed_at)

        self._commit(session, results, entries, dropped, batch, also)
        return left_out

    def _put_environment(self, connection: sa.Connection, environment: EnvironmentRecord) -> None:
        connection.execute(self._put, rows.environment_row(environment))


def _in(namespace: str) -> sa.ColumnElement[bool]:
    """Return the condition of a batch whose BatchTest is in the namespace; "" is any, or none."""
    if not namespace:
        return sa.true()
    return batches.c.id.in_(sa.select(cluster_batches.c.batch_id).where(cluster_batches.c.namespace == namespace))


def _test_of(row: RowMapping) -> ClusterRef | None:
    namespace, name, uid = (row[f"test_{part}"] for part in ("namespace", "name", "uid"))
    return None if uid is None else ClusterRef(namespace, name, uid)


def _known(
    connection: sa.Connection, batch_id: str, results: Sequence[tuple[AttemptResult, bool]]
) -> list[tuple[int, int]]:
    """Return which of the results will be left out: the same attempt, or a second final one of a trial."""
    if not results:
        return []
    query = sa.select(attempts.c.ordinal, attempts.c.attempt, attempts.c.final).where(
        attempts.c.batch_id == batch_id, attempts.c.ordinal.in_({result.ordinal for result, _ in results})
    )
    there = set()
    ended = set()
    for row in connection.execute(query):
        there.add((row.ordinal, row.attempt))
        if row.final:
            ended.add(row.ordinal)
    return [
        (result.ordinal, result.attempt)
        for result, final in results
        if (result.ordinal, result.attempt) in there or (final and result.ordinal in ended)
    ]


def _end_session(connection: sa.Connection, session: Session, now: datetime) -> None:
    mine = (sessions.c.batch_id == session.batch_id, sessions.c.epoch == session.epoch, IS_OPEN)
    ended = {"closed_at": rows.to_micros(now), "close_reason": "Finished"}
    connection.execute(sessions.update().where(*mine), ended)


def _take_segment(connection: sa.Connection, batch_id: str, attempt: int, number: int) -> None:
    mine = (environments.c.batch_id == batch_id, environments.c.attempt == attempt)
    newest = connection.scalar(sa.select(environments.c.segments).where(*mine))
    if newest is None or number != newest + 1:
        raise SegmentOutOfOrder((newest or 0) + 1)
    connection.execute(environments.update().where(*mine), {"segments": number})
