"""Takes over, before a batch's first place is made, the results of the batch that it amends.

Not for which results stand (``decide.amending``) nor for when it is done (``decide.lifecycle``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.engine.carrying import CarryOver, words_of
from batchyard.model.audit import AuditEntry
from batchyard.model.events import EventType, severity_of

if TYPE_CHECKING:
    from batchyard.clock import Clock
    from batchyard.kube.batches import ActiveBatch, Batches
    from batchyard.model.trial import JSON, AttemptResult

_NO_PLACE = 0


class Carrying:
    """Carries results over. A crash in between is healed by doing it again: what was carried over stays as it is."""

    def __init__(self, batches: Batches, clock: Clock) -> None:
        """Take what is needed to write."""
        self._batches, self._clock = batches, clock

    async def carry_over(self, batch: ActiveBatch) -> None:
        """Carry over all that stands for trials of the batch, and tell how much that was. Raises ``StoreError``."""
        store, threads = self._batches.store, self._batches.threads
        work = CarryOver(store.past(), store, batch.loaded)
        steps = work.steps(_NO_PLACE, _Trials(batch), untold=True)
        while (step := await threads(lambda: next(steps, None))) is not None:
            entries = [self._entry(batch, result, step.source) for result in step.results]
            async with batch.lock:
                await self._batches.commit(batch, entries=entries, carried=step)
        details: dict[str, JSON] = {"carriedOver": batch.summary.carried, "total": batch.record.total}
        told = [self._batches.entry(batch, EventType.BATCH_AMENDED, text, details) for text in work.told]
        async with batch.lock:
            await self._batches.commit(batch, entries=told)

    def _entry(self, batch: ActiveBatch, result: AttemptResult, source: str) -> AuditEntry:
        text, details = words_of(result, source)
        kind = EventType.TRIAL_CARRIED_OVER
        return AuditEntry(
            at=self._clock.now(),
            type=kind,
            severity=severity_of(kind),
            message=text,
            batch_id=batch.id,
            trial_id=result.trial_id,
            attempt=result.attempt,
            details=details,
        )


class _Trials:
    """Which trials of a batch have no result yet."""

    def __init__(self, batch: ActiveBatch) -> None:
        self._batch = batch

    @property
    def open_count(self) -> int:
        return self._batch.open_trials

    def is_finished(self, ordinal: int) -> bool:
        return bool(self._batch.final[ordinal])
