"""The parts that act on BatchTests, put together for one term of leadership.

Not for what keeps them going: the watch, the queue, the Lease and the ports (``leading``).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from batchyard.environments.deciding import pods_of
from batchyard.environments.kube_job import JobPlace
from batchyard.environments.kuberay import KubeRayPlace
from batchyard.environments.left_out import faults_of_place
from batchyard.environments.manifests import Defaults
from batchyard.kube.acceptance import Acceptance
from batchyard.kube.batches import Batches, in_a_thread
from batchyard.kube.carrying import Carrying
from batchyard.kube.endings import Endings
from batchyard.kube.finished import Finished
from batchyard.kube.intake import WorkerIntake, token_of
from batchyard.kube.inventory import Inventory
from batchyard.kube.objects import Objects
from batchyard.kube.orphans import OrphanSweeper
from batchyard.kube.owners import Owners
from batchyard.kube.reconciler import Reconciler
from batchyard.kube.recorder import InThread, OutboxPublisher
from batchyard.kube.retention import Retention
from batchyard.kube.sources import Sources
from batchyard.kube.statuses import StatusWriter
from batchyard.kube.steps import Steps
from batchyard.kube.twins import Twins
from batchyard.model.spec_environment import Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchyard.apiserver.client import ApiClient
    from batchyard.clock import Clock
    from batchyard.engine.cluster_ports import ClusterStore
    from batchyard.engine.places import Place
    from batchyard.engine.ports import Owner
    from batchyard.kube.health import Health
    from batchyard.kube.settings import OperatorSettings
    from batchyard.metrics import Metrics
    from batchyard.tracing import Traces


def places_of(settings: OperatorSettings, api: ApiClient, clock: Clock) -> dict[Provider, Place]:
    """Return the places that batches can have in a cluster."""
    defaults = _defaults(settings)
    return {
        Provider.IN_PROCESS: JobPlace(api, defaults, clock),
        Provider.KUBE_RAY: KubeRayPlace(api, defaults, clock),
    }


def _defaults(settings: OperatorSettings) -> Defaults:
    return Defaults(
        image=settings.runner_image,
        ray_version=settings.ray_version,
        pull_policy=settings.image_pull_policy,
        env=settings.pod_env,
    )


class Assembly:
    """All of one operator that acts; nothing in it runs by itself. What it knows is in the store and the cluster."""

    def __init__(
        self,
        settings: OperatorSettings,
        *,
        api: ApiClient,
        store: ClusterStore,
        places: Mapping[Provider, Place],
        owner: Owner,
        clock: Clock,
        metrics: Metrics,
        health: Health,
        wake: Callable[[str], None],
        heard: Callable[[], None],
        traces: Traces | None = None,
        in_thread: InThread = in_a_thread,
    ) -> None:
        """``store`` is fenced by this leadership; ``wake`` has a BatchTest, named by its uid, looked at soon.

        ``heard`` is told that the API server said how all BatchTests are.
        """
        self._wake = wake
        key = store.token_key()
        self.owners, self.objects = Owners(), Objects()
        self.batches = Batches(store, owner, clock, metrics, in_thread=in_thread)
        self.publisher = OutboxPublisher(
            store, api, clock, metrics, in_thread=in_thread, instance=settings.identity, health=health
        )
        statuses = StatusWriter(api, self.objects, self.batches, clock)
        twins = Twins(api, self.batches, self.objects, clock, self.publisher.wake)
        self.reconciler = Reconciler(
            batches=self.batches,
            objects=self.objects,
            acceptance=Acceptance(
                api, self.batches, self.objects, statuses, clock, twins=twins, recorded=self.publisher.wake,
                faults_of_place=partial(faults_of_place, defaults=_defaults(settings)),
                pods_of=partial(pods_of, defaults=_defaults(settings)),
            ),
            steps=Steps(
                batches=self.batches, places=places, sources=Sources(api), owners=self.owners, clock=clock,
                endings=Endings(self.batches, clock, metrics, traces), metrics=metrics, recorded=self.publisher.wake,
                carrying=Carrying(self.batches, clock),
                token=partial(token_of, key), results_url=settings.results_url,
            ),
            finished=Finished(api, self.batches, self.objects, statuses, twins, clock),
            statuses=statuses,
            clock=clock,
            metrics=metrics,
        )  # fmt: skip
        self.intake = WorkerIntake(self.batches, self.objects, key, clock, metrics, self._heard_of)
        self.sweeper = OrphanSweeper(
            self.batches, self.objects, places.values(), settings.namespaces, self.publisher.wake
        )
        self.retention = Retention(self.batches, clock)
        self.inventory = Inventory(api, self.batches, self.objects, settings.namespaces, wake, heard)

    def _heard_of(self, uid: str) -> None:
        """Hear that a worker sent something that may have to be acted on, and told of."""
        self._wake(uid)
        self.publisher.wake()
