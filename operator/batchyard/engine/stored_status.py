"""A batch's status as a store has it. Not for making one (``summary``), nor for what shows it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from batchyard.model.errors import RecordDamaged
from batchyard.model.faults import in_brief
from batchyard.model.status import BatchStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchyard.engine.ports import BatchRecord
    from batchyard.model.trial import AttemptResult


def status_of(record: BatchRecord) -> BatchStatus:
    """Return the status as it was written last, an empty one if the batch has not begun. Raises ``RecordDamaged``."""
    if record.status is None:
        return BatchStatus(phase=record.phase)
    try:
        return BatchStatus.from_json(record.status)
    except ValidationError as err:
        raise RecordDamaged.of(f"the status of batch {record.id}", in_brief(err)) from err


def by_results(record: BatchRecord, finished: int, results: Iterable[AttemptResult]) -> BatchRecord:
    """Return a batch that has not ended with a status that counts its results, of which ``finished`` are final.

    A session writes results more often than the status, and one that was killed leaves the two apart. ``results`` are
    read only if they are.
    """
    written = status_of(record)
    counts = written.trials
    if record.phase.final or record.status is None or finished == counts.total - counts.pending - counts.running:
        return record
    # What only few batches need is loaded only for them.
    from batchyard.engine.sources import LoadedBatch
    from batchyard.engine.stored_results import of_plan
    from batchyard.engine.summary import Summary

    plan = LoadedBatch.of(record).plan
    summary = Summary(plan)
    for result in of_plan(results, plan, record.id):
        summary.add(result)
    summary.retried, summary.carried = counts.retried, counts.carried_over
    message = record.message if record.reason else summary.progress()
    current = replace(record, message=message)
    status = summary.status(current, running=min(counts.running, record.total - summary.finished), gate=None)
    return replace(current, status={**record.status, **status})
