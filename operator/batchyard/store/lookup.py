"""Reading single trials. Not for whole batches: the store itself streams those."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.store import rows
from batchyard.store.faults import place_of, reported
from batchyard.store.tables import attempts

if TYPE_CHECKING:
    from collections.abc import Sequence

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
