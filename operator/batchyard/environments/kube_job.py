"""The InProcess provider in a cluster: a Job with one runner pod, whose container is the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.apiserver.errors import Conflict, NotFound
from batchyard.engine.places import Child, Observation, PlaceState
from batchyard.environments import pods
from batchyard.environments.manifests import MANAGED_LABEL, UID_LABEL, job, token_secret

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.apiserver.client import ApiClient
    from batchyard.clock import Clock
    from batchyard.engine.places import PlaceRequest
    from batchyard.environments.manifests import Defaults
    from batchyard.model.trial import JSON

GROUP_VERSION = "batch/v1"
PLURAL = "jobs"


class JobPlace:
    """Makes, looks at and gives back Jobs. See ``engine.places.Place``."""

    def __init__(self, api: ApiClient, defaults: Defaults, clock: Clock) -> None:
        """``defaults`` has the runner image."""
        self._api, self._defaults, self._clock = api, defaults, clock

    async def ensure(self, request: PlaceRequest) -> None:
        """Create the Job and then its Secret, unless they are there; the pod waits for it."""
        left = (request.deadline_at - self._clock.now()).total_seconds()
        body = job(request, self._defaults, max(0.0, left))
        namespace = request.ref.namespace
        try:
            made = await self._api.create(GROUP_VERSION, PLURAL, namespace, body)
        except Conflict:
            made = await self._api.get(GROUP_VERSION, PLURAL, namespace, request.name)
        await create_secret(self._api, request, {**made, "apiVersion": GROUP_VERSION, "kind": "Job"})

    async def observe(self, request: PlaceRequest, identity: str) -> Observation:
        """Look at the Job's pod; the Job itself only tells when there is none."""
        found = await pods_of(self._api, request)
        if not found:
            return await self._without_pod(request, identity)
        pod = found[-1]
        uid, phase = pod["metadata"]["uid"], pod.get("status", {}).get("phase")
        if identity and uid != identity:
            return Observation(PlaceState.LOST, "PodReplaced", "the runner pod was replaced", uid)
        if phase == "Succeeded":
            return Observation(PlaceState.ENDED, "", "the worker ended", uid)
        if phase == "Failed":
            end = pods.ending(pod) or pods.Finding("PodFailed", "the runner pod failed")
            return Observation(PlaceState.ENDED, end.reason, end.message, uid)
        if phase == "Running" and not pod["metadata"].get("deletionTimestamp"):
            return Observation(PlaceState.RUNNING, identity=uid)
        trouble = pods.trouble([pod])
        if trouble is not None:
            return Observation(PlaceState.PENDING, trouble.reason, trouble.message)
        return Observation(PlaceState.PENDING, "", "the runner pod starts")

    async def start(self, request: PlaceRequest) -> None:
        """Do nothing: the pod's container is the worker."""

    async def release(self, request: PlaceRequest) -> bool:
        """Delete the Job; return whether it and its pod are gone."""
        return await delete_all(self._api, request, GROUP_VERSION, PLURAL)

    async def children(self, namespace: str | None) -> Sequence[Child]:
        """Return every Job that an operator made."""
        return await list_children(self._api, GROUP_VERSION, PLURAL, namespace)

    async def remove(self, child: Child) -> None:
        """Delete a Job."""
        await self._api.delete(GROUP_VERSION, PLURAL, child.namespace, child.name, uid=child.uid)

    async def _without_pod(self, request: PlaceRequest, identity: str) -> Observation:
        try:
            found = await self._api.get(GROUP_VERSION, PLURAL, request.ref.namespace, request.name)
        except NotFound:
            return Observation(PlaceState.ABSENT, "", "there is no such Job")
        if identity:
            return Observation(PlaceState.LOST, "PodDeleted", "the runner pod was deleted")
        for condition in found.get("status", {}).get("conditions") or []:
            if condition["type"] == "Failed" and condition["status"] == "True":
                return Observation(PlaceState.ENDED, condition.get("reason", ""), condition.get("message", ""))
        return Observation(PlaceState.PENDING, "NoPod", "the Job has no pod yet; see its events, and the quota")


async def create_secret(api: ApiClient, request: PlaceRequest, owner: dict[str, JSON]) -> None:
    """Create the Secret with the worker's token unless it is there."""
    try:
        await api.create("v1", "secrets", request.ref.namespace, token_secret(request, owner))
    except Conflict:
        return


async def pods_of(api: ApiClient, request: PlaceRequest) -> list[dict[str, JSON]]:
    """Return the place's pods, oldest first."""
    selector = f"{UID_LABEL}={request.ref.uid},batchyard.dev/attempt={request.attempt}"
    found = [pod async for pod in api.list("v1", "pods", request.ref.namespace, label_selector=selector)]
    return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))


async def delete_all(api: ApiClient, request: PlaceRequest, group_version: str, plural: str) -> bool:
    """Delete the place's object; return whether it and its pods are gone."""
    try:
        found = await api.get(group_version, plural, request.ref.namespace, request.name)
    except NotFound:
        return not await pods_of(api, request)
    if not found["metadata"].get("deletionTimestamp"):
        try:
            await api.delete(group_version, plural, request.ref.namespace, request.name)
        except NotFound:
            return not await pods_of(api, request)
    return False


async def list_children(api: ApiClient, group_version: str, plural: str, namespace: str | None) -> list[Child]:
    """Return the objects with our label, with the BatchTests they belong to."""
    selector = f"{MANAGED_LABEL}=batchyard"
    try:
        return [
            Child(
                found["metadata"]["namespace"],
                found["metadata"]["name"],
                found["metadata"]["uid"],
                (found["metadata"].get("labels") or {}).get(UID_LABEL, ""),
            )
            async for found in api.list(group_version, plural, namespace, label_selector=selector)
            if not found["metadata"].get("deletionTimestamp")
        ]
    except NotFound:  # no such kind here: so none of them either
        return []
