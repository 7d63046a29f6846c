"""Reading from a place on, for those who ask page by page, and by the BatchTest that a batch belongs to.

Not for reading within one process: the store itself streams there.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

from batchyard.store import rows
from batchyard.store.faults import place_of
from batchyard.store.lookup import attempts_of
from batchyard.store.paging import paged
from batchyard.store.tables import IS_FINAL, attempts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import sqlalchemy as sa

    from batchyard.engine.cluster_ports import ClusterRef
    from batchyard.engine.ports import BatchRecord, Owner
    from batchyard.model.audit import SealedEntry
    from batchyard.model.errors import RecordDamaged
    from batchyard.model.outcome import Outcome
    from batchyard.model.trial import AttemptResult
    from batchyard.store.cluster import SqlClusterStore

_PAGE = 200


class StoreReader:
    """Reads a store for ``kube.read_api``. Safe to call from any thread; whoever opened the store closes it."""

    def __init__(self, store: SqlClusterStore) -> None:
        """Read this store."""
        self._store = store

    def batch(self, reference: str, namespace: str) -> tuple[BatchRecord, ClusterRef | None]:
        """Return the batch that a reference means, only those of a namespace unless it is "", and its BatchTest."""
        return self._store.batch_and_test(reference, namespace)

    def batches(
        self, namespace: str, limit: int, damaged: list[RecordDamaged]
    ) -> Sequence[tuple[BatchRecord, ClusterRef | None]]:
        """Return the newest batches of a namespace ("" is all), newest first, without their specs."""
        return self._store.batches_and_tests(namespace, limit, damaged)

    def results(
        self, batch_id: str, after: tuple[int, int], *, final_only: bool, outcomes: Sequence[Outcome] | None
    ) -> Iterator[AttemptResult]:
        """Yield results by ordinal, then attempt, that come behind ``after`` in that order."""
        of_batch = attempts.select().where(attempts.c.batch_id == batch_id)
        if not final_only:
            wanted = of_batch if outcomes is None else of_batch.where(attempts.c.outcome.in_(list(outcomes)))
            return self._walk(wanted, (attempts.c.ordinal, attempts.c.attempt), after)
        final = of_batch.where(IS_FINAL)
        if outcomes is None:
            return self._walk(final, (attempts.c.ordinal,), after[:1])
        # As the store does: one ordered walk through the index for each outcome.
        walks = [
            self._walk(final.where(attempts.c.outcome == outcome), (attempts.c.ordinal,), after[:1])
            for outcome in dict.fromkeys(outcomes)
        ]
        return heapq.merge(*walks, key=lambda result: result.ordinal)

    def _walk(
        self, query: sa.Select[Any], key: Sequence[sa.Column[int]], after: Sequence[int]
    ) -> Iterator[AttemptResult]:
        engine = self._store.engine
        page = paged(engine, place_of(engine.url), query, key=key, after=after, size=_PAGE)
        return (rows.attempt_from(row) for row in page)

    def attempts(self, batch_id: str, ordinal: int) -> Sequence[AttemptResult]:
        """Return every attempt of one trial, first one first."""
        return attempts_of(self._store, batch_id, ordinal)

    def entries(self, batch_id: str, after: int) -> Iterator[SealedEntry]:
        """Yield the entries with ``seq`` over ``after``, oldest first."""
        return self._store.audit_entries(batch_id, after=after)

    def finished(self, batch_id: str) -> Iterator[int]:
        """Yield the ordinal of every trial that has a final result, ascending."""
        return self._store.finished_ordinals(batch_id)

    def owner(self, batch_id: str) -> tuple[Owner, datetime] | None:
        """Return who runs the batch and when that was last heard."""
        return self._store.live_owner(batch_id)
