"""What is written down of a batch when it is accepted. Pure: the time is an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.decide.deadlines import batch_deadline
from batchyard.engine.ports import BatchRecord
from batchyard.engine.sources import digest_of
from batchyard.model.events import Event, EventType

if TYPE_CHECKING:
    from datetime import datetime

    from batchyard.engine.sources import LoadedBatch


def accepted_record(loaded: LoadedBatch, batch_id: str, name: str, base: str, now: datetime) -> BatchRecord:
    """Return what a store has of a batch from ``now`` on; ``base`` is the folder its paths are relative to, if any."""
    spec = loaded.to_json()
    return BatchRecord(
        id=batch_id,
        name=name,
        spec=spec,
        spec_digest=digest_of(spec),
        base=base,
        total=len(loaded.plan),
        accepted_at=now,
        deadline_at=batch_deadline(now, loaded.batch.spec.deadlines.batch_seconds),
    )


def accepted_event(record: BatchRecord, epoch: int) -> Event:
    """Return what tells that a batch was accepted."""
    return Event(
        type=EventType.BATCH_ACCEPTED,
        at=record.accepted_at,
        batch_id=record.id,
        message=f"{record.name}: {record.total} trials, to be over by {record.deadline_at:%Y-%m-%d %H:%M:%S} UTC",
        epoch=epoch,
        details={"specDigest": record.spec_digest, "total": record.total},
    )
