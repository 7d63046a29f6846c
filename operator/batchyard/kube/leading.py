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
from batchyard.environments.kube_job import JobPlace
from batchyard.environments.kuberay import KubeRayPlace
from batchyard.environments.manifests import Defaults
from batchyard.kube.acceptance import Acceptance
from batchyard.kube.batches import Batches
from batchyard.kube.endings import Endings
from batchyard.kube.finished import Finished
from batchyard.kube.handlers import registry_of, watch
from batchyard.kube.health import Part
from batchyard.kube.intake import WorkerIntake, token_of
from batchyard.kube.mirror import EventMirror
from batchyard.kube.objects import GROUP_VERSION, PLURAL, Objects
from batchyard.kube.orphans import OrphanSweeper
from batchyard.kube.owners import Owners
from batchyard.kube.queue import WorkQueue
from batchyard.kube.read_access import publish_read_access, read_token_of
from batchyard.kube.reconciler import Reconciler
from batchyard.kube.recorder import OutboxPublisher
from batchyard.kube.sources import Sources
from batchyard.kube.statuses import StatusWriter
from batchyard.kube.steps import Steps
from batchyard.metrics import StateSnapshot
from batchyard.model.errors import StaleLeader
from batchyard.model.spec_environment import Provider

if TYPE_CHECKING:
    from batchyard.apiserver.client import ApiClient
    from batchyard.clock import Clock
    from batchyard.engine.cluster_ports import ClusterStore
    from batchyard.engine.places import Place
    from batchyard.kube.lease import LeaseLock
    from batchyard.kube.serving import Serving
    from batchyard.kube.settings import OperatorSettings

_log = structlog.get_logger(__name__)

_BEAT_SECONDS = 1.0


class Leading:
    """One term of leadership."""

    def __init__(
        self,
        settings: OperatorSettings,
        api: ApiClient,
        store: ClusterStore,
        lease: LeaseLock,
        serving: Serving,
        clock: Clock,
        stop: asyncio.Event,
    ) -> None:
        """Take over from any earlier leader: from here on the store refuses its writes."""
        self._settings, self._api, self._lease, self._serving = settings, api, lease, serving
        self._clock, self._stop = clock, stop
        epoch = store.take_leadership(settings.identity, clock.now())
        self._store = store.fenced(epoch)
        _log.info("leading", identity=settings.identity, epoch=epoch)
        self._wire()

    def _wire(self) -> None:
        settings, api, clock = self._settings, self._api, self._clock
        metrics, key = self._serving.metrics, self._serving.key
        self._owners = Owners()
        self._objects = Objects()
        self._batches = Batches(self._store, Owner(config.host_name(), os.getpid(), settings.identity), clock, metrics)
        self._queue = WorkQueue(self._reconcile, clock, fatal=StaleLeader)
        self._publisher = OutboxPublisher(
            self._store, api, clock, metrics, in_thread=self._batches.threads, instance=settings.identity,
            health=self._serving.health,
        )  # fmt: skip
        statuses = StatusWriter(api, self._objects, clock)
        defaults = Defaults(
            image=settings.runner_image, ray_version=settings.ray_version, pull_policy=settings.image_pull_policy
        )
        places: dict[Provider, Place] = {
            Provider.IN_PROCESS: JobPlace(api, defaults, clock),
            Provider.KUBE_RAY: KubeRayPlace(api, defaults, clock),
        }
        acceptance = Acceptance(api, self._batches, self._objects, statuses, clock, self._publisher.wake)
        endings = Endings(self._batches, clock, metrics)
        steps = Steps(
            batches=self._batches,
            places=places,
            sources=Sources(api),
            endings=endings,
            owners=self._owners,
            token=lambda batch_id, attempt: token_of(key, batch_id, attempt),
            results_url=settings.results_url,
            clock=clock,
            metrics=metrics,
            recorded=self._publisher.wake,
        )
        self._reconciler = Reconciler(
            batches=self._batches,
            objects=self._objects,
            acceptance=acceptance,
            steps=steps,
            finished=Finished(api, self._batches, self._objects, statuses, clock),
            statuses=statuses,
            clock=clock,
            metrics=metrics,
        )
        self._intake = WorkerIntake(self._batches, self._objects, key, clock, metrics, self._wake)
        self._sweeper = OrphanSweeper(self._batches, places.values(), settings.namespaces, self._publisher.wake)
        self._mirror = EventMirror(
            self._store, api, clock, metrics, namespaces=settings.namespaces, owner_of=self._owners.batch_of,
            woken=self._wake_batch, in_thread=self._batches.threads, health=self._serving.health,
        )  # fmt: skip

    async def run(self) -> None:
        """Lead until told to stop. Raises an exception group if anything of it ends by an error."""
        await self._look_at_everything()
        settings, token = self._settings, read_token_of(self._serving.key)
        await publish_read_access(self._api, settings.namespace, token, settings.results_url)
        self._serving.metrics.set_state_source(self._snapshot)
        self._serving.intake.leading = self._intake
        registry = registry_of(self._objects, self._queue, self._heard)
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [
                    group.create_task(work, name=name)
                    for name, work in (
                        ("queue", self._queue.run()),
                        ("lease", self._lease.keep()),
                        ("outbox", self._publisher.run()),
                        ("mirror", self._mirror.run()),
                        ("sweeper", self._sweeper.run()),
                        ("health", self._beat()),
                    )
                ]
                await watch(registry, self._settings.namespaces, self._stop)
                for helper in helpers:
                    helper.cancel()
        finally:
            self._serving.intake.leading = None

    async def _look_at_everything(self) -> None:
        """Know every BatchTest, and every batch the store has open, before anything new is heard."""
        for namespace in self._settings.namespaces or (None,):
            async for body in self._api.list(GROUP_VERSION, PLURAL, namespace):
                self._queue.add(self._objects.see(body).ref.uid)
        for _, ref in await self._batches.threads(self._store.open_batches):
            if self._objects.get(ref.uid) is None and self._is_watched(ref.namespace):
                self._objects.lose(ref)
            self._queue.add(ref.uid)
        self._heard()

    def _is_watched(self, namespace: str) -> bool:
        return not self._settings.namespaces or namespace in self._settings.namespaces

    async def _reconcile(self, uid: str) -> float | None:
        return await self._reconciler.reconcile(uid)

    def _wake(self, uid: str) -> None:
        self._queue.add(uid)
        self._publisher.wake()

    def _wake_batch(self, batch_id: str) -> None:
        batch = self._batches.known(batch_id)
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
        open_batches = self._batches.all()
        running: Counter[str] = Counter()
        places: Counter[tuple[str, str]] = Counter()
        for batch in open_batches:
            place = batch.environment
            if place is not None:
                places[place.provider, place.state.value] += 1
                if place.ended_at is None:
                    running["Ray" if place.provider == Provider.KUBE_RAY else "Threads"] += batch.running
        age = self._serving.health.age(Part.WATCH)
        return StateSnapshot(
            batches=Counter(str(seen.status.get("phase") or "Pending") for seen in self._objects if seen.exists),
            trials_running=running,
            trials_pending=sum(max(0, batch.open_trials - batch.running) for batch in open_batches),
            environments=places,
            outbox_pending=pending,
            outbox_oldest_seconds=(self._clock.now() - oldest).total_seconds() if oldest else 0.0,
            reconcile_queue_depth=self._queue.depth,
            watch_last_event_age_seconds=age,
        )
