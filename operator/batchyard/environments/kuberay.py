"""The KubeRay provider: a RayCluster whose head runs the driver as a Ray job and whose workers run the trials.

Driven over Ray's Jobs REST API. What KubeRay says of a cluster is latched, so readiness is asked of the head's
condition, the number of ready workers, and the dashboard itself.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import TYPE_CHECKING

from batchyard.apiserver.errors import Conflict, NotFound
from batchyard.engine.places import Child, Observation, PlaceState
from batchyard.environments import pods
from batchyard.environments.kube_job import create_secret, delete_all, list_children, pods_of
from batchyard.environments.manifests import DASHBOARD_PORT, ray_cluster, wanted_workers
from batchyard.environments.ray_jobs import DashboardUnreachable, RayDashboard

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchyard.apiserver.client import ApiClient
    from batchyard.clock import Clock
    from batchyard.engine.places import PlaceRequest
    from batchyard.environments.manifests import Defaults
    from batchyard.model.trial import JSON

GROUP_VERSION = "ray.io/v1"
PLURAL = "rayclusters"
ENTRYPOINT = "batchyard worker"

_SILENT_SECONDS = 15.0
_HEAD = "ray.io/node-type"


class KubeRayPlace:
    """Makes, looks at and gives back RayClusters. See ``engine.places.Place``."""

    def __init__(self, api: ApiClient, defaults: Defaults, clock: Clock) -> None:
        """``defaults`` has the runner image and the version of Ray in it."""
        self._api, self._defaults, self._clock = api, defaults, clock

    async def ensure(self, request: PlaceRequest) -> None:
        """Create the RayCluster and then its Secret, unless they are there; without KubeRay do nothing yet."""
        namespace = request.ref.namespace
        try:
            made = await self._api.create(GROUP_VERSION, PLURAL, namespace, ray_cluster(request, self._defaults))
        except Conflict:
            made = await self._api.get(GROUP_VERSION, PLURAL, namespace, request.name)
        except NotFound as err:
            if not _is_kind_missing(err):
                raise
            return
        await create_secret(self._api, request, {**made, "apiVersion": GROUP_VERSION, "kind": "RayCluster"})

    async def observe(self, request: PlaceRequest, identity: str) -> Observation:
        """Look at the RayCluster, at its pods if it is not ready, and at the driver if it was started."""
        try:
            cluster = await self._api.get(GROUP_VERSION, PLURAL, request.ref.namespace, request.name)
        except NotFound as err:
            if _is_kind_missing(err):
                text = "the cluster knows no RayCluster: install KubeRay, or use provider InProcess"
                return Observation(PlaceState.PENDING, "KubeRayMissing", text)
            return Observation(PlaceState.ABSENT, "", "there is no such RayCluster")
        if not cluster.get("status"):
            return self._silent(cluster)
        head = await self._head(request)
        if identity and (head is None or _uid_of(identity) != head["metadata"]["uid"]):
            return Observation(PlaceState.LOST, "HeadLost", await self._why_lost(request, head))
        address = (cluster["status"].get("head") or {}).get("podIP")
        if head is None or not address or not pods.is_ready(head):
            return await self._not_ready(request, cluster, started=bool(identity))
        return await self._ask_ray(request, cluster, head, address, identity)

    async def start(self, request: PlaceRequest) -> None:
        """Submit the driver unless it was. Raises ``EnvironmentUnavailable``."""
        cluster = await self._api.get(GROUP_VERSION, PLURAL, request.ref.namespace, request.name)
        address = (cluster.get("status", {}).get("head") or {}).get("podIP")
        if not address:
            raise DashboardUnreachable(f"RayCluster {request.name} has no head any more; it is looked at again")
        dashboard = await self._dashboard(request, address)
        kube_ray = request.batch.spec.environment.kube_ray
        await dashboard.submit(request.name, ENTRYPOINT, kube_ray.runtime_env if kube_ray is not None else {})

    async def release(self, request: PlaceRequest) -> bool:
        """Delete the RayCluster; return whether it and its pods are gone."""
        return await delete_all(self._api, request, GROUP_VERSION, PLURAL)

    async def children(self, namespace: str | None) -> Sequence[Child]:
        """Return every RayCluster that an operator made."""
        return await list_children(self._api, GROUP_VERSION, PLURAL, namespace)

    async def remove(self, child: Child) -> None:
        """Delete a RayCluster."""
        await self._api.delete(GROUP_VERSION, PLURAL, child.namespace, child.name, uid=child.uid)

    # -- what is seen ------------------------------------------------------------------------------------------

    async def _ask_ray(
        self,
        request: PlaceRequest,
        cluster: Mapping[str, JSON],
        head: Mapping[str, JSON],
        address: str,
        identity: str,
    ) -> Observation:
        try:
            dashboard = await self._dashboard(request, address)
            now = f"{await dashboard.session_name()}@{head['metadata']['uid']}"
            if identity and now != identity:
                return Observation(PlaceState.LOST, "HeadRestarted", "Ray's head was restarted, and the driver with it")
            job = await dashboard.job(request.name)
        except (DashboardUnreachable, NotFound) as err:
            # Silence proves nothing: the driver may well go on.
            state = PlaceState.RUNNING if identity else PlaceState.PENDING
            return Observation(state, "DashboardUnreachable", str(err), identity)
        if job is None or job.status in {"PENDING", "RUNNING"}:
            if job is not None or identity:
                return Observation(PlaceState.RUNNING, identity=now)
            ready = int(cluster["status"].get("readyWorkerReplicas") or 0)
            if ready < wanted_workers(request):
                return await self._not_ready(request, cluster, started=False)
            return Observation(PlaceState.READY, identity=now)
        if job.status in {"SUCCEEDED", "STOPPED"}:
            return Observation(PlaceState.ENDED, "", "the worker ended", now)
        words = await self._last_words(dashboard, request)
        return Observation(PlaceState.ENDED, "DriverFailed", f"the Ray job failed: {job.message} {words}".strip(), now)

    async def _last_words(self, dashboard: RayDashboard, request: PlaceRequest) -> str:
        try:
            return await dashboard.last_words(request.name)
        except DashboardUnreachable:
            return ""

    def _silent(self, cluster: Mapping[str, JSON]) -> Observation:
        created = datetime.fromisoformat(cluster["metadata"]["creationTimestamp"])
        if (self._clock.now() - created).total_seconds() < _SILENT_SECONDS:
            return Observation(PlaceState.PENDING, "", "the RayCluster was created")
        text = "KubeRay does not take up the RayCluster; is its operator running, and does it watch this namespace?"
        return Observation(PlaceState.PENDING, "KubeRaySilent", text)

    async def _not_ready(self, request: PlaceRequest, cluster: Mapping[str, JSON], *, started: bool) -> Observation:
        trouble = pods.trouble(await pods_of(self._api, request)) or _refused(cluster)
        state = PlaceState.RUNNING if started else PlaceState.PENDING
        if trouble is not None:
            return Observation(state, trouble.reason, trouble.message)
        ready = int(cluster.get("status", {}).get("readyWorkerReplicas") or 0)
        return Observation(state, "", f"the head starts; {ready} of {wanted_workers(request)} workers are ready")

    async def _head(self, request: PlaceRequest) -> dict[str, JSON] | None:
        found = [
            pod
            for pod in await pods_of(self._api, request)
            if pod["metadata"].get("labels", {}).get(_HEAD) == "head" and not pod["metadata"].get("deletionTimestamp")
        ]
        return found[-1] if found else None

    async def _why_lost(self, request: PlaceRequest, head: Mapping[str, JSON] | None) -> str:
        trouble = pods.trouble(await pods_of(self._api, request))
        what = "the head pod was replaced" if head is not None else "the head pod is gone"
        return f"{what}; {trouble.message}" if trouble is not None else what

    async def _dashboard(self, request: PlaceRequest, address: str) -> RayDashboard:
        # KubeRay makes this Secret and names it after the cluster.
        secret = await self._api.get("v1", "secrets", request.ref.namespace, request.name)
        token = base64.b64decode(secret["data"]["auth_token"]).decode()
        host = f"[{address}]" if ":" in address else address
        return RayDashboard(f"http://{host}:{DASHBOARD_PORT}", token)


def _uid_of(identity: str) -> str:
    return identity.rpartition("@")[2]


def _is_kind_missing(err: NotFound) -> bool:
    """Return whether the API server knows no such kind, rather than no such object."""
    return (
        "could not find the requested resource" in str(err) or err.reason != "NotFound" or "page not found" in str(err)
    )


def _refused(cluster: Mapping[str, JSON]) -> pods.Finding | None:
    for condition in cluster.get("status", {}).get("conditions") or []:
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return pods.Finding(condition.get("reason") or "ReplicaFailure", condition.get("message") or "")
    return None
