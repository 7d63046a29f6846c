"""Looks at one BatchTest, decides by the rules of ``decide.lifecycle`` and has the step done, until there is none.

Level-triggered: whatever woke it, it gathers all facts anew. Not for how a step is done (``kube.steps``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard import logs
from batchyard.apiserver.errors import Forbidden
from batchyard.decide.lifecycle import (
    Attempt,
    Conclude,
    Facts,
    Hold,
    Release,
    Rest,
    Seen,
    Wait,
    hold_seconds,
    next_step,
)
from batchyard.engine.cluster_ports import EnvironmentState
from batchyard.kube.batches import ActiveBatch
from batchyard.kube.endings import ended_by_results
from batchyard.kube.finished import is_settled
from batchyard.model.errors import EnvironmentUnavailable, StaleLeader, StoreError

if TYPE_CHECKING:
    from batchyard.clock import Clock
    from batchyard.decide.lifecycle import Step
    from batchyard.engine.cluster_ports import EnvironmentRecord
    from batchyard.engine.places import Observation
    from batchyard.engine.ports import BatchRecord
    from batchyard.kube.acceptance import Acceptance
    from batchyard.kube.batches import Batches
    from batchyard.kube.finished import Finished
    from batchyard.kube.objects import BatchTestObject, Objects
    from batchyard.kube.statuses import StatusWriter
    from batchyard.kube.steps import Steps
    from batchyard.metrics import Metrics

_STEPS_AT_ONCE = 12
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
        except StaleLeader:
            raise
        except Exception as err:  # whatever it is, the queue says so and tries again
            self._metrics.reconcile_failed()
            if isinstance(err, StoreError):
                self._metrics.store_failed()
            raise
        finally:
            self._metrics.reconciled(self._clock.monotonic() - begun)

    async def _reconcile(self, uid: str) -> float | None:
        seen, record = self._objects.get(uid), await self._batches.record_of(uid)
        with logs.about(batch=record.id if record is not None else ""):
            return await self._step_on(uid, seen, record)

    async def _step_on(self, uid: str, seen: BatchTestObject | None, record: BatchRecord | None) -> float | None:
        if record is None:
            return await self._take_in(seen)
        if record.phase.final and not await self._is_open(uid, record.id):
            return await self._finished.tidy(seen, record)
        if seen is None:
            # In no namespace that is watched now: neither there nor gone, as far as is known.
            return None
        batch = await self._batches.open(seen.ref, record.id)
        await self._acceptance.begun(batch)
        return await self._move(batch)

    async def _is_open(self, uid: str, batch_id: str) -> bool:
        return self._batches.by_uid(uid) is not None or not await self._batches.is_released(batch_id)

    async def _take_in(self, seen: BatchTestObject | None) -> float | None:
        if seen is None:
            return None
        if not seen.exists:
            self._objects.forget(seen.ref.uid)
            return None
        if is_settled(seen):
            return await self._finished.settle(seen)
        accepted = await self._acceptance.accept(seen)
        return await self._move(accepted) if isinstance(accepted, ActiveBatch) else accepted

    async def _move(self, batch: ActiveBatch) -> float | None:
        for _ in range(_STEPS_AT_ONCE):
            observation = await self._observe(batch)
            facts = self._facts(batch, observation)
            step = next_step(facts)
            if isinstance(step, Wait):
                if observation is not None and observation.may_begin:
                    await self._begin(batch)
                return await self._tell(batch, step.seconds)
            if isinstance(step, Rest):
                return await self._rest(batch)
            await self._take(batch, step, observation)
            if isinstance(step, Hold):
                return await self._tell(batch, hold_seconds(facts))
            if isinstance(step, Release) and batch.releasing:
                return _GONE_SECONDS
        return 0.0

    async def _observe(self, batch: ActiveBatch) -> Observation | None:
        try:
            return await self._steps.observe(batch)
        except Forbidden:
            if self._is_there(batch):
                raise
            # The right to look went with the namespace, and so did everything in it.
            return None

    async def _take(self, batch: ActiveBatch, step: Step, observation: Observation | None) -> None:
        try:
            await self._steps.take(batch, step, observation)
        except EnvironmentUnavailable as err:
            if isinstance(step, Release) and isinstance(err, Forbidden) and not self._is_there(batch):
                await self._steps.write_off(batch)
                return
            # The end is told once its place is given back, and also if that cannot be done.
            await self._tell(batch, None)
            raise
        if not isinstance(step, Conclude) or batch.environment is None:
            await self._tell(batch, None)

    async def _begin(self, batch: ActiveBatch) -> None:
        try:
            await self._steps.begin_early(batch)
        except EnvironmentUnavailable:
            await self._tell(batch, None)
            raise

    async def _rest(self, batch: ActiveBatch) -> float | None:
        seen = self._objects.get(batch.ref.uid)
        if seen is not None and seen.exists:
            await self._statuses.write(seen, batch, last=True)
        self._batches.forget(batch)
        return await self._finished.tidy(self._objects.get(batch.ref.uid), batch.record)

    async def _tell(self, batch: ActiveBatch, wait: float | None) -> float | None:
        """Write the status if that is due; return the shorter of the two times to come back."""
        seen = self._objects.get(batch.ref.uid)
        if seen is None or not seen.exists:
            return wait
        later = await self._statuses.write(seen, batch)
        known = [seconds for seconds in (wait, later) if seconds is not None]
        return min(known) if known else None

    def _is_there(self, batch: ActiveBatch) -> bool:
        seen = self._objects.get(batch.ref.uid)
        return seen is None or seen.exists

    def _facts(self, batch: ActiveBatch, observation: Observation | None) -> Facts:
        spec, environment, record = batch.loaded.batch.spec, batch.environment, batch.record
        seen, now = self._objects.get(batch.ref.uid), self._clock.now()
        cancel, suspend = (seen.cancel, seen.suspend) if seen is not None else (False, False)
        batch.asked_at = (batch.asked_at or now) if cancel or suspend else None
        return Facts(
            now=now,
            phase=record.phase,
            deadline_at=record.deadline_at,
            open_trials=batch.open_trials,
            environment_seconds=spec.deadlines.environment_seconds,
            grace_seconds=spec.deadlines.grace_seconds,
            exists=seen is None or seen.exists,
            suspend=suspend,
            cancel=cancel,
            attempt=_attempt(environment, batch, observation) if environment is not None else None,
            barren=batch.barren(),
            max_barren=spec.retry.max_attempts,
            retry_seconds=spec.retry.backoff_seconds,
            longest_retry_seconds=spec.retry.backoff_max_seconds,
            listening_since=batch.opened_at,
            reason=record.reason,
            message=record.message,
            amends=bool(batch.loaded.carries_from) and not batch.amended,
            ended_by=ended_by_results(batch),
        )


def _attempt(environment: EnvironmentRecord, batch: ActiveBatch, observation: Observation | None) -> Attempt:
    heard = [moment for moment in (environment.heard_at, batch.heard_at) if moment is not None]
    return Attempt(
        number=environment.attempt,
        requested_at=environment.requested_at,
        ensured=batch.ensured == environment.attempt,
        refused_at=batch.refused_at,
        queued=environment.state is EnvironmentState.QUEUED,
        admitted_at=batch.admitted_at,
        started=environment.started_at is not None,
        ended_at=environment.ended_at,
        released=environment.released_at is not None,
        done=environment.done_stop,
        done_message=environment.message if environment.done_stop is not None else "",
        heard_at=max(heard, default=None),
        asked_at=batch.asked_at,
        seen=Seen(observation.state.value) if observation is not None else None,
        seen_reason=observation.reason if observation is not None else environment.reason,
        seen_message=observation.message if observation is not None else environment.message,
    )
