"""The store on SQLite and PostgreSQL: ``engine.ports.BatchStore`` in SQLAlchemy Core.

Not for opening one (``opening``), the schema (``schema``), deleting old trails (``retention``) nor for gathering small
writes into large ones (``writer``).
"""

from __future__ import annotations

import heapq
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from batchyard.engine.ports import BatchRecord, BatchUpdate, OpenSession, Owner, Session
from batchyard.model.errors import BatchAmbiguous, BatchNotFound, RecordDamaged, StaleSession, StoreError
from batchyard.model.outcome import Outcome
from batchyard.model.plain_json import plain_text
from batchyard.store import rows
from batchyard.store.chain import Chain, append, read_chain
from batchyard.store.connect import for_writing
from batchyard.store.faults import StoreBusy, place_of, reported
from batchyard.store.paging import paged
from batchyard.store.tables import (
    IS_FINAL,
    IS_OPEN,
    attempts,
    audit_entries,
    batches,
    cluster_batches,
    documents,
    sessions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from batchyard.model.audit import AuditEntry, SealedEntry
    from batchyard.model.trial import AttemptResult

FAILURES = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.NEEDS_INPUT, Outcome.ERRORED)
"""The outcomes that count as a trial's own failure, in no order."""

_RESULTS_PAGE = 200
_ENTRIES_PAGE = 1000
_ORDINALS_PAGE = 10_000


@dataclass(slots=True)
class _Attempt:
    """How far a commit came: the head it wrote, and whether the database was asked to make it last."""

    head: str = ""
    asked: bool = False


class SqlStore:
    """Keeps batches, attempts and audit entries in a database; implements ``BatchStore``.

    Safe to call from any thread. Whoever opened it closes it (``close``, or ``with``).
    """

    def __init__(self, engine: sa.Engine) -> None:
        """Take over ``engine``, whose schema must be the newest (see ``open_store``)."""
        self._engine = engine
        self._writing = for_writing(engine)
        self._place = place_of(engine.url)
        # Both databases spell it alike; no target means that any kind of duplicate is left out.
        self._insert = sqlite.insert if engine.dialect.name == "sqlite" else postgresql.insert
        self._insert_attempts = self._insert(attempts).on_conflict_do_nothing()

    def __repr__(self) -> str:
        return f"SqlStore({self._place.shown!r})"

    def __enter__(self) -> SqlStore:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def engine(self) -> sa.Engine:
        """Return the engine, for what looks after the database as a whole (``schema``, ``integrity``)."""
        return self._engine

    def close(self) -> None:
        """Release every connection."""
        self._engine.dispose()

    # -- batches -------------------------------------------------------------------------------------------------

    def create_batch(self, record: BatchRecord) -> None:
        """Add a batch. Raises ``StoreError`` if the id is taken."""
        with self._write("create the batch") as connection:
            self._add_batch(connection, record)

    def _add_batch(self, connection: sa.Connection, record: BatchRecord) -> None:
        document = {
            "batch_id": record.id,
            "spec": rows.to_json(record.spec),
            "status": rows.optional_json(record.status),
        }
        try:
            connection.execute(batches.insert(), rows.batch_row(record))
        except IntegrityError as err:
            raise StoreError(f"store {self._place.shown}: there is a batch {record.id} already") from err
        connection.execute(documents.insert(), document)

    def batch(self, reference: str) -> BatchRecord:
        """Return the batch with this id, or unique id prefix, or the newest of this name."""
        with self._read() as connection:
            return self._batch(connection, reference, sa.true())

    def batches(self, *, limit: int = 50, damaged: list[RecordDamaged] | None = None) -> Sequence[BatchRecord]:
        """Return the newest batches first, at most ``limit``; ``spec`` is left out (None) for speed.

        Those of them that cannot be read go to ``damaged``; without it, the first is raised.
        """
        listed = sa.select(batches, documents.c.status, documents.c.batch_id.label("documented"))
        newest = listed.outerjoin(documents).order_by(*NEWEST_FIRST).limit(limit)
        with self._read() as connection:
            return rows.readable(rows.listed_from, connection.execute(newest).mappings(), damaged)

    def _batch(self, connection: sa.Connection, reference: str, among: sa.ColumnElement[bool]) -> BatchRecord:
        batch_id = self._resolve(connection, reference, among)
        query = sa.select(batches, documents.c.spec, documents.c.status).join(documents).where(batches.c.id == batch_id)
        found = connection.execute(query).mappings().first()
        if found is None:
            raise RecordDamaged.of(f"batch {batch_id}", "its specification is missing")
        return rows.batch_from(found)

    def _resolve(self, connection: sa.Connection, reference: str, among: sa.ColumnElement[bool]) -> str:
        ids = sa.select(batches.c.id).where(among)
        if connection.scalars(ids.where(batches.c.id == reference)).first() is not None:
            return reference
        begins = sa.func.substr(batches.c.id, 1, len(reference)) == reference
        like = connection.scalars(ids.where(begins).order_by(batches.c.id).limit(4)).all()
        if len(like) == 1 and reference:
            return str(like[0])
        named = ids.where(batches.c.name == reference).order_by(*NEWEST_FIRST).limit(1)
        newest = connection.scalars(named).first()
        if newest is not None:
            return str(newest)
        if like and reference:
            some = ", ".join(like[:3])
            raise BatchAmbiguous(f'"{reference}" begins the id of several batches ({some}, ...); give more of the id')
        raise BatchNotFound(
            f'store {self._place.shown}: no batch has the id or name "{reference}"; see `batchyard list`'
        )

    # -- sessions ------------------------------------------------------------------------------------------------

    def open_session(self, batch_id: str, owner: Owner, now: datetime, *, after: int | None = None) -> Session:
        """Take the batch over: raise its epoch by 1 and record the owner, so that older sessions are refused."""
        at = rows.to_micros(now)
        older = sessions.update().where(sessions.c.batch_id == batch_id, IS_OPEN)
        with self._write("open a session") as connection:
            previous = connection.scalar(sa.select(batches.c.epoch).where(batches.c.id == batch_id).with_for_update())
            if previous is None:
                raise BatchNotFound(f'store {self._place.shown}: no batch has the id "{batch_id}"')
            if after not in {None, previous}:
                raise StaleSession(f"batch {batch_id}: session {previous} took over from session {after}")
            epoch = previous + 1
            connection.execute(batches.update().where(batches.c.id == batch_id), {"epoch": epoch})
            connection.execute(older, {"closed_at": at, "close_reason": f"taken over by session {epoch}"})
            opened = {"batch_id": batch_id, "epoch": epoch, "opened_at": at, "heartbeat_at": at}
            owned = {"host": plain_text(owner.host), "pid": owner.pid, "started": plain_text(owner.started)}
            connection.execute(sessions.insert(), opened | owned)
        return Session(batch_id=batch_id, epoch=epoch, owner=owner)

    def live_owner(self, batch_id: str) -> tuple[Owner, datetime] | None:
        """Return the owner and last heartbeat of the session that was never closed, if there is one."""
        newest = sessions.select().where(sessions.c.batch_id == batch_id, IS_OPEN).order_by(sessions.c.epoch.desc())
        with self._read() as connection:
            row = connection.execute(newest.limit(1)).mappings().first()
        if row is None:
            return None
        found = rows.open_session_from(row)
        return found.owner, found.heard_at

    def open_sessions(self, damaged: list[RecordDamaged] | None = None) -> Sequence[OpenSession]:
        """Return every session that was never closed and belongs to no BatchTest of a cluster, oldest first.

        Those of them that cannot be read go to ``damaged``; without it, the first is raised.
        """
        elsewhere = sa.select(cluster_batches.c.batch_id)
        query = sessions.select().where(IS_OPEN, sessions.c.batch_id.not_in(elsewhere)).order_by(sessions.c.opened_at)
        with self._read() as connection:
            return rows.readable(rows.open_session_from, connection.execute(query).mappings(), damaged)

    def heartbeat(self, session: Session, now: datetime) -> None:
        """Say that the session lives. Raises ``StaleSession`` if another took over."""
        mine = sessions.update().where(sessions.c.batch_id == session.batch_id, sessions.c.epoch == session.epoch)
        with self._write("record a heartbeat") as connection:
            self._take_chain(connection, session)
            connection.execute(mine, {"heartbeat_at": rows.to_micros(now)})

    def close_session(self, session: Session, reason: str, now: datetime) -> None:
        """End the session, with the reason; a second call changes nothing."""
        mine = sessions.update().where(
            sessions.c.batch_id == session.batch_id, sessions.c.epoch == session.epoch, IS_OPEN
        )
        with self._write("close the session") as connection:
            connection.execute(mine, {"closed_at": rows.to_micros(now), "close_reason": plain_text(reason)})

    # -- results and the trail -----------------------------------------------------------------------------------

    def commit(
        self,
        session: Session,
        *,
        results: Sequence[tuple[AttemptResult, bool]] = (),
        entries: Sequence[AuditEntry] = (),
        dropped: int = 0,
        batch: BatchUpdate | None = None,
    ) -> None:
        """Write results, entries and the batch's state, all or nothing; durable when it returns.

        Raises ``StaleSession`` if another session took over, and ``StoreBusy`` if nothing was written for a reason
        that may pass.
        """
        self._commit(session, results, entries, dropped, batch)

    def write_also(
        self,
        session: Session,
        entries: Sequence[AuditEntry],
        dropped: int,
        also: Callable[[sa.Connection, int], None],
    ) -> None:
        """Write entries and what ``also`` writes, all or nothing; raises as ``commit`` does."""
        self._commit(session, (), entries, dropped, None, also)

    def _commit(
        self,
        session: Session,
        results: Sequence[tuple[AttemptResult, bool]],
        entries: Sequence[AuditEntry],
        dropped: int,
        batch: BatchUpdate | None,
        also: Callable[[sa.Connection, int], None] | None = None,
    ) -> None:
        """Write all of it; ``also``, called before the results with the chain's newest ``seq``, adds what it likes."""
        # Encoded before the transaction begins: the write lock is everybody's.
        found = [rows.attempt_row(session.batch_id, result, final) for result, final in results]
        for entry in entries:
            if entry.batch_id != session.batch_id:
                raise StoreError(f"an entry of batch {entry.batch_id} cannot stand in the trail of {session.batch_id}")
        attempt = _Attempt()
        try:
            with self._write("write results") as connection:
                chain = self._take_chain(connection, session)
                if also is not None:
                    also(connection, chain.entries)
                if found:
                    connection.execute(self._insert_attempts, found)
                attempt.head = append(connection, chain, entries, dropped, batch)
                attempt.asked = True
        except StoreBusy:
            if not attempt.asked or not entries or not self._is_head(session.batch_id, attempt.head):
                raise

    def _take_chain(self, connection: sa.Connection, session: Session) -> Chain:
        """Lock the batch's row for this transaction and return it. Raises ``StaleSession``."""
        chain = read_chain(connection, session.batch_id)
        if chain is None:
            raise BatchNotFound(f'store {self._place.shown}: no batch has the id "{session.batch_id}"')
        if chain.epoch != session.epoch:
            raise StaleSession(
                f"batch {session.batch_id}: session {chain.epoch} took over from session {session.epoch}, "
                "whose remaining results are not written; the newer one runs those trials again"
            )
        return chain

    def _is_head(self, batch_id: str, head: str) -> bool:
        """Return whether a commit whose answer was lost did happen. Waits for it if it still goes on."""
        try:
            with self._write("see whether the last commit happened") as connection:
                chain = read_chain(connection, batch_id)
        except StoreBusy as err:
            # Trying the commit again could write its entries twice.
            raise StoreError(
                f"{err}; it is not known whether the last results were written: `batchyard resume`"
            ) from err
        return chain is not None and chain.head == head

    # -- reading -------------------------------------------------------------------------------------------------

    def finished_ordinals(self, batch_id: str) -> Iterator[int]:
        """Yield the ordinal of every trial that has a final result, ascending."""
        query = sa.select(attempts.c.ordinal).where(attempts.c.batch_id == batch_id, IS_FINAL)
        key = (attempts.c.ordinal,)
        for row in paged(self._engine, self._place, query, key=key, after=(-1,), size=_ORDINALS_PAGE):
            yield row["ordinal"]

    def attempts_made(self, batch_id: str) -> Mapping[int, int]:
        """Return the number of the newest attempt of each trial that has attempts but no final result."""
        other = attempts.alias("final_attempts")
        ended = sa.exists().where(
            other.c.batch_id == attempts.c.batch_id,
            other.c.ordinal == attempts.c.ordinal,
            sa.text("final_attempts.final"),
        )
        query = (
            sa.select(attempts.c.ordinal, sa.func.max(attempts.c.attempt).label("newest"))
            .where(attempts.c.batch_id == batch_id, sa.text("NOT attempts.final"), ~ended)
            .group_by(attempts.c.ordinal)
        )
        with self._read() as connection:
            return {row.ordinal: row.newest for row in connection.execute(query)}

    def attempts_ended(self, batch_id: str) -> Iterator[tuple[str, int]]:
        """Yield the trial's id and the number of every attempt that has a result, by ordinal, then attempt."""
        key = (attempts.c.ordinal, attempts.c.attempt)
        query = sa.select(*key, attempts.c.trial_id).where(attempts.c.batch_id == batch_id)
        for row in paged(self._engine, self._place, query, key=key, after=(-1, -1), size=_ORDINALS_PAGE):
            yield row["trial_id"], row["attempt"]

    def results(
        self,
        batch_id: str,
        *,
        final_only: bool = True,
        outcomes: Sequence[Outcome] | None = None,
        limit: int | None = None,
    ) -> Iterator[AttemptResult]:
        """Yield results by ordinal, then attempt, in pages, so that memory stays flat."""
        of_batch = attempts.select().where(attempts.c.batch_id == batch_id)
        if not final_only:
            wanted = of_batch if outcomes is None else of_batch.where(attempts.c.outcome.in_(list(outcomes)))
            return self._results(wanted, (attempts.c.ordinal, attempts.c.attempt), limit)
        final = of_batch.where(IS_FINAL)
        if outcomes is None:
            return self._results(final, (attempts.c.ordinal,), limit)
        # One ordered walk through the index for each outcome: a single query would sort the batch for every page.
        walks = [
            self._results(final.where(attempts.c.outcome == outcome), (attempts.c.ordinal,), limit)
            for outcome in dict.fromkeys(outcomes)
        ]
        return islice(heapq.merge(*walks, key=lambda result: result.ordinal), limit)

    def _results(
        self, query: sa.Select[Any], key: Sequence[sa.Column[int]], limit: int | None
    ) -> Iterator[AttemptResult]:
        start = [-1] * len(key)
        page = paged(self._engine, self._place, query, key=key, after=start, size=_RESULTS_PAGE, limit=limit)
        return (rows.attempt_from(row) for row in page)

    def failures(self, batch_id: str, *, limit: int = 20) -> Sequence[AttemptResult]:
        """Return the first trials, by ordinal, whose final result is a failure of their own."""
        return list(self.results(batch_id, outcomes=FAILURES, limit=limit))

    def counts(self, batch_id: str) -> Mapping[Outcome, int]:
        """Return how many trials have each outcome as their final one; outcomes without any are left out."""
        query = (
            sa.select(attempts.c.outcome, sa.func.count())
            .where(attempts.c.batch_id == batch_id, IS_FINAL)
            .group_by(attempts.c.outcome)
        )
        with self._read() as connection:
            return {rows.outcome_from(batch_id, outcome): count for outcome, count in connection.execute(query)}

    def audit_entries(self, batch_id: str, *, after: int = 0, limit: int | None = None) -> Iterator[SealedEntry]:
        """Yield the batch's entries with ``seq`` over ``after``, oldest first, in pages."""
        query = audit_entries.select().where(audit_entries.c.batch_id == batch_id)
        key, behind = (audit_entries.c.seq,), (after or BEFORE_ANY,)
        page = paged(self._engine, self._place, query, key=key, after=behind, size=_ENTRIES_PAGE, limit=limit)
        return (rows.entry_from(row) for row in page)

    # -- connections ---------------------------------------------------------------------------------------------

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with reported(self._place, "read"), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _write(self, action: str) -> Iterator[sa.Connection]:
        with reported(self._place, action), self._writing.begin() as connection:
            yield connection


BEFORE_ANY = -(2**63)
"""Where a trail is read from as a whole: entries that somebody put before the first are found too."""
NEWEST_FIRST = (batches.c.accepted_at.desc(), batches.c.id.desc())
