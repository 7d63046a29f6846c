"""Looks at one BatchTest, decides by the rules of ``decide.lifecycle`` and has the step done, until there is none.

Level-triggered: whatever woke it, it gathers all facts anew. Not for how a step is done (``kube.steps``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from batchyard.decide.lifecycle import Attempt, Conclude, Facts, Hold, Release, Rest, Seen, Wait, next_step
from batchyard.kube.batches import ActiveBatch
from batchyard.model.outcome import Phase, Reason

if TYPE_CHECKING:
    from batchyard.clock import Clock
    from batchyard.engine.cluster_ports import EnvironmentRecord
    from batchyard.engine.places import Observation
    from batchyard.kube.acceptance import Acceptance
    from batchyard.kube.batches import Batches
    from batchyard.kube.finished import Finished
    from batchyard.kube.objects import BatchTestObject, Objects
    from batchyard.kube.statuses import StatusWriter
    from batchyard.kube.steps import Steps
    from batchyard.metrics import Metrics

_log = structlog.get_logger(__name__)

_STEPS_AT_ONCE = 12
_HELD_SECONDS = 300.0
_GONE_SECONDS = 1.0


class Reconciler:
    """Brings BatchTests, named by their uid, a step nearer to where they are to be."""

    def __init__(
        self,
        *,
        batches: Batches,
        objects: Objects,
        acceptance: Acceptance,
        steps: Steps,
        finished: Finished,
        statuses: StatusWriter,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """Take everything made."""
        self._batches, self._objects, self._acceptance = batches, objects, acceptance
        self._steps, self._finished, self._statuses = steps, finished, statuses
        self._clock, self._metrics = clock, metrics

    async def reconcile(self, uid: str) -> float | None:
        """Do what is to be done now; return in how many seconds to look again, None if only news can change anything.

        Raises ``StaleLeader`` if another operator took over.
        """
        begun = self._clock.monotonic()
        try:
            return await self._reconcile(uid)
        finally:
            self._metrics.reconciled(self._clock.monotonic() - begun)

    async def _reconcile(self, uid: str) -> float | None:
        seen, record = self._objects.get(uid), await self._batches.record_of(uid)
        if record is None:
            return await self._take_in(seen)
        if record.phase.final and not await self._is_open(uid, record.id):
            return await self._finished.tidy(seen, record)
        ref = seen.ref if seen is not None else await self._batches.ref_of(record.id)
        batch = await self._batches.open(ref, record)
        await self._acceptance.begun(batch)
        return await self._move(seen, batch)

    async def _is_open(self, uid: str, batch_id: str) -> bool:
        return self._batches.by_uid(uid) is not None or not await self._batches.is_released(batch_id)

    async def _take_in(self, seen: BatchTestObject | None) -> float | None:
        if seen is None:
            return None
        if not seen.exists:
            self._objects.forget(seen.ref.uid)
            return None
        if _was_rejected(seen):
            return None
        accepted = await self._acceptance.accept(seen)
        return (
            await self._move(self._objects.get(seen.ref.uid), accepted)
            if isinstance(accepted, ActiveBatch)
            else accepted
        )

    async def _move(self, seen: BatchTestObject | None, batch: ActiveBatch) -> float | None:
        for _ in range(_STEPS_AT_ONCE):
            step = next_step(self._facts(seen, batch, observation := await self._steps.observe(batch)))
            if isinstance(step, Wait):
                return await self._tell(seen, batch, step.seconds)
            if isinstance(step, Rest):
                return await self._rest(seen, batch)
            try:
                await self._steps.take(batch, step, observation)
            finally:
                # The end is told once its place is given back, and also if that cannot be done.
                if not isinstance(step, Conclude) or batch.environment is None:
                    await self._tell(seen, batch, None)
                    seen = self._objects.get(batch.ref.uid)
            if isinstance(step, Hold):
                return _HELD_SECONDS
            if isinstance(step, Release) and batch.releasing:
                return _GONE_SECONDS
        return 0.0

    async def _rest(self, seen: BatchTestObject | None, batch: ActiveBatch) -> float | None:
        await self._tell(seen, batch, None)
        self._batches.forget(batch)
        self._statuses.forget(batch.id)
        return await self._finished.tidy(self._objects.get(batch.ref.uid), batch.record)

    async def _tell(self, seen: BatchTestObject | None, batch: ActiveBatch, wait: float | None) -> float | None:
        """Write the status if that is due; return the shorter of the two times to come back."""
        if seen is None or not seen.exists:
            return wait
        later = await self._statuses.write(seen, batch)
        known = [seconds for seconds in (wait, later) if seconds is not None]
        return min(known) if known else None

    def _facts(self, seen: BatchTestObject | None, batch: ActiveBatch, observation: Observation | None) -> Facts:
        spec, environment = batch.loaded.batch.spec, batch.environment
        now = self._clock.now()
        cancel, suspend = (seen.cancel, seen.suspend) if seen is not None else (False, False)
        if cancel or suspend:
            batch.asked_at = batch.asked_at or now
        else:
            batch.asked_at = None
        return Facts(
            now=now,
            phase=batch.record.phase,
            deadline_at=batch.record.deadline_at,
            open_trials=batch.open_trials,
            environment_seconds=spec.deadlines.environment_seconds,
            grace_seconds=spec.deadlines.grace_seconds,
            exists=seen is not None and seen.exists,
            suspend=suspend,
            cancel=cancel,
            attempt=_attempt(environment, batch, observation) if environment is not None else None,
            barren=batch.barren(),
            max_barren=spec.retry.max_attempts,
            retry_seconds=spec.retry.backoff_seconds,
        )


def _attempt(environment: EnvironmentRecord, batch: ActiveBatch, observation: Observation | None) -> Attempt:
    heard = [moment for moment in (environment.heard_at, batch.heard_at) if moment is not None]
    return Attempt(
        number=environment.attempt,
        requested_at=environment.requested_at,
        started=environment.started_at is not None,
        ended_at=environment.ended_at,
        released=environment.released_at is not None,
        done=environment.done_stop,
        heard_at=max(heard, default=None),
        asked_at=batch.asked_at,
        seen=Seen(observation.state.value) if observation is not None else None,
        seen_reason=observation.reason if observation is not None else environment.reason,
        seen_message=observation.message if observation is not None else environment.message,
    )


def _was_rejected(seen: BatchTestObject) -> bool:
    """Return whether this very spec was refused before: looking again would find the same faults."""
    status = seen.status
    return (
        status.get("phase") == Phase.FAILED
        and status.get("reason") == Reason.INVALID_SPEC
        and status.get("observedGeneration") == seen.generation
    )
