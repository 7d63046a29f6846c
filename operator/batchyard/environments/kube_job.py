"""The InProcess provider in a cluster: a Job with one runner pod, whose container is the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.apiserver.errors import NotFound
from batchyard.engine.places import Child, Observation, PlaceState
from batchyard.environments import owned, pods, queueing, quotes
from batchyard.environments.manifests import RUNNER, job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchyard.apiserver.client import ApiClient
    from batchyard.clock import Clock
    from batchyard.engine.places import PlaceRequest
    from batchyard.environments.manifests import Defaults
    from batchyard.model.trial import JSON

GROUP_VERSION = "batch/v1"
PLURAL = "jobs"
_KIND = "Job"


class JobPlace:
    """Makes, looks at and gives back Jobs. See ``engine.places.Place``."""

    def __init__(self, api: ApiClient, defaults: Defaults, clock: Clock) -> None:
        """``defaults`` has the runner image."""
        self._api, self._defaults, self._clock = api, defaults, clock
        self._refusals = owned.Refusals()

    async def ensure(self, request: PlaceRequest) -> None:
        """Create the Job and then its Secret, unless they are there; the pod waits for it."""
        left = (request.deadline_at - self._clock.now()).total_seconds()
        body = job(request, self._defaults, max(0.0, left))
        with self._refusals.noted(request):
            made = await owned.ensure_owned(self._api, request, GROUP_VERSION, PLURAL, body)
            if made is not None:
                await owned.ensure_secret(self._api, request, made)

    async def observe(self, request: PlaceRequest, identity: str) -> Observation:
        """Look at the Job's pod; the Job itself only tells when there is none, or none that runs."""
        found = await owned.pods_of(self._api, request)
        if not found:
            return await self._without_pod(request, identity)
        pod = found[-1]
        uid, phase = pod["metadata"]["uid"], (pod.get("status") or {}).get("phase")
        if identity and uid != identity:
            return Observation(PlaceState.LOST, "PodReplaced", "the runner pod was replaced", uid)
        over = phase in {"Succeeded", "Failed"} or pods.has_ended(pod, RUNNER)
        stranded = pods.is_stranded(pod, self._clock.now())
        if over or pods.is_going(pod):
            taken = await self._taken_back(request, identity, gone=over or stranded)
            if taken is not None:
                return taken
        if over:
            (told,) = await quotes.quotable(self._api, request, [pod])
            return _ended(told, uid)
        if stranded:
            return Observation(PlaceState.STRANDED, "PodStranded", pods.cut(pods.why_stranded(pod)), identity)
        if pods.is_going(pod):
            state = PlaceState.RUNNING if identity else PlaceState.PENDING
            return Observation(state, "PodGoing", pods.why_going(pod), identity)
        if phase == "Running":
            return Observation(PlaceState.RUNNING, identity=uid)
        return await self._starting(request, pod)

    async def start(self, request: PlaceRequest) -> None:
        """Do nothing: the pod's container is the worker."""

    async def release(self, request: PlaceRequest) -> bool:
        """Delete the Job; return whether it and its pod are gone, or stranded."""
        self._refusals.forget(request)
        return await owned.delete_all(self._api, request, GROUP_VERSION, PLURAL, self._clock.now())

    async def children(self, namespace: str | None) -> Sequence[Child]:
        """Return every Job that an operator made."""
        return await owned.list_children(self._api, GROUP_VERSION, PLURAL, namespace)

    async def remove(self, child: Child) -> None:
        """Delete a Job."""
        await self._api.delete(GROUP_VERSION, PLURAL, child.namespace, child.name, uid=child.uid)

    # -- what is seen ------------------------------------------------------------------------------------------

    async def _starting(self, request: PlaceRequest, pod: Mapping[str, JSON]) -> Observation:
        trouble = pods.trouble(await quotes.quotable(self._api, request, [pod]))
        if trouble is None:
            try:
                found = await self._api.get(GROUP_VERSION, PLURAL, request.ref.namespace, request.name)
            except NotFound:
                return Observation(PlaceState.PENDING, "PodGoing", "the Job is gone, its pod not yet")
            missing = await owned.without_secret(self._api, request, found)
            if missing is not None:
                return missing
            trouble = await owned.warning_about(self._api, pod)
        if trouble is not None:
            return Observation(PlaceState.PENDING, trouble.reason, trouble.message)
        return Observation(PlaceState.PENDING, "", "the runner pod starts")

    async def _taken_back(self, request: PlaceRequest, identity: str, *, gone: bool) -> Observation | None:
        """Return that the pod ends because its Job was suspended, None if it ends for another reason."""
        try:
            found = await self._api.get(GROUP_VERSION, PLURAL, request.ref.namespace, request.name)
        except NotFound:
            return None
        if not queueing.is_suspended(found):
            return None
        return queueing.taken_back(found, _KIND, identity, gone=gone)

    async def _without_pod(self, request: PlaceRequest, identity: str) -> Observation:
        try:
            found = await self._api.get(GROUP_VERSION, PLURAL, request.ref.namespace, request.name)
        except NotFound:
            return self._refusals.absent(request, "there is no such Job")
        if not owned.is_ours(found, request):
            return owned.name_taken(_KIND, request)
        failed = pods.condition_of(found, "Failed") or pods.condition_of(found, "FailureTarget")
        if failed is not None:
            return Observation(PlaceState.ENDED, failed.reason, f"the Job failed: {failed.message}")
        if identity and queueing.is_suspended(found):
            return queueing.taken_back(found, _KIND, identity, gone=True)
        if identity:
            return Observation(PlaceState.LOST, "PodDeleted", "the runner pod was deleted")
        missing = await owned.without_secret(self._api, request, found)
        if missing is not None:
            return missing
        if queueing.is_suspended(found):
            return await queueing.waiting(self._api, found, _KIND)
        refused = await owned.warning_about(self._api, found)
        if refused is not None:
            return Observation(PlaceState.PENDING, refused.reason, f"the Job has no pod: {refused.message}")
        return Observation(PlaceState.PENDING, "NoPod", "the Job has no pod yet")


def _ended(pod: Mapping[str, JSON], uid: str) -> Observation:
    """Return how the worker ended: what else ran in its pod explains it only if it does not itself."""
    if (pod.get("status") or {}).get("phase") == "Failed":
        end = pods.ending(pod) or pods.Finding("PodFailed", "the runner pod failed")
    else:
        end = pods.ending_of(pod, RUNNER) or pods.Finding("", "the worker ended")
    return Observation(PlaceState.ENDED, end.reason, end.message, uid)
