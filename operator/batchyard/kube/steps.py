"""Does the steps that ``decide.lifecycle`` names: writes down, then acts on the cluster, then tells.

Every step may be done again after a crash at any point of it: names are fixed, and what is written down comes first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from batchyard.apiserver.errors import ApiError
from batchyard.decide.lifecycle import (
    Admit,
    CarryOver,
    Conclude,
    EndAttempt,
    Ensure,
    Hold,
    Provision,
    Queue,
    Release,
    Start,
    Step,
)
from batchyard.engine.cluster_ports import EnvironmentRecord, EnvironmentState
from batchyard.engine.places import Observation, PlaceRequest, PlaceState, place_name
from batchyard.kube.status import KEPT
from batchyard.model.errors import SpecInvalid
from batchyard.model.events import EventType
from batchyard.model.outcome import Phase, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from batchyard.clock import Clock
    from batchyard.engine.places import Place
    from batchyard.kube.batches import ActiveBatch, Batches
    from batchyard.kube.carrying import Carrying
    from batchyard.kube.endings import Endings
    from batchyard.kube.owners import Owners
    from batchyard.kube.sources import Sources
    from batchyard.metrics import Metrics
    from batchyard.model.spec_environment import Provider

_log = structlog.get_logger(__name__)

# A worker asks as soon as it is loaded, which takes a few seconds.
_SILENT_SECONDS = 30.0
_NO_FAILURE = frozenset({Reason.SUSPENDED, Reason.INTERRUPTED, Reason.PREEMPTED})


class Steps:
    """Acts for one batch at a time; the queue never has the same batch worked on twice at once."""

    def __init__(
        self,
        *,
        batches: Batches,
        places: Mapping[Provider, Place],
        sources: Sources,
        endings: Endings,
        carrying: Carrying,
        owners: Owners,
        token: Callable[[str, int], str],
        results_url: str,
        clock: Clock,
        metrics: Metrics,
        recorded: Callable[[], None],
    ) -> None:
        """``recorded`` is told whenever there is an event to post."""
        self._batches, self._places, self._sources = batches, places, sources
        self._endings, self._carrying, self._owners = endings, carrying, owners
        self._token, self._results_url = token, results_url
        self._clock, self._metrics, self._recorded = clock, metrics, recorded

    async def observe(self, batch: ActiveBatch) -> Observation | None:
        """Return what can be seen of the newest place, None if nothing has to be seen. Raises ``ApiError``."""
        environment = batch.environment
        if environment is not None:
            self._owners.add(batch.ref.namespace, environment.name, batch.id)
        if environment is None or environment.ended_at is not None or batch.record.phase.final:
            return None
        if environment.done_stop not in {None, Reason.INTERRUPTED}:
            return None
        seen = await self._place(batch).observe(self._request(batch, environment.attempt), environment.identity)
        if seen.state is PlaceState.ABSENT and batch.refused_at is not None:
            # It is not there because it could not be made; why says more.
            seen = replace(seen, reason=batch.newest.reason, message=batch.newest.message)
        if seen.state in {PlaceState.READY, PlaceState.RUNNING} and not seen.message:
            seen = self._silence(batch, environment, seen)
        _note(batch, seen.reason, seen.message)
        return seen

    def _silence(self, batch: ActiveBatch, environment: EnvironmentRecord, seen: Observation) -> Observation:
        """Return what was seen, with what is to be said of a worker that runs and was never heard."""
        since = environment.started_at
        if since is None or environment.heard_at is not None or batch.heard_at is not None:
            return seen
        if (self._clock.now() - since).total_seconds() < _SILENT_SECONDS:
            return replace(seen, message="the worker starts")
        text = (
            f"{environment.name} runs, but its worker has not asked for its work at {self._results_url}: its pod's log "
            "says why; it may not trust the certificate, a NetworkPolicy may stand between, or the address be wrong"
        )
        return replace(seen, reason="WorkerSilent", message=text)

    async def take(self, batch: ActiveBatch, step: Step, seen: Observation | None) -> None:
        """Do the step. Raises ``EnvironmentUnavailable`` or ``StoreError``; doing it again is safe then."""
        match step:
            case CarryOver():
                await self._carrying.carry_over(batch)
            case Provision(number):
                await self._provision(batch, number)
            case Ensure():
                await self._ensure(batch)
            case Queue():
                await self._queue(batch)
            case Admit():
                await self._admit(batch)
            case Start():
                await self._start(batch, seen)
            case EndAttempt(reason, message):
                await self._end_attempt(batch, reason, message)
            case Conclude(reason, message):
                await self._conclude(batch, reason, message)
            case Release():
                await self._release(batch)
            case Hold():
                await self._hold(batch)
            case _:
                return
        self._recorded()

    # -- a place begins ----------------------------------------------------------------------------------------

    async def _provision(self, batch: ActiveBatch, number: int) -> None:
        provider = batch.loaded.batch.spec.environment.provider
        environment = EnvironmentRecord(
            batch_id=batch.id,
            attempt=number,
            provider=provider.value,
            name=place_name(batch.ref, number),
            state=EnvironmentState.REQUESTED,
            requested_at=self._clock.now(),
            finished_at_start=batch.summary.finished,
        )
        text = f"{provider} {environment.name}" + (f", attempt {number}" if number > 1 else "")
        async with batch.lock:
            # What is known of the place before says nothing of this one; nor does who was heard from it.
            batch.running, batch.heard_at, batch.refused_at, batch.admitted_at = 0, None, None, None
            entry = self._batches.entry(batch, EventType.ENVIRONMENT_PROVISIONING, text, {"attempt": number})
            update = self._batches.update(batch, Phase.PROVISIONING)
            await self._batches.commit(batch, entries=[entry], environment=environment, update=update)

    async def _ensure(self, batch: ActiveBatch) -> None:
        """Make the place. If that is refused, keep why: it may be all there is to say when its time is over."""
        request = self._request(batch, batch.newest.attempt)
        await self._batches.check_leading()
        try:
            items = await self._sources.items(batch)
            await self._place(batch).ensure(replace(request, source_items=items))
        except (ApiError, SpecInvalid) as err:
            _log.warning("a place could not be made", batch=batch.id, place=request.name, error=str(err))
            batch.refused_at = self._clock.now()
            reason = err.reason if isinstance(err, ApiError) else Reason.INVALID_SPEC
            _note(batch, reason or "Refused", f"{request.name} could not be made: {err}")
        else:
            batch.ensured, batch.refused_at = request.attempt, None

    async def _queue(self, batch: ActiveBatch) -> None:
        async with batch.lock:
            if batch.newest.heard_at is not None:
                return  # its worker was quicker
            place = replace(batch.newest, state=EnvironmentState.QUEUED)
            details = {"attempt": place.attempt}
            entry = self._batches.entry(batch, EventType.ENVIRONMENT_QUEUED, place.message, details)
            await self._batches.commit(batch, entries=[entry], environment=place)

    async def _admit(self, batch: ActiveBatch) -> None:
        async with batch.lock:
            if batch.newest.state is not EnvironmentState.QUEUED:
                return  # its worker was quicker
            place = replace(batch.newest, state=EnvironmentState.REQUESTED)
            await self._batches.commit(batch, entries=[self._batches.admitted_entry(batch, place)], environment=place)

    async def _start(self, batch: ActiveBatch, seen: Observation | None) -> None:
        environment = batch.newest
        identity = seen.identity if seen is not None else ""
        async with batch.lock:
            # A worker in a pod of its own may have sent something already.
            known = batch.newest
            if known.ready_at is None:
                ready = replace(known, state=EnvironmentState.READY, identity=identity, reason="", message="")
                await self._batches.commit(batch, environment=ready)
        await self._batches.check_leading()
        await self._place(batch).start(self._request(batch, environment.attempt))
        async with batch.lock:
            current = batch.newest
            started = replace(current, started_at=self._clock.now(), identity=current.identity or identity)
            await self._batches.commit(batch, environment=started)

    async def begin_early(self, batch: ActiveBatch) -> None:
        """Start the worker of a place that is not there yet: nothing is told of it, and it gets no manifest so far."""
        await self._batches.check_leading()
        await self._place(batch).start(self._request(batch, batch.newest.attempt))

    # -- a place ends ------------------------------------------------------------------------------------------

    async def _end_attempt(self, batch: ActiveBatch, reason: str, message: str) -> None:
        environment = batch.newest
        async with batch.lock:
            ended = replace(
                batch.newest,
                state=EnvironmentState.ENDED,
                ended_at=self._clock.now(),
                reason=reason,
                message=message,
            )
            entries = []
            kind = EventType.ENVIRONMENT_PREEMPTED if reason == Reason.PREEMPTED else EventType.ENVIRONMENT_FAILED
            if kind is EventType.ENVIRONMENT_PREEMPTED or reason not in _NO_FAILURE:
                details = {"attempt": environment.attempt, "reason": reason}
                entries = [self._batches.entry(batch, kind, message, details)]
            batch.running = 0
            await self._batches.commit(batch, entries=entries, environment=ended)
        self._measure(environment, "Abandoned" if reason in _NO_FAILURE else "Failed", batch.admitted_at)

    async def _conclude(self, batch: ActiveBatch, reason: str, message: str) -> None:
        environment = batch.environment
        await self._endings.conclude(batch, reason, message)
        if environment is not None and environment.ended_at is None:
            late = reason == Reason.ENVIRONMENT_DEADLINE_EXCEEDED
            self._measure(environment, "DeadlineExceeded" if late else "Abandoned", batch.admitted_at)

    def _measure(self, environment: EnvironmentRecord, outcome: str, since: datetime | None) -> None:
        """Measure a place that ended before it was ever ready; ``since`` a queue let it be made, if there was one."""
        if environment.ready_at is None:
            took = (self._clock.now() - (since or environment.requested_at)).total_seconds()
            self._metrics.environment_provisioned(environment.provider, outcome, took)

    async def _release(self, batch: ActiveBatch) -> None:
        environment = batch.newest
        if self._is_kept(batch):
            text = f"{environment.name} is kept for inspection (keepOnFailure)"
            await self._write_released(batch, text, reason=KEPT, message=text)
            return
        await self._batches.check_leading()
        gone = await self._place(batch).release(self._request(batch, environment.attempt))
        batch.releasing = True
        if gone:
            text = f"{environment.provider} {environment.name}"
            await self._write_released(batch, text, reason=environment.reason, message=environment.message)

    async def write_off(self, batch: ActiveBatch) -> None:
        """Note that the newest place went with its namespace, which nobody may look into any more."""
        environment = batch.newest
        text = f"{environment.provider} {environment.name} went with namespace {batch.ref.namespace}"
        await self._write_released(batch, text, reason=environment.reason, message=environment.message)
        self._recorded()

    async def _write_released(self, batch: ActiveBatch, text: str, *, reason: str, message: str) -> None:
        async with batch.lock:
            environment, now = batch.newest, self._clock.now()
            released = replace(
                environment,
                state=EnvironmentState.RELEASED,
                released_at=now,
                ended_at=environment.ended_at or now,
                reason=reason,
                message=message,
            )
            entry = self._batches.entry(batch, EventType.ENVIRONMENT_RELEASED, text, {"attempt": environment.attempt})
            await self._batches.commit(batch, entries=[entry], environment=released, last=batch.record.phase.final)
        batch.releasing = False

    def _is_kept(self, batch: ActiveBatch) -> bool:
        kube_ray = batch.loaded.batch.spec.environment.kube_ray
        return kube_ray is not None and kube_ray.keep_on_failure and batch.record.phase is Phase.FAILED

    async def _hold(self, batch: ActiveBatch) -> None:
        if batch.record.phase is Phase.SUSPENDED:
            return
        text = f"suspended with {batch.summary.finished} of {batch.record.total} trials finished"
        async with batch.lock:
            entry = self._batches.entry(batch, EventType.BATCH_SUSPENDED, text)
            update = self._batches.update(batch, Phase.SUSPENDED, Reason.SUSPENDED, text)
            await self._batches.commit(batch, entries=[entry], update=update)

    # -- what a place needs to know ----------------------------------------------------------------------------

    def _place(self, batch: ActiveBatch) -> Place:
        return self._places[batch.loaded.batch.spec.environment.provider]

    def _request(self, batch: ActiveBatch, attempt: int) -> PlaceRequest:
        return PlaceRequest(
            batch_id=batch.id,
            ref=batch.ref,
            attempt=attempt,
            name=place_name(batch.ref, attempt),
            batch=batch.loaded.batch,
            token=self._token(batch.id, attempt),
            results_url=self._results_url,
            source_items=None,
            deadline_at=batch.record.deadline_at,
        )


def _note(batch: ActiveBatch, reason: str, message: str) -> None:
    """Keep what was seen of the newest place for the status; it is written down with the next change."""
    # A worker may have sent something while the place was looked at: that is newer, and its last word is final.
    newest = batch.newest
    if newest.done_stop is None and (newest.reason, newest.message) != (reason, message):
        batch.environments[-1] = replace(newest, reason=reason, message=message)
