"""What every place in a cluster does with the objects that belong to its BatchTest: make once, find, list, delete.

An object of the right name that belongs to somebody else is neither used nor deleted. Not for what the objects are
(``manifests``) nor for what their state means (``kube_job``, ``kuberay``).
"""

from __future__ import annotations

from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from batchyard.apiserver.errors import ApiError, Conflict, NotFound
from batchyard.engine.places import Child, Observation, PlaceState
from batchyard.environments import pods
from batchyard.environments.manifests import MANAGED_LABEL, UID_LABEL, token_name, token_secret
from batchyard.model.errors import EnvironmentUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from batchyard.apiserver.client import ApiClient
    from batchyard.engine.places import PlaceRequest
    from batchyard.model.trial import JSON

_OWNER_KIND = "BatchTest"
# The object itself is wrong; it will be the same object the next time.
_LASTING = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})


class Refusals:
    """What was refused while a place was made or started: there is no object that would tell."""

    def __init__(self) -> None:
        """Know of none."""
        self._known: dict[tuple[str, str], EnvironmentUnavailable] = {}

    @contextmanager
    def noted(self, request: PlaceRequest) -> Iterator[None]:
        """Remember what goes wrong meanwhile, until it goes well; what would go wrong again is not raised."""
        try:
            yield
        except EnvironmentUnavailable as err:
            self._known[request.ref.namespace, request.name] = err
            if not _is_lasting(err):
                raise
        else:
            self.forget(request)

    def forget(self, request: PlaceRequest) -> None:
        """Drop what is remembered of a place."""
        self._known.pop((request.ref.namespace, request.name), None)

    def of(self, request: PlaceRequest) -> pods.Finding | None:
        """Return what was refused, None if nothing was."""
        err = self._known.get((request.ref.namespace, request.name))
        if err is None:
            return None
        return pods.Finding(getattr(err, "reason", "") or type(err).__name__, pods.cut(str(err)))

    def absent(self, request: PlaceRequest, text: str) -> Observation:
        """Return that the place is not there and what was refused; that it is over if that would be refused again."""
        refused = self.of(request)
        if refused is None:
            return Observation(PlaceState.ABSENT, "", text)
        lasting = _is_lasting(self._known[request.ref.namespace, request.name])
        return Observation(PlaceState.ENDED if lasting else PlaceState.ABSENT, refused.reason, refused.message)


def _is_lasting(err: EnvironmentUnavailable) -> bool:
    return isinstance(err, ApiError) and err.status in _LASTING


async def ensure_owned(
    api: ApiClient, request: PlaceRequest, group_version: str, plural: str, body: dict[str, JSON]
) -> dict[str, JSON] | None:
    """Create the place's object, or take the one that is there; None if that one is somebody else's."""
    namespace = request.ref.namespace
    try:
        made = await api.create(group_version, plural, namespace, body)
    except Conflict:
        made = await api.get(group_version, plural, namespace, request.name)
        if not is_ours(made, request):
            return None
    return {**made, "apiVersion": group_version, "kind": body["kind"]}


def is_ours(found: Mapping[str, JSON], request: PlaceRequest) -> bool:
    """Return whether an object belongs to the BatchTest that the place is for."""
    return any(owner.get("uid") == request.ref.uid for owner in _owners(found))


def name_taken(kind: str, request: PlaceRequest) -> Observation:
    """Return that something else has the place's name."""
    text = (
        f"{kind} {request.name} in namespace {request.ref.namespace} is not BatchTest {request.ref.name}'s; delete it"
    )
    return Observation(PlaceState.PENDING, "NameTaken", text)


# -- the worker's token ------------------------------------------------------------------------------------------


async def ensure_secret(api: ApiClient, request: PlaceRequest, owner: Mapping[str, JSON]) -> None:
    """Create the Secret with the worker's token.

    Raises ``Conflict`` while one is there whose owner, an earlier object of this name, is gone: it would be collected
    under the pod that waits for it, so that has to come first.
    """
    name, namespace = token_name(request.name), request.ref.namespace
    try:
        await api.create("v1", "secrets", namespace, token_secret(request, owner))
    except Conflict:
        found = await api.get("v1", "secrets", namespace, name)
        if not belongs_to(found, owner) and _is_of_place(found, request):
            raise


async def without_secret(api: ApiClient, request: PlaceRequest, owner: Mapping[str, JSON]) -> Observation | None:
    """Return what to make of the place if its Secret is not there, None if it is: a crash may have come before it."""
    try:
        found = await api.get("v1", "secrets", request.ref.namespace, token_name(request.name))
    except NotFound:
        return Observation(PlaceState.ABSENT, "", f"Secret {token_name(request.name)} is not there yet")
    if belongs_to(found, owner):
        return None
    if _is_of_place(found, request):
        return Observation(PlaceState.ABSENT, "", f"Secret {token_name(request.name)} is an earlier one's")
    text = f"Secret {token_name(request.name)} in namespace {request.ref.namespace} is not Batchyard's; delete it"
    return Observation(PlaceState.PENDING, "NameTaken", text)


def belongs_to(found: Mapping[str, JSON], owner: Mapping[str, JSON]) -> bool:
    """Return whether ``owner`` is among the owners of an object."""
    return any(one.get("uid") == owner["metadata"]["uid"] for one in _owners(found))


def _is_of_place(secret: Mapping[str, JSON], request: PlaceRequest) -> bool:
    return (secret["metadata"].get("labels") or {}).get(UID_LABEL) == request.ref.uid


# -- looking -----------------------------------------------------------------------------------------------------


async def pods_of(api: ApiClient, request: PlaceRequest) -> list[dict[str, JSON]]:
    """Return the place's pods, oldest first."""
    selector = f"{UID_LABEL}={request.ref.uid},batchyard.dev/attempt={request.attempt}"
    found = [pod async for pod in api.list("v1", "pods", request.ref.namespace, label_selector=selector)]
    return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))


async def warning_about(api: ApiClient, found: Mapping[str, JSON]) -> pods.Finding | None:
    """Return the newest warning about an object; None if there is none, or if this account may not know."""
    metadata = found["metadata"]
    return await newest_warning(api, metadata["namespace"], f"involvedObject.uid={metadata['uid']}")


async def newest_warning(api: ApiClient, namespace: str, about: str, *, name: str = "") -> pods.Finding | None:
    """Return the newest warning about objects of a field selector whose names begin with ``name``; None as above."""
    selector, found = f"{about},type=Warning", []
    try:
        async for event in api.list("v1", "events", namespace, field_selector=selector):
            if str((event.get("involvedObject") or {}).get("name") or "").startswith(name):
                found.append(event)
    except ApiError:
        # It would only explain more; nothing depends on it.
        return None
    return pods.newest_warning(found)


async def list_children(api: ApiClient, group_version: str, plural: str, namespace: str | None) -> list[Child]:
    """Return the objects that an operator made and that nobody is deleting, with the BatchTests they belong to."""
    selector = f"{MANAGED_LABEL}=batchyard"
    children = []
    try:
        async for found in api.list(group_version, plural, namespace, label_selector=selector, metadata_only=True):
            metadata = found["metadata"]
            owner = next((one for one in _owners(found) if one.get("kind") == _OWNER_KIND), None)
            # What bears our label and belongs to no BatchTest was copied by somebody, and is theirs.
            if owner is not None and not metadata.get("deletionTimestamp"):
                children.append(Child(metadata["namespace"], metadata["name"], metadata["uid"], owner["uid"]))
    except NotFound:  # no such kind here: so none of them either
        return []
    return children


# -- giving back -------------------------------------------------------------------------------------------------


async def delete_all(api: ApiClient, request: PlaceRequest, group_version: str, plural: str, now: datetime) -> bool:
    """Delete the place's object; return whether it and its pods are gone, but for those that are stranded."""
    namespace = request.ref.namespace
    try:
        found = await api.get(group_version, plural, namespace, request.name)
        if not is_ours(found, request):
            return await _is_empty(api, request, now)
        if not found["metadata"].get("deletionTimestamp"):
            await api.delete(group_version, plural, namespace, request.name, uid=found["metadata"]["uid"])
    except NotFound:
        return await _is_empty(api, request, now)
    except Conflict:  # replaced in this very moment; looked at again
        return False
    return False


async def _is_empty(api: ApiClient, request: PlaceRequest, now: datetime) -> bool:
    # A pod that nobody ends would hold up the batch for ever; what its worker sends after all is too late.
    return all(pods.is_stranded(pod, now) for pod in await pods_of(api, request))


def _owners(found: Mapping[str, JSON]) -> list[Mapping[str, JSON]]:
    owners: list[Mapping[str, JSON]] = found["metadata"].get("ownerReferences") or []
    return owners
