"""Ends batches: trials without a result become NotRun, then gate, verdict and the last word, all in the store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchyard.decide.publish import omitted_notice
from batchyard.engine.conclusion import NOT_RUN_CHUNK, PHASE_OF, conclude
from batchyard.engine.ports import BatchUpdate
from batchyard.engine.records import not_run
from batchyard.model.events import EventType
from batchyard.model.outcome import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.clock import Clock
    from batchyard.engine.conclusion import Conclusion
    from batchyard.kube.batches import ActiveBatch, Batches
    from batchyard.metrics import Metrics
    from batchyard.model.trial import AttemptResult

_SCOPE_OF = {Reason.BATCH_DEADLINE_EXCEEDED: "batch", Reason.ENVIRONMENT_DEADLINE_EXCEEDED: "environment"}


class Endings:
    """Concludes batches. A crash in between is healed by concluding again: what is written stays as it is."""

    def __init__(self, batches: Batches, clock: Clock, metrics: Metrics) -> None:
        """Take what is needed to write and to count."""
        self._batches, self._clock, self._metrics = batches, clock, metrics

    async def conclude(self, batch: ActiveBatch, reason: str, why: str) -> None:
        """End the batch; ``reason`` "" leaves the verdict to the results, ``why`` says more for people."""
        async with batch.lock:
            await self._mark_not_run(batch, reason)
            ended = conclude(batch.summary, batch.loaded.batch.spec.gate, reason or _by_results(batch), why)
            await self._write(batch, ended, reason)
        scope = _SCOPE_OF.get(Reason(ended.reason))
        if scope is not None:
            self._metrics.deadline_exceeded(scope)
        seconds = (self._clock.now() - batch.record.accepted_at).total_seconds()
        self._metrics.batch_finished(ended.verdict, ended.reason, seconds)

    async def _write(self, batch: ActiveBatch, ended: Conclusion, reason: str) -> None:
        entries = [self._batches.entry(batch, kind, message, details) for kind, message, details in ended.told]
        if reason in _SCOPE_OF and not batch.deadline_told:
            text = f"the {_SCOPE_OF[Reason(reason)]}'s deadline passed"
            details = {"scope": _SCOPE_OF[Reason(reason)]}
            entries.insert(0, self._batches.entry(batch, EventType.DEADLINE_EXCEEDED, text, details))
        notice = omitted_notice(batch.id, batch.limited, at=self._clock.now())
        if notice is not None:
            entries.append(notice)
        now = self._clock.now()
        phase = PHASE_OF[ended.verdict]
        batch.running = 0
        record = replace(batch.record, phase=phase, reason=ended.reason, message=ended.message, completed_at=now)
        status = batch.summary.status(record, running=0, gate=ended.gate)
        update = BatchUpdate(phase, ended.reason, ended.message, status, None, now)
        await self._batches.commit(batch, entries=entries, update=update)
        await self._batches.refresh_head(batch)

    async def _mark_not_run(self, batch: ActiveBatch, reason: str) -> None:
        left = batch.open_trials
        if not left:
            return
        entry = self._batches.entry(batch, EventType.TRIALS_NOT_RUN, f"{left} trials were not run", {"count": left})
        made = await self._batches.threads(lambda: dict(self._batches.store.attempts_made(batch.id)))
        for number, chunk in enumerate(self._chunks(batch, made, reason)):
            # With the first chunk, so that a crash after it does not have it told twice.
            await self._batches.commit(batch, results=chunk, entries=[] if number else [entry])
        self._metrics.trials_not_run(batch.runner_name, left)

    def _chunks(
        self, batch: ActiveBatch, made: dict[int, int], reason: str
    ) -> Iterator[list[tuple[AttemptResult, bool]]]:
        epoch = batch.environment.attempt if batch.environment is not None else 0
        chunk: list[tuple[AttemptResult, bool]] = []
        for ordinal in range(len(batch.final)):
            if batch.final[ordinal]:
                continue
            trial = batch.loaded.plan.trial(ordinal)
            chunk.append((not_run(trial, made.get(ordinal, 0) + 1, epoch, reason, self._clock.now()), True))
            if len(chunk) == NOT_RUN_CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk


def _by_results(batch: ActiveBatch) -> str:
    """Return why the batch ended early as its results have it: a crash may have come after they were written."""
    return Reason.BATCH_DEADLINE_EXCEEDED if batch.summary.past_deadline else Reason.NONE
