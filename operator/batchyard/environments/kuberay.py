"""The KubeRay provider: a RayCluster whose head runs the driver as a Ray job and whose workers run the trials.

Driven over Ray's Jobs REST API. What KubeRay says of a whole cluster is latched, so readiness is asked of the pods and
of the dashboard itself, at the address that the head has now.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from batchyard.apiserver.errors import NotFound
from batchyard.engine.places import Child, Observation, PlaceState
from batchyard.environments import owned, pods, queueing, quotes
from batchyard.environments.manifests import DASHBOARD_PORT, HEAD, ray_cluster, runtime_env, wanted_workers
from batchyard.environments.ray_jobs import DashboardUnreachable, RayDashboard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchyard.apiserver.client import ApiClient
    from batchyard.clock import Clock
    from batchyard.engine.places import PlaceRequest
    from batchyard.environments.manifests import Defaults
    from batchyard.environments.ray_jobs import RayJob
    from batchyard.model.trial import JSON

GROUP_VERSION = "ray.io/v1"
PLURAL = "rayclusters"
ENTRYPOINT = "batchyard worker"

_KIND = "RayCluster"
_SILENT_SECONDS = 15.0
_GOING = frozenset({"PENDING", "RUNNING"})
_NODE_TYPE = "ray.io/node-type"
# Ray puts the end of the driver's output after these words of its own.
_OUTPUT_FOLLOWS = "last available logs"


def dashboard_url(address: str) -> str:
    """Return where the dashboard of a head with this IP address is."""
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{DASHBOARD_PORT}"


class KubeRayPlace:
    """Makes, looks at and gives back RayClusters. See ``engine.places.Place``."""

    def __init__(
        self, api: ApiClient, defaults: Defaults, clock: Clock, *, url_of: Callable[[str], str] = dashboard_url
    ) -> None:
        """``defaults`` has the runner image and the version of Ray in it; ``url_of`` says where a head answers."""
        self._api, self._defaults, self._clock, self._url_of = api, defaults, clock, url_of
        self._refusals = owned.Refusals()

    async def ensure(self, request: PlaceRequest) -> None:
        """Create the RayCluster and then its Secret, unless they are there; without KubeRay do nothing yet."""
        body = ray_cluster(request, self._defaults)
        try:
            with self._refusals.noted(request):
                made = await owned.ensure_owned(self._api, request, GROUP_VERSION, PLURAL, body)
                if made is not None:
                    await owned.ensure_secret(self._api, request, made)
        except NotFound as err:
            if not err.is_of_kind:
                raise
            self._refusals.forget(request)

    async def observe(self, request: PlaceRequest, identity: str) -> Observation:
        """Look at the RayCluster and its pods, and at the driver once the head answers."""
        try:
            cluster = await self._api.get(GROUP_VERSION, PLURAL, request.ref.namespace, request.name)
        except NotFound as err:
            if err.is_of_kind:
                text = "the cluster knows no RayCluster: install KubeRay, or use provider InProcess"
                return Observation(PlaceState.PENDING, "KubeRayMissing", text)
            return self._refusals.absent(request, "there is no such RayCluster")
        if not owned.is_ours(cluster, request):
            return owned.name_taken(_KIND, request)
        found = await owned.pods_of(self._api, request)
        head = _head(found)
        if queueing.is_suspended(cluster):
            return await self._held_back(request, cluster, found, identity)
        if identity:
            lost = _why_lost(found, identity)
            if lost is not None:
                # Only now: of most looks nothing is quoted, and Secrets need not be read.
                lost = _why_lost(await quotes.quotable(self._api, request, found), identity) or lost
                return Observation(PlaceState.LOST, lost.reason, lost.message)
        if head is None or not pods.is_ready(head) or not _address(head):
            return await self._not_ready(request, cluster, found, identity)
        return await self._ask_ray(request, cluster, found, head, identity)

    async def start(self, request: PlaceRequest) -> None:
        """Submit the driver unless it was. Raises ``EnvironmentUnavailable``."""
        head = _head(await owned.pods_of(self._api, request))
        if head is None or not _address(head):
            raise DashboardUnreachable(f"RayCluster {request.name} has no head any more; it is looked at again")
        with self._refusals.noted(request):
            dashboard, _ = await self._dashboard(request, head)
            await dashboard.submit(request.name, ENTRYPOINT, runtime_env(request))

    async def release(self, request: PlaceRequest) -> bool:
        """Delete the RayCluster; return whether it and its pods are gone, or stranded."""
        self._refusals.forget(request)
        return await owned.delete_all(self._api, request, GROUP_VERSION, PLURAL, self._clock.now())

    async def children(self, namespace: str | None) -> Sequence[Child]:
        """Return every RayCluster that an operator made."""
        return await owned.list_children(self._api, GROUP_VERSION, PLURAL, namespace)

    async def remove(self, child: Child) -> None:
        """Delete a RayCluster."""
        await self._api.delete(GROUP_VERSION, PLURAL, child.namespace, child.name, uid=child.uid)

    # -- what is seen ------------------------------------------------------------------------------------------

    async def _held_back(
        self,
        request: PlaceRequest,
        cluster: Mapping[str, JSON],
        found: Sequence[Mapping[str, JSON]],
        identity: str,
    ) -> Observation:
        heads = _of_type(found, "head")
        if identity or heads:
            # KubeRay ends all its pods, the head's driver with them.
            now = self._clock.now()
            gone = all(pods.is_down(head, HEAD) or pods.is_stranded(head, now) for head in heads)
            return queueing.taken_back(cluster, _KIND, identity, gone=gone)
        missing = await owned.without_secret(self._api, request, cluster)
        return missing if missing is not None else await queueing.waiting(self._api, cluster, _KIND)

    async def _ask_ray(
        self,
        request: PlaceRequest,
        cluster: Mapping[str, JSON],
        found: Sequence[Mapping[str, JSON]],
        head: Mapping[str, JSON],
        identity: str,
    ) -> Observation:
        try:
            dashboard, token = await self._dashboard(request, head)
            now = f"{await dashboard.session_name()}@{head['metadata']['uid']}"
            if identity and now != identity:
                return Observation(PlaceState.LOST, "HeadRestarted", "Ray's head was restarted, and the driver with it")
            job = await dashboard.job(request.name)
        except DashboardUnreachable as err:
            # Silence proves nothing: the driver may well go on.
            state = PlaceState.RUNNING if identity else PlaceState.PENDING
            return Observation(state, "DashboardUnreachable", pods.cut(str(err)), identity)
        going = job is not None and job.status in _GOING
        if not identity and (job is None or going) and len(_ready_workers(found)) < wanted_workers(request):
            return replace(await self._not_ready(request, cluster, found, identity), may_begin=job is None)
        if job is None or (going and not identity):
            refused = self._refusals.of(request) or pods.Finding("", "")
            return Observation(PlaceState.READY, refused.reason, refused.message, now)
        if going:
            return Observation(PlaceState.RUNNING, identity=now)
        if job.status in {"SUCCEEDED", "STOPPED"}:
            return Observation(PlaceState.ENDED, "", "the worker ended", now)
        return Observation(PlaceState.ENDED, "DriverFailed", await self._why_failed(request, job, token), now)

    async def _why_failed(self, request: PlaceRequest, job: RayJob, token: str) -> str:
        why, follows, output = job.message.partition(_OUTPUT_FOLLOWS)
        # Of a message in other words any part may be output.
        said = [job.error, pods.cut(" ".join(why.split()).rstrip(",")) if follows else ""]
        end = await quotes.tail(self._api, request, output.partition("\n")[2] if follows else why, also=token)
        text = ": ".join(["the Ray job failed", *(part for part in said if part)])
        return f"{text}; its last words: {end}" if end else text

    async def _not_ready(
        self,
        request: PlaceRequest,
        cluster: Mapping[str, JSON],
        found: Sequence[Mapping[str, JSON]],
        identity: str,
    ) -> Observation:
        state = PlaceState.RUNNING if identity else PlaceState.PENDING
        told = await quotes.quotable(self._api, request, found)
        trouble = pods.trouble(told) or pods.condition_of(cluster, "ReplicaFailure")
        if trouble is None and not identity:
            missing = await owned.without_secret(self._api, request, cluster)
            if missing is not None:
                return missing
        if trouble is None:
            trouble = await self._warned(cluster, found) or self._silent(cluster)
        if trouble is not None:
            return Observation(state, trouble.reason, trouble.message, identity)
        ready = f"{len(_ready_workers(found))} of {wanted_workers(request)} workers are ready"
        head = "the head is ready" if any(pods.is_ready(pod) for pod in _of_type(found, "head")) else "the head starts"
        return Observation(state, "", f"{head}; {ready}", identity)

    async def _warned(self, cluster: Mapping[str, JSON], found: Sequence[Mapping[str, JSON]]) -> pods.Finding | None:
        """Return the newest warning about the first pod that is not ready, or about the cluster if there is no pod."""
        waiting = next((pod for pod in found if not pods.is_ready(pod)), None)
        return await owned.warning_about(self._api, waiting if waiting is not None else cluster)

    def _silent(self, cluster: Mapping[str, JSON]) -> pods.Finding | None:
        if cluster.get("status"):
            return None
        created = datetime.fromisoformat(cluster["metadata"]["creationTimestamp"])
        if (self._clock.now() - created).total_seconds() < _SILENT_SECONDS:
            return None
        text = "KubeRay does not take up the RayCluster; is its operator running, and does it watch this namespace?"
        return pods.Finding("KubeRaySilent", text)

    async def _dashboard(self, request: PlaceRequest, head: Mapping[str, JSON]) -> tuple[RayDashboard, str]:
        """Return the head's dashboard and the token that opens it; KubeRay names its Secret after the cluster."""
        try:
            secret = await self._api.get("v1", "secrets", request.ref.namespace, request.name)
            token = base64.b64decode((secret.get("data") or {})["auth_token"], validate=True).decode()
        except (NotFound, KeyError, ValueError, binascii.Error) as err:
            raise DashboardUnreachable(
                f"KubeRay has made no Secret {request.name} with Ray's token; it does from KubeRay 1.5.1 on"
            ) from err
        return RayDashboard(self._url_of(_address(head)), token), token


def _head(found: Sequence[Mapping[str, JSON]]) -> Mapping[str, JSON] | None:
    """Return the newest head that nobody is deleting."""
    heads = [pod for pod in _of_type(found, "head") if not pods.is_going(pod)]
    return heads[-1] if heads else None


def _ready_workers(found: Sequence[Mapping[str, JSON]]) -> list[Mapping[str, JSON]]:
    return [pod for pod in _of_type(found, "worker") if pods.is_ready(pod)]


def _of_type(found: Sequence[Mapping[str, JSON]], kind: str) -> list[Mapping[str, JSON]]:
    return [pod for pod in found if pods.label(pod, _NODE_TYPE) == kind]


def _address(head: Mapping[str, JSON]) -> str:
    """Return the head's address; the service's and the cluster's status know an earlier one for a while."""
    return str((head.get("status") or {}).get("podIP") or "")


def _why_lost(found: Sequence[Mapping[str, JSON]], identity: str) -> pods.Finding | None:
    """Return why the driver cannot be running any more, None if it may be."""
    head = _head(found)
    if head is None or identity.rpartition("@")[2] != head["metadata"]["uid"]:
        trouble = pods.trouble(_of_type(found, "head"))
        what = "the head pod was replaced" if head is not None else "the head pod is gone"
        return pods.Finding("HeadLost", f"{what}; {trouble.message}" if trouble is not None else what)
    if pods.is_down(head, HEAD):
        end = pods.ending_of(head, HEAD)
        return pods.Finding("HeadRestarted", end.message if end is not None else "Ray's head ended")
    return None
