"""Reading single trials, or chosen ones, which batches there are, and who had one last.

Not for whole batches: the store itself streams those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from batchyard.model.outcome import FINAL_PHASES, Outcome
from batchyard.store import rows
from batchyard.store.faults import place_of, reported
from batchyard.store.paging import paged
from batchyard.store.tables import IS_FINAL, attempts, batches, cluster_batches, sessions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchyard.model.trial import AttemptResult
    from batchyard.store.sql import SqlStore


def attempts_of(store: SqlStore, batch_id: str, ordinal: int) -> Sequence[AttemptResult]:
    """Return every attempt of one trial, first one first. Raises ``StoreError``."""
    query = (
        attempts.select()
        .where(attempts.c.batch_id == batch_id, attempts.c.ordinal == ordinal)
        .order_by(attempts.c.attempt)
    )
    with reported(place_of(store.engine.url), "read"), store.engine.connect() as connection:
        return [rows.attempt_from(row) for row in connection.execute(query).mappings()]


_PAGE = 200
_ENDINGS_PAGE = 20_000


class Ending(NamedTuple):
    """How a trial ended, and no more: a batch's are read ten times as quickly as its results."""

    ordinal: int
    combination: str
    case: str
    repeat: int
    outcome: Outcome


def endings_of(store: SqlStore, batch_id: str) -> Iterator[Ending]:
    """Yield how every trial ended that has, by ordinal. Raises ``StoreError``."""
    columns = (attempts.c.ordinal, attempts.c.combination, attempts.c.case_name, attempts.c.repeat, attempts.c.outcome)
    query = sa.select(*columns).where(attempts.c.batch_id == batch_id, IS_FINAL)
    place, key = place_of(store.engine.url), (attempts.c.ordinal,)
    for row in paged(store.engine, place, query, key=key, after=(-1,), size=_ENDINGS_PAGE):
        yield Ending(
            row["ordinal"],
            row["combination"],
            row["case_name"],
            row["repeat"],
            rows.outcome_from(batch_id, row["outcome"]),
        )


def finals_of(store: SqlStore, batch_id: str, ordinals: Sequence[int] | None) -> Iterator[AttemptResult]:
    """Yield the final results of these trials, in this order; of all of them, by ordinal, if none are named.

    Read page by page, so that memory stays flat. Raises ``StoreError``.
    """
    if ordinals is None:
        yield from store.results(batch_id)
        return
    for start in range(0, len(ordinals), _PAGE):
        page = ordinals[start : start + _PAGE]
        query = attempts.select().where(attempts.c.batch_id == batch_id, IS_FINAL, attempts.c.ordinal.in_(page))
        with reported(place_of(store.engine.url), "read"), store.engine.connect() as connection:
            found = {row["ordinal"]: rows.attempt_from(row) for row in connection.execute(query).mappings()}
        yield from (found[ordinal] for ordinal in page if ordinal in found)


def epoch_of(store: SqlStore, batch_id: str) -> int:
    """Return the epoch of a batch's newest session, 0 if there is no such batch. Raises ``StoreError``."""
    query = sa.select(batches.c.epoch).where(batches.c.id == batch_id)
    with reported(place_of(store.engine.url), "read"), store.engine.connect() as connection:
        return connection.scalar(query) or 0


def batches_run_here(store: SqlStore, host: str) -> Sequence[str]:
    """Return every batch that was run to its end by a command, not in a cluster, and still has its trail.

    ``host``, if given, is the name of the machine whose process had it last, in whichever PID namespace. Raises
    ``StoreError``.
    """
    query = sa.select(batches.c.id).where(
        batches.c.phase.in_(FINAL_PHASES),
        batches.c.started_at.is_not(None),
        batches.c.audit_pruned_at.is_(None),
        batches.c.id.not_in(sa.select(cluster_batches.c.batch_id)),
    )
    if host:
        last = sessions.c.batch_id == batches.c.id, sessions.c.epoch == batches.c.epoch
        mine = sa.or_(sessions.c.host == host, sessions.c.host.startswith(f"{host}/", autoescape=True))
        query = query.where(sa.exists().where(*last, mine))
    with reported(place_of(store.engine.url), "read"), store.engine.connect() as connection:
        return [found for found in connection.scalars(query.order_by(batches.c.id)) if isinstance(found, str)]
