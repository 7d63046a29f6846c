"""Ends batches: trials without a result become NotRun, then gate, verdict and the last word, all in the store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchyard.decide.finish import ends_batch
from batchyard.decide.publish import omitted_notice
from batchyard.engine.cluster_ports import EnvironmentState
from batchyard.engine.conclusion import NOT_RUN_CHUNK, PHASE_OF, conclude
from batchyard.engine.ports import BatchUpdate
from batchyard.engine.records import not_run
from batchyard.model.events import EventType
from batchyard.model.outcome import Phase, Reason
from batchyard.tracing import Traces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from batchyard.clock import Clock
    from batchyard.engine.cluster_ports import EnvironmentRecord
    from batchyard.engine.conclusion import Conclusion
    from batchyard.kube.batches import ActiveBatch, Batches
    from batchyard.metrics import Metrics
    from batchyard.model.trial import AttemptResult

_SCOPE_OF = {Reason.BATCH_DEADLINE_EXCEEDED: "batch", Reason.ENVIRONMENT_DEADLINE_EXCEEDED: "environment"}


class Endings:
    """Concludes batches. A crash in between is healed by concluding again: what is written stays as it is."""

    def __init__(self, batches: Batches, clock: Clock, metrics: Metrics, traces: Traces | None = None) -> None:
        """Take what is needed to write, to count and to trace."""
        self._batches, self._clock, self._metrics = batches, clock, metrics
        self._traces = traces or Traces()

    async def conclude(self, batch: ActiveBatch, reason: str, why: str) -> None:
        """End the batch; ``reason`` "" leaves the verdict to the results, ``why`` says more for people."""
        async with batch.lock:
            await self._mark_not_run(batch, reason, why)
            ended = conclude(batch.summary, batch.loaded.batch.spec.gate, reason or ended_by_results(batch), why)
            await self._write(batch, ended)
        scope = _SCOPE_OF.get(ended.reason)
        if scope is not None:
            self._metrics.deadline_exceeded(scope)
        now = self._clock.now()
        self._metrics.batch_finished(ended.verdict, ended.reason, (now - batch.record.accepted_at).total_seconds())
        self._traces.batch_ended(batch.record, now, verdict=ended.verdict, reason=ended.reason)

    async def _write(self, batch: ActiveBatch, ended: Conclusion) -> None:
        entries = [self._batches.entry(batch, kind, message, details) for kind, message, details in ended.told]
        scope = _SCOPE_OF.get(ended.reason)
        if scope is not None and not batch.deadline_told:
            text = f"the {scope}'s deadline passed"
            entries.insert(0, self._batches.entry(batch, EventType.DEADLINE_EXCEEDED, text, {"scope": scope}))
        notice = omitted_notice(batch.id, batch.limited, at=self._clock.now())
        if notice is not None:
            entries.append(notice)
        now = self._clock.now()
        phase = PHASE_OF[ended.verdict]
        batch.running = 0
        record = replace(batch.record, phase=phase, reason=ended.reason, message=ended.message, completed_at=now)
        status = batch.summary.status(record, running=0, gate=ended.gate)
        update = BatchUpdate(phase, ended.reason, ended.message, status, None, now)
        place = _ended(batch, now)
        last = place is None or place.released_at is not None
        await self._batches.commit(batch, entries=entries, update=update, environment=place, last=last)

    async def _mark_not_run(self, batch: ActiveBatch, reason: str, why: str) -> None:
        left = batch.open_trials
        if not left:
            return
        entry = self._batches.entry(batch, EventType.TRIALS_NOT_RUN, f"{left} trials were not run", {"count": left})
        begun = batch.record.phase is Phase.EVALUATING
        made = await self._batches.threads(lambda: dict(self._batches.store.attempts_made(batch.id)))
        for number, chunk in enumerate(self._chunks(batch, made, reason)):
            if number or begun:
                await self._batches.commit(batch, results=chunk)
            else:
                # The first chunk says that the batch is being ended, and why: after a crash it is ended alike.
                update, place = BatchUpdate(Phase.EVALUATING, reason, why), _ended(batch, self._clock.now())
                await self._batches.commit(batch, results=chunk, entries=[entry], update=update, environment=place)
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


def _ended(batch: ActiveBatch, now: datetime) -> EnvironmentRecord | None:
    """Return the newest place as one that is of no more use, with what was seen of it last; None if there is none."""
    place = batch.environment
    if place is None or place.ended_at is not None:
        return place
    return replace(place, state=EnvironmentState.ENDED, ended_at=now)


def ended_by_results(batch: ActiveBatch) -> str:
    """Return why the batch ended early as its results have it: the worker's last word may come later, or never."""
    if batch.summary.cancelled:
        return Reason.CANCELLED
    if batch.summary.past_deadline:
        return Reason.BATCH_DEADLINE_EXCEEDED
    if batch.summary.over_budget:
        return Reason.BATCH_BUDGET_EXCEEDED
    fail_fast = batch.loaded.batch.spec.fail_fast
    if any(ends_batch(outcome, fail_fast=fail_fast) for outcome in batch.summary.counts):
        return Reason.FAIL_FAST
    return Reason.NONE
