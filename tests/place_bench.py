"""Places on a fake cluster over HTTP: a test says what happens in the cluster and looks through the place."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from batchyard.environments.kube_job import JobPlace
from batchyard.environments.kuberay import KubeRayPlace
from batchyard.environments.manifests import token_name
from batchyard.testing.fake_clock import FakeClock
from fake_cluster_api import CLUSTERS, EVENTS, JOBS, PODS, SECRETS, FakeCluster, running
from fake_ray_dashboard import RAY_TOKEN, FakeRay
from fake_ray_dashboard import running as ray_running
from place_builders import DEFAULTS, kube_ray, request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from batchyard.engine.places import Observation, Place, PlaceRequest
    from fake_cluster_api import Kind, Object

T = TypeVar("T")

WORKERS = 2


@dataclass(slots=True)
class Bench:
    """One place of one kind, and the cluster it is in. Every call is made by an operator that was just started."""

    cluster: FakeCluster
    kind: Kind
    asked: PlaceRequest
    rays: dict[str, FakeRay] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=FakeClock)

    def do(self, act: Callable[[Place], Awaitable[T]]) -> T:
        """Return what the place returns."""

        async def whole() -> T:
            async with self.cluster.client() as api:
                return await act(self.place(api))

        return asyncio.run(whole())

    def place(self, api: Any) -> Place:
        """Return a new place that uses this client."""
        if self.kind == JOBS:
            return JobPlace(api, DEFAULTS, self.clock)
        return KubeRayPlace(api, DEFAULTS, self.clock, url_of=lambda address: self.rays[address].url)

    def ensure(self) -> None:
        self.do(lambda place: place.ensure(self.asked))

    def observe(self, identity: str = "") -> Observation:
        return self.do(lambda place: place.observe(self.asked, identity))

    def start(self) -> None:
        self.do(lambda place: place.start(self.asked))

    def release(self) -> bool:
        return self.do(lambda place: place.release(self.asked))

    # -- what is in the cluster --------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Return the place's name."""
        return self.asked.name

    def owner(self) -> Object:
        """Return the Job or RayCluster."""
        return self.cluster.get(self.kind, self.name)

    def secret(self) -> Object:
        """Return the Secret with the worker's token."""
        return self.cluster.get(SECRETS, token_name(self.name))

    def pod(self, suffix: str = "abc", labels: dict[str, str] | None = None, **status: Any) -> Object:
        """Have the place's controller make a pod."""
        owner = self.owner()
        template = owner["spec"]["template"] if self.kind == JOBS else owner["spec"]["headGroupSpec"]["template"]
        body = {
            "metadata": {
                "labels": {**template["metadata"]["labels"], **(labels or {})},
                "ownerReferences": [{"kind": owner["kind"], "name": self.name, "uid": owner["metadata"]["uid"]}],
            },
            "spec": template["spec"],
            "status": status,
        }
        return self.cluster.put(PODS, f"{self.name}-{suffix}", body)

    def becomes(self, suffix: str = "abc", **status: Any) -> None:
        """Have a pod come to another status."""
        self.cluster.change(PODS, f"{self.name}-{suffix}", status=status)

    def hold(self, queue: str = "", *, suspend: bool = True) -> None:
        """Have a queue hold the Job or RayCluster back, or take it back; or let it in."""
        owner = self.owner()
        labels = {**owner["metadata"]["labels"], **({"kueue.x-k8s.io/queue-name": queue} if queue else {})}
        spec, metadata = {**owner["spec"], "suspend": suspend}, {**owner["metadata"], "labels": labels}
        self.cluster.change(self.kind, self.name, spec=spec, metadata=metadata)

    def warn(self, about: Object, reason: str, message: str, *, kind: str = "Warning") -> None:
        """Have somebody post an event about an object."""
        body = {
            "involvedObject": {
                "uid": about["metadata"]["uid"],
                "kind": about.get("kind"),
                "name": about["metadata"]["name"],
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "lastTimestamp": f"2026-01-02T03:05:{len(self.cluster.names(EVENTS)):02}Z",
        }
        self.cluster.put(EVENTS, f"event-{len(self.cluster.names(EVENTS))}", body)


@contextmanager
def job_bench(asked: PlaceRequest | None = None) -> Iterator[Bench]:
    """A cluster with nothing in it, and a place for a Job."""
    with running(FakeCluster()) as cluster:
        yield Bench(cluster, JOBS, asked or request())


class RayBench(Bench):
    """A place for a RayCluster; the fake head listens at ``10.0.0.1``, and at any other address a test names."""

    @property
    def ray(self) -> FakeRay:
        """Return the first head's dashboard."""
        return self.rays["10.0.0.1"]

    def take_up(self) -> None:
        """Do what KubeRay does first: a status, and the Secret with Ray's token."""
        self.cluster.change(CLUSTERS, self.name, status={"state": "", "conditions": []})
        self.cluster.put(SECRETS, self.name, {"data": {"auth_token": b64encode(RAY_TOKEN.encode()).decode()}})

    def head(self, suffix: str = "head", *, address: str = "10.0.0.1", ready: bool = True, **status: Any) -> Object:
        """Have KubeRay make a head."""
        return self.pod(suffix, {"ray.io/node-type": "head"}, podIP=address, **(_ready(ready) | status))

    def worker(self, suffix: str, *, ready: bool = True, **status: Any) -> Object:
        """Have KubeRay make a worker."""
        return self.pod(suffix, {"ray.io/node-type": "worker"}, **(_ready(ready) | status))

    def whole(self) -> None:
        """Bring the RayCluster to where it is ready."""
        self.ensure()
        self.take_up()
        self.head()
        for number in range(WORKERS):
            self.worker(f"worker-{number}")

    def begun(self) -> str:
        """Bring the RayCluster to where the driver runs, and return its identity."""
        self.whole()
        identity = self.observe().identity
        self.start()
        return identity


@contextmanager
def ray_bench(addresses: tuple[str, ...] = ("10.0.0.1",), **environment: Any) -> Iterator[RayBench]:
    """A cluster with nothing in it, and a place for a RayCluster; ``environment`` are more fields of it."""
    fields = environment.pop("kubeRay", {})
    given = {**kube_ray(workers={"replicas": WORKERS}, **fields), **environment}
    with running(FakeCluster()) as cluster, _rays(addresses) as rays:
        yield RayBench(cluster, CLUSTERS, request(environment=given), rays)


@contextmanager
def _rays(addresses: tuple[str, ...]) -> Iterator[dict[str, FakeRay]]:
    if not addresses:
        yield {}
        return
    with ray_running(FakeRay()) as ray, _rays(addresses[1:]) as others:
        yield {addresses[0]: ray, **others}


def _ready(ready: bool) -> dict[str, Any]:
    state = {"running": {"startedAt": "2026-01-02T03:04:05Z"}}
    return {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        "containerStatuses": [{"name": "ray-head", "state": state}],
    }


def secret_of(name: str, **values: str) -> Object:
    """Return a Secret as the API server gives it."""
    return {
        "metadata": {"name": name},
        "data": {key: b64encode(text.encode()).decode() for key, text in values.items()},
    }


def told(observation: Observation) -> str:
    """Return all that an observation says, to search in."""
    return json.dumps([observation.reason, observation.message])
