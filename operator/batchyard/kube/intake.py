"""Takes in what workers send: their first question, their segments, their heartbeats. Implements ``kube.http.Intake``.

Not for HTTP (``kube.http``) nor for what follows from a result (``kube.reconciler``).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from batchyard.decide.budgets import KIND_OF, Ledger
from batchyard.decide.prefixes import own_part, own_seconds
from batchyard.engine.carrying import origin_of
from batchyard.engine.cluster_ports import EnvironmentState
from batchyard.engine.forks import forks_of
from batchyard.engine.looking import ends_once_decided
from batchyard.judge.comparison import earned
from batchyard.kube.body_budget import LATE, shares_of
from batchyard.kube.http import Busy, OutOfOrder, Superseded, TooEarly
from batchyard.model.errors import SegmentOutOfOrder
from batchyard.model.events import EventType
from batchyard.model.outcome import Outcome, Phase, Reason
from batchyard.model.spec_environment import Provider
from batchyard.model.usage import Usage
from batchyard.model.wire import PROTOCOL, Directive, Manifest, Receipt, WireInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from batchyard.clock import Clock
    from batchyard.engine.cluster_ports import EnvironmentRecord
    from batchyard.kube.batches import ActiveBatch, Batches
    from batchyard.kube.body_budget import Shares
    from batchyard.kube.objects import Objects
    from batchyard.metrics import Metrics
    from batchyard.model.audit import AuditEntry
    from batchyard.model.matrix import Plan
    from batchyard.model.trial import AttemptResult
    from batchyard.model.wire import Done, Segment

_RETRY_SECONDS = 2.0
_FAULTS_TOLD = 10
# The newest segment of a place that was told to be late: none that can be sent comes after it.
_LAST_SEGMENT = 999_999_999
_FAULT_CHARACTERS = 1000
_SCOPE_OF: Mapping[str, str] = {
    Reason.BATCH_DEADLINE_EXCEEDED: "batch",
    Reason.NODE_DEADLINE_EXCEEDED: "node",
    Reason.IDLE_DEADLINE_EXCEEDED: "idle",
}


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

    async def manifest(self, batch_id: str, attempt: int, pod: str) -> Manifest:
        """Return what the attempt has to do.

        Raises ``Superseded``, ``Busy`` before the batch was looked at, and ``TooEarly`` while its place gets ready.
        """
        batch = await self._batch(batch_id)
        async with batch.lock:
            environment = self._current(batch, attempt)
            if environment.provider == Provider.KUBE_RAY and environment.started_at is None:
                # Its driver may be there before its workers are.
                raise TooEarly(f"place {attempt} of batch {batch_id} is not ready yet")
            if pod and not _is_in(pod, environment):
                # A head that was replaced, and does not know it yet, has a driver too.
                raise Superseded(f"place {attempt} of batch {batch_id} has another head by now")
            if environment.segments:
                # Two that number their segments alike would overwrite each other's.
                raise Superseded(f"place {attempt} of batch {batch_id} has a worker already; this one can end")
            full = await self._batches.threads(lambda: self._batches.store.batch(batch_id))
            made = await self._batches.threads(lambda: dict(self._batches.store.attempts_made(batch_id)))
            errors = await self._batches.threads(lambda: self._errors(batch_id))
            forks = await self._batches.threads(lambda: self._forks(batch))
            used = await self._batches.threads(lambda: self._used(batch))
            came_to = await self._batches.threads(lambda: self._came_to(batch))
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
            used=used,
            runner="Ray" if environment.provider == Provider.KUBE_RAY else "Threads",
            forks=forks,
            came_to=came_to,
        )

    async def account(self, batch_id: str, attempt: int) -> Shares:
        """Return on whose accounts a segment is read. Raises ``Superseded`` if it is not even told of, ``Busy``."""
        try:
            batch = await self._batch(batch_id)
            self._current(batch, attempt)
        except Superseded:
            known = self._batches.known(batch_id)
            places = known.environments if known is not None else await self._places(batch_id)
            if not any(place.attempt == attempt and place.segments < _LAST_SEGMENT for place in places):
                raise
            return LATE
        return shares_of(batch.ref.namespace, batch_id)

    async def segment(self, batch_id: str, attempt: int, seq: int, segment: Segment) -> Receipt:
        """Write a segment down. Raises ``Superseded``, ``OutOfOrder`` for a gap, ``Busy``, ``WireInvalid``."""
        try:
            batch = await self._batch(batch_id)
        except Superseded:
            await self._record_after_the_end(batch_id, attempt, seq, segment)
            raise
        async with batch.lock:
            try:
                environment = self._current(batch, attempt)
            except Superseded:
                await self._record_superseded(batch, attempt, seq, segment)
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
        _check_against_plan(batch, environment.attempt, segment)
        self._hear(batch, segment.running)
        now = self._clock.now()
        changed = replace(environment, segments=seq, heard_at=now, state=EnvironmentState.RUNNING)
        entries = list(segment.entries)
        if environment.ready_at is None:
            # Only now: a place whose worker cannot reach this operator is of no use.
            changed = replace(changed, ready_at=now)
            queued = environment.state is EnvironmentState.QUEUED
            admitted = [self._batches.admitted_entry(batch, changed)] if queued else []
            entries[:0] = [*admitted, self._batches.ready_entry(batch, changed)]
        if segment.done is not None:
            changed = replace(changed, done_stop=segment.done.stop, message=_words_of(segment.done))
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
            batch.summary.retried -= segment.retried
            raise OutOfOrder(err.next) from err
        # A worker's first word: what another place left running went with it.
        batch.abandoned = segment.abandoned + (0 if segment.hello is not None else batch.abandoned)
        again = set(left_out)
        late = [result for result, _ in segment.results if (result.ordinal, result.attempt) in again]
        if late:
            await self._batches.commit(batch, entries=[self._late_entry(batch, late, environment.attempt)])
        self._count(segment, batch.runner_name)

    def _count(self, segment: Segment, runner: str) -> None:
        for result, final in segment.results:
            self._metrics.trial_ended(runner, result.outcome, own_seconds(result))
            ran = own_part(result)
            for boundary in ran:
                self._metrics.node_ended(boundary.duration_seconds)
            written = sum(boundary.exit_checkpoint is not None for boundary in ran)
            self._metrics.checkpoints_written(written)
            if result.outcome is Outcome.TIMED_OUT:
                self._metrics.deadline_exceeded(_SCOPE_OF.get(result.reason, "trial"))
            if (kind := KIND_OF.get(result.reason)) is not None:
                self._metrics.budget_exceeded("trial", kind)
            if result.outcome is Outcome.ERRORED and not final:
                self._metrics.trial_retried(result.reason)
        for entry in segment.entries:
            if entry.type is EventType.BUDGET_EXCEEDED:
                self._metrics.budget_exceeded("batch", str(entry.details.get("kind")))
        for signal, count in segment.kills.items():
            self._metrics.killed(f"SIG{signal}", count)
        for scope, seconds in segment.overruns:
            self._metrics.deadline_overrun(scope, seconds)

    # -- what comes too late -----------------------------------------------------------------------------------

    async def _record_after_the_end(self, batch_id: str, attempt: int, seq: int, segment: Segment) -> None:
        """Tell of results for a batch that is over and put away; it is opened again for that, and closed."""
        places = await self._places(batch_id)
        if not _is_late_news(places, attempt, seq, segment):
            return
        batch = await self._batches.open(await self._batches.ref_of(batch_id), batch_id)
        try:
            async with batch.lock:
                await self._record_superseded(batch, attempt, seq, segment)
        finally:
            if all(place.state is EnvironmentState.RELEASED for place in places):
                await self._batches.close(batch)  # else there is more to do for it, and who does that closes it

    async def _record_superseded(self, batch: ActiveBatch, attempt: int, seq: int, segment: Segment) -> None:
        """Tell of results of a place that is not the current one, once a place: what was taken before is not late."""
        places = batch.environments
        if not _is_late_news(places, attempt, seq, segment):
            return
        (place,) = (place for place in places if place.attempt == attempt)
        told = replace(place, segments=_LAST_SEGMENT)
        try:
            _check_against_plan(batch, attempt, segment)
        except WireInvalid:
            await self._batches.commit(batch, environment=told)
            raise
        entry = self._late_entry(batch, [result for result, _ in segment.results], attempt)
        await self._batches.commit(batch, entries=[entry], environment=told)

    async def _places(self, batch_id: str) -> Sequence[EnvironmentRecord]:
        return await self._batches.threads(lambda: self._batches.store.environments(batch_id))

    def _late_entry(self, batch: ActiveBatch, late: Sequence[AttemptResult], attempt: int) -> AuditEntry:
        """Return one entry, whatever the number of results."""
        some = ", ".join(f"{result.trial_id}#{result.attempt} ({result.outcome})" for result in late[:5])
        what = f"{len(late)} results" if len(late) > 1 else "a result"
        text = f"{what} of place {attempt} came too late, and nothing changes: {some}"
        details = {"count": len(late), "environmentAttempt": attempt}
        return self._batches.entry(batch, EventType.LATE_RESULT, text, details)

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
        # In Evaluating it is being ended: a crash came while the trials that were not run were written down.
        if batch.record.phase.final or batch.record.phase is Phase.EVALUATING:
            raise Superseded(f"batch {batch.id} is over; this worker can end")
        return environment

    def _hear(self, batch: ActiveBatch, running: int) -> None:
        # What a pod says is a number for people, and must not be one that makes no sense.
        batch.running = min(running, batch.loaded.batch.spec.parallelism, batch.open_trials)
        batch.heard_at = self._clock.now()

    def _directive(self, batch: ActiveBatch) -> Directive:
        seen = self._objects.get(batch.ref.uid)
        if seen is None:
            return Directive.NONE
        if seen.cancel or not seen.exists:
            return Directive.CANCEL
        return Directive.SUSPEND if seen.suspend else Directive.NONE

    def _forks(self, batch: ActiveBatch) -> dict[int, tuple[str, str, str]]:
        """Return where each open trial begins, if the batch is a fork."""
        found = forks_of(self._batches.store, batch.record.name, batch.loaded)
        if found is None:
            return {}
        points = {ordinal: found.point(ordinal) for ordinal, final in enumerate(batch.final) if not final}
        return {ordinal: (point.trial_id, point.thread_id, point.checkpoint) for ordinal, point in points.items()}

    def _used(self, batch: ActiveBatch) -> dict[str, float]:
        """Return what earlier places used of the batch's budget, if it has one; what was tried again cost money too."""
        budgets = batch.loaded.batch.spec.budgets
        if budgets is None or not budgets.batch.allowance():
            return {}
        results = self._batches.store.results(batch.id, final_only=False)
        # What was carried over, the batch that ran it has paid for.
        return _used_of(result for result in results if not (batch.loaded.carries_from and origin_of(result, batch.id)))

    def _came_to(self, batch: ActiveBatch) -> dict[int, tuple[Outcome, float | None]]:
        """Return what the finished trials came to, if the batch ends once its comparison is decided."""
        if not ends_once_decided(batch.loaded.batch.spec):
            return {}
        return {result.ordinal: (result.outcome, earned(result)) for result in self._batches.store.results(batch.id)}

    def _errors(self, batch_id: str) -> dict[int, int]:
        found: dict[int, int] = {}
        for result in self._batches.store.results(batch_id, final_only=False, outcomes=[Outcome.ERRORED]):
            found[result.ordinal] = found.get(result.ordinal, 0) + 1
        return found


def _used_of(results: Iterable[AttemptResult]) -> dict[str, float]:
    ledger = Ledger()
    for result in results:
        ledger.ended(result.ordinal, Usage.of(result.metrics))
    return asdict(ledger.total)


def _is_in(pod: str, environment: EnvironmentRecord) -> bool:
    """Return whether a place's driver is in this pod: its identity ends with the uid of its head's."""
    _, known, uid = environment.identity.rpartition("@")
    return not known or uid == pod


def _is_late_news(places: Sequence[EnvironmentRecord], attempt: int, seq: int, segment: Segment) -> bool:
    """Return whether a segment of a place that is of no use any more holds results that were never seen."""
    return bool(segment.results) and any(place.attempt == attempt and seq > place.segments for place in places)


def _check_against_plan(batch: ActiveBatch, attempt: int, segment: Segment) -> None:
    """Raise ``WireInvalid`` for a result of a trial, or an entry of a batch, that is not this one's."""
    seen: set[tuple[int, int]] = set()
    final: set[int] = set()
    for result, is_final in segment.results:
        if not _is_of(batch.loaded.plan, attempt, result):
            raise WireInvalid(
                f"segment.results: batch {batch.id} has no trial {result.trial_id} ({result.ordinal}) like this one"
            )
        if (result.ordinal, result.attempt) in seen or (is_final and result.ordinal in final):
            raise WireInvalid(f"segment.results: trial {result.trial_id} ends twice")
        if result.outcome is Outcome.NOT_RUN:
            raise WireInvalid(f"segment.results: that trial {result.trial_id} was not run is not a worker's to tell")
        seen.add((result.ordinal, result.attempt))
        if is_final:
            final.add(result.ordinal)
    for entry in segment.entries:
        if entry.batch_id != batch.id:
            raise WireInvalid(f"segment.entries: an entry is of batch {entry.batch_id}, not of {batch.id}")


def _is_of(plan: Plan, attempt: int, result: AttemptResult) -> bool:
    """Return whether the result is of a trial of the plan, run in this place."""
    if result.ordinal >= len(plan):
        return False
    trial = plan.trial(result.ordinal)
    expected = (trial.id, trial.combination.name, trial.case.name, trial.repeat, trial.case.weight, attempt)
    told = (result.trial_id, result.combination, result.case, result.repeat, result.weight, result.epoch)
    return told == expected


def _words_of(done: Done) -> str:
    """Return a worker's last words as they fit into a status."""
    some = "; ".join(str(fault)[:_FAULT_CHARACTERS] for fault in done.faults[:_FAULTS_TOLD])
    more = len(done.faults) - _FAULTS_TOLD
    return (some + (f"; and {more} more" if more > 0 else "")) or done.message[:_FAULT_CHARACTERS]
