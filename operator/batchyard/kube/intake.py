"""Takes in what workers send: their first question, their segments, their heartbeats. Implements ``kube.http.Intake``.

Not for HTTP (``kube.http``) nor for what follows from a result (``kube.reconciler``).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from typing import TYPE_CHECKING

from batchyard.engine.cluster_ports import EnvironmentState
from batchyard.kube.http import Busy, OutOfOrder, Superseded
from batchyard.model.errors import SegmentOutOfOrder
from batchyard.model.events import EventType
from batchyard.model.outcome import Outcome, Phase
from batchyard.model.spec_environment import Provider
from batchyard.model.wire import PROTOCOL, Directive, Manifest, Receipt, WireInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchyard.clock import Clock
    from batchyard.engine.cluster_ports import EnvironmentRecord
    from batchyard.kube.batches import ActiveBatch, Batches
    from batchyard.kube.objects import Objects
    from batchyard.metrics import Metrics
    from batchyard.model.trial import AttemptResult
    from batchyard.model.wire import Segment

_STATUS_SECONDS = 2.0
_NOTED_SECONDS = 30.0
_RETRY_SECONDS = 2.0


def token_of(key: bytes, batch_id: str, attempt: int) -> str:
    """Return the bearer token of one attempt: HMAC-SHA256 (RFC 2104) with the store's key, as hex."""
    return hmac.new(key, f"{batch_id}/{attempt}".encode(), hashlib.sha256).hexdigest()


class WorkerIntake:
    """Answers the workers of the batches that this operator, the leader, has open."""

    def __init__(
        self,
        batches: Batches,
        objects: Objects,
        key: bytes,
        clock: Clock,
        metrics: Metrics,
        wake: Callable[[str], None],
    ) -> None:
        """``wake`` has a BatchTest, named by its uid, looked at soon."""
        self._batches, self._objects = batches, objects
        self._key, self._clock, self._metrics, self._wake = key, clock, metrics, wake

    def token_ok(self, batch_id: str, attempt: int, token: str) -> bool:
        """Return whether the token is that of this attempt, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(token_of(self._key, batch_id, attempt), token)

    async def manifest(self, batch_id: str, attempt: int) -> Manifest:
        """Return what the attempt has to do. Raises ``Superseded``, or ``Busy`` before the batch was looked at."""
        batch = await self._batch(batch_id)
        async with batch.lock:
            environment = self._current(batch, attempt)
            full = await self._batches.threads(lambda: self._batches.store.batch(batch_id))
            made = await self._batches.threads(lambda: dict(self._batches.store.attempts_made(batch_id)))
            errors = await self._batches.threads(lambda: self._errors(batch_id))
            batch.heard_at = self._clock.now()
        open_errors = {ordinal: count for ordinal, count in errors.items() if not batch.final[ordinal]}
        return Manifest(
            protocol=PROTOCOL,
            batch_id=batch_id,
            name=batch.record.name,
            attempt=attempt,
            document=full.spec,
            deadline_at=batch.record.deadline_at,
            finished=batch.finished_ranges(),
            attempts=made,
            errors=open_errors,
            runner="Ray" if environment.provider == Provider.KUBE_RAY else "Threads",
        )

    async def segment(self, batch_id: str, attempt: int, seq: int, segment: Segment) -> Receipt:
        """Write a segment down. Raises ``Superseded``, ``OutOfOrder`` for a gap, ``Busy``."""
        batch = await self._batch(batch_id)
        async with batch.lock:
            try:
                environment = self._current(batch, attempt)
            except Superseded:
                await self._record_late(batch, segment.results, attempt)
                raise
            if seq <= environment.segments:
                return Receipt(environment.segments + 1, self._directive(batch))
            await self._take(batch, environment, seq, segment)
        if segment.done is not None or segment.hello is not None or not batch.open_trials:
            self._wake(batch.ref.uid)
        return Receipt(seq + 1, self._directive(batch))

    async def heartbeat(self, batch_id: str, attempt: int, running: int) -> Directive:
        """Note that the worker lives. Raises ``Superseded``, ``Busy``."""
        batch = await self._batch(batch_id)
        self._current(batch, attempt)
        self._hear(batch, running)
        return self._directive(batch)

    # -- one segment -------------------------------------------------------------------------------------------

    async def _take(self, batch: ActiveBatch, environment: EnvironmentRecord, seq: int, segment: Segment) -> None:
        _check_against_plan(batch, segment)
        self._hear(batch, segment.running)
        now = self._clock.now()
        changed = replace(environment, segments=seq, heard_at=now, state=EnvironmentState.RUNNING)
        entries = list(segment.entries)
        if environment.ready_at is None:
            # The worker was quicker than the next look at its place.
            changed = replace(changed, ready_at=now)
            entries.insert(0, self._batches.ready_entry(batch, changed))
        if segment.done is not None:
            faults = "; ".join(str(fault) for fault in segment.done.faults)
            changed = replace(changed, done_stop=segment.done.stop, message=faults or segment.done.message)
        batch.summary.retried += segment.retried
        update = None if batch.record.phase.final else self._batches.update(batch, Phase.RUNNING, started=True)
        try:
            left_out = await self._batches.commit(
                batch,
                entries=entries,
                results=segment.results,
                dropped=segment.dropped,
                environment=changed,
                segment=(environment.attempt, seq),
                update=update,
            )
        except SegmentOutOfOrder as err:
            raise OutOfOrder(err.next) from err
        again = set(left_out)
        await self._record_late(
            batch,
            [pair for pair in segment.results if (pair[0].ordinal, pair[0].attempt) in again],
            environment.attempt,
        )
        self._count(segment, batch.runner_name)

    def _count(self, segment: Segment, runner: str) -> None:
        for result, _ in segment.results:
            self._metrics.trial_ended(runner, result.outcome, result.duration_seconds)
            for boundary in result.boundaries:
                self._metrics.node_ended(boundary.duration_seconds)
            if result.outcome is Outcome.TIMED_OUT:
                self._metrics.deadline_exceeded("node" if result.reason.startswith("Node") else "trial")
        for signal, count in segment.kills.items():
            self._metrics.killed(signal, count)
        for scope, seconds in segment.overruns:
            self._metrics.deadline_overrun(scope, seconds)

    async def _record_late(
        self, batch: ActiveBatch, results: Sequence[tuple[AttemptResult, bool]], attempt: int
    ) -> None:
        """Tell of results that change nothing any more: one entry, whatever their number."""
        late = [result for result, _ in results if result.outcome is not Outcome.NOT_RUN]
        if not late:
            return
        some = ", ".join(f"{result.trial_id}#{result.attempt} ({result.outcome})" for result in late[:5])
        text = f"{len(late)} results of place {attempt} came too late and change nothing: {some}"
        details = {"count": len(late), "environmentAttempt": attempt}
        await self._batches.commit(batch, entries=[self._batches.entry(batch, EventType.LATE_RESULT, text, details)])

    # -- which batch, which attempt ----------------------------------------------------------------------------

    async def _batch(self, batch_id: str) -> ActiveBatch:
        batch = self._batches.known(batch_id)
        if batch is not None:
            return batch
        # The token is right, so there is or was such a batch: it is over, or this operator has just begun.
        record = await self._batches.threads(lambda: self._batches.store.batch(batch_id))
        if record.phase.final:
            raise Superseded(f"batch {batch_id} is over; this worker can end")
        raise Busy(_RETRY_SECONDS)

    def _current(self, batch: ActiveBatch, attempt: int) -> EnvironmentRecord:
        environment = batch.environment
        if environment is None or environment.attempt != attempt or environment.ended_at is not None:
            raise Superseded(f"place {attempt} of batch {batch.id} is not the current one; this worker can end")
        if batch.record.phase.final:
            raise Superseded(f"batch {batch.id} is over; this worker can end")
        return environment

    def _hear(self, batch: ActiveBatch, running: int) -> None:
        batch.running = running
        batch.heard_at = self._clock.now()

    def _directive(self, batch: ActiveBatch) -> Directive:
        seen = self._objects.get(batch.ref.uid)
        if seen is None:
            return Directive.NONE
        if seen.cancel or not seen.exists:
            return Directive.CANCEL
        return Directive.SUSPEND if seen.suspend else Directive.NONE

    def _errors(self, batch_id: str) -> dict[int, int]:
        found: dict[int, int] = {}
        for result in self._batches.store.results(batch_id, final_only=False, outcomes=[Outcome.ERRORED]):
            found[result.ordinal] = found.get(result.ordinal, 0) + 1
        return found


def _check_against_plan(batch: ActiveBatch, segment: Segment) -> None:
    """Raise ``WireInvalid`` for a result of a trial, or an entry of a batch, that is not this one's."""
    plan = batch.loaded.plan
    for result, _ in segment.results:
        if result.ordinal >= len(plan) or plan.trial(result.ordinal).id != result.trial_id:
            raise WireInvalid(f"segment.results: batch {batch.id} has no trial {result.trial_id} ({result.ordinal})")
    for entry in segment.entries:
        if entry.batch_id != batch.id:
            raise WireInvalid(f"segment.entries: an entry is of batch {entry.batch_id}, not of {batch.id}")
