"""What only the leader does: watch, reconcile, take results in, post events, mirror events, sweep orphans.

Made when leadership is won and gone when it is lost; everything it knows is in the store and the cluster.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from batchyard import config
from batchyard.engine.ports import Owner
from batchyard.kube.assembly import Assembly, places_of
from batchyard.kube.handlers import registry_of
from batchyard.kube.health import Part
from batchyard.kube.mirror import EventMirror
from batchyard.kube.queue import WorkQueue
from batchyard.kube.read_access import read_token_of
from batchyard.kube.upkeep import Upkeep
from batchyard.metrics import StateSnapshot
from batchyard.model.errors import StaleLeader
from batchyard.model.outcome import Phase
from batchyard.model.spec_environment import Provider

if TYPE_CHECKING:
    from batchyard.apiserver.client import ApiClient
    from batchyard.clock import Clock
    from batchyard.engine.cluster_ports import ClusterStore
    from batchyard.kube.handlers import Watch
    from batchyard.kube.lease import LeaseLock
    from batchyard.kube.serving import Serving
    from batchyard.kube.settings import OperatorSettings
    from batchyard.tracing import Traces

_log = structlog.get_logger(__name__)

_BEAT_SECONDS = 1.0


class Leading:
    """One term of leadership."""

    def __init__(
        self,
        settings: OperatorSettings,
        *,
        api: ApiClient,
        store: ClusterStore,
        lease: LeaseLock,
        serving: Serving,
        clock: Clock,
        watch: Watch,
        stop: asyncio.Event,
        traces: Traces,
    ) -> None:
        """Take over from any earlier leader: from here on the store refuses its writes."""
        self._settings, self._api, self._lease, self._serving = settings, api, lease, serving
        self._clock, self._watch, self._stop = clock, watch, stop
        epoch = store.take_leadership(settings.identity, clock.now())
        self._store = store.fenced(epoch)
        _log.info("leading", identity=settings.identity, epoch=epoch)
        self._queue = WorkQueue(self._reconcile, clock, fatal=StaleLeader, about=self._about)
        self._parts = Assembly(
            settings,
            api=api,
            store=self._store,
            places=places_of(settings, api, clock),
            owner=Owner(config.host_name(), os.getpid(), settings.identity),
            clock=clock,
            metrics=serving.metrics,
            health=serving.health,
            wake=self._queue.add,
            heard=self._heard,
            traces=traces,
        )
        self._mirror = EventMirror(
            self._store, api, clock, serving.metrics, namespaces=settings.namespaces,
            owner_of=self._parts.owners.batch_of, woken=self._wake_batch, in_thread=self._parts.batches.threads,
            health=serving.health,
        )  # fmt: skip

    async def run(self) -> None:
        """Lead until told to stop. Raises an exception group if anything of it ends by an error."""
        parts, settings = self._parts, self._settings
        try:
            async with asyncio.TaskGroup() as group:
                # First of all: to look at everything may take longer than the Lease lasts.
                helpers = [group.create_task(self._lease.keep(), name="lease")]
                await parts.inventory.take()
                upkeep = Upkeep(settings, self._api, self._serving.health, read_token_of(self._serving.key))
                await upkeep.look()
                self._serving.metrics.set_state_source(self._snapshot)
                self._serving.metrics.leads(True)
                self._serving.intake.leading = parts.intake
                helpers += [
                    group.create_task(work, name=name)
                    for name, work in (
                        ("queue", self._queue.run()),
                        ("outbox", parts.publisher.run()),
                        ("mirror", self._mirror.run()),
                        ("sweeper", parts.sweeper.run()),
                        ("inventory", parts.inventory.run()),
                        ("retention", parts.retention.run()),
                        ("upkeep", upkeep.run()),
                        ("health", self._beat()),
                    )
                ]
                registry = registry_of(parts.objects, self._queue, self._heard)
                await self._watch(registry, settings.namespaces, self._stop)
                for helper in helpers:
                    helper.cancel()
        finally:
            self._serving.metrics.leads(False)
            self._serving.intake.leading = None

    async def _reconcile(self, uid: str) -> float | None:
        return await self._parts.reconciler.reconcile(uid)

    def _about(self, uid: str) -> dict[str, str]:
        """Return what a log line about a BatchTest says of it."""
        seen, batch = self._parts.objects.get(uid), self._parts.batches.by_uid(uid)
        ref = seen.ref if seen is not None else batch.ref if batch is not None else None
        named = {"namespace": ref.namespace, "name": ref.name} if ref is not None else {}
        return named | ({"batch": batch.id} if batch is not None else {})

    def _wake_batch(self, batch_id: str) -> None:
        batch = self._parts.batches.known(batch_id)
        if batch is not None:
            self._queue.add(batch.ref.uid)

    def _heard(self) -> None:
        self._serving.health.beat(Part.WATCH)

    async def _beat(self) -> None:
        """Say that the parts work that have no voice of their own."""
        health = self._serving.health
        while True:
            if self._clock.monotonic() - self._queue.last_tick < 10 * _BEAT_SECONDS:
                health.beat(Part.RECONCILER)
            await asyncio.sleep(_BEAT_SECONDS)

    def _snapshot(self) -> StateSnapshot:
        """Return how things stand, for a scrape."""
        pending, oldest, _ = self._store.outbox_stats()
        open_batches = self._parts.batches.all()
        running: Counter[str] = Counter()
        places: Counter[tuple[str, str]] = Counter()
        abandoned = 0
        for batch in open_batches:
            place = batch.environment
            if place is not None:
                places[place.provider, place.state.value] += 1
                if place.ended_at is None:
                    running["Ray" if place.provider == Provider.KUBE_RAY else "Threads"] += batch.running
                    abandoned += batch.abandoned
        age = self._serving.health.age(Part.WATCH)
        return StateSnapshot(
            batches=Counter(seen.phase or Phase.PENDING for seen in self._parts.objects if seen.exists),
            trials_running=running,
            trials_pending=sum(max(0, batch.open_trials - batch.running) for batch in open_batches),
            abandoned_workers=abandoned,
            environments=places,
            outbox_pending=pending,
            outbox_oldest_seconds=(self._clock.now() - oldest).total_seconds() if oldest else 0.0,
            reconcile_queue_depth=self._queue.depth,
            watch_last_event_age_seconds=age,
        )
