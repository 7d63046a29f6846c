"""A batch's status as a store has it. Not for making one (``summary``), nor for what shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.model.errors import RecordDamaged
from batchyard.model.status import BatchStatus

if TYPE_CHECKING:
    from batchyard.engine.ports import BatchRecord


def status_of(record: BatchRecord) -> BatchStatus:
    """Return the status as it was written last, an empty one if the batch has not begun. Raises ``RecordDamaged``."""
    if record.status is None:
        return BatchStatus(phase=record.phase)
    try:
        return BatchStatus.from_json(record.status)
    except ValueError as err:
        raise RecordDamaged(f"store: the status of batch {record.id} was changed or damaged: {err}") from err
