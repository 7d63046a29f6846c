"""Fakes of what an operator acts on: an API server, and places in its cluster.

Each is strict about its use, counts what is written, and can be told to let the operator die, or to fail, at any of
its writes: before the write happened, or right after.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from batchyard.apiserver.errors import ApiError, Conflict, Invalid, NotFound, Unreachable
from batchyard.engine.places import Child, Observation, PlaceState
from batchyard.kube.twins import PARITY_OF
from batchyard.model.status import BatchStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from batchyard.apiserver.client import ApiClient
    from batchyard.engine.places import PlaceRequest
    from batchyard.testing.fake_clock import FakeClock
    from kube_fate import Fate

BATCH_TESTS = ("batchyard.dev/v1alpha1", "batchtests")
LEASES = ("coordination.k8s.io/v1", "leases")
CONFIG_MAPS = ("v1", "configmaps")
SECRETS = ("v1", "secrets")
EVENTS = ("events.k8s.io/v1", "events")
PLACES = ("places.test/v1", "places")

Object = dict[str, Any]
Kind = tuple[str, str]

STATUS_BYTES = 16 * 1024
_STATUS_FIELDS = {*BatchStatus.model_json_schema(by_alias=True)["properties"], "progress"}


class FakeCluster:
    """The objects of a cluster. People change them with ``apply``, ``change`` and ``delete``; it never forgets."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.objects: dict[tuple[Kind, str, str], Object] = {}
        self.changes: list[tuple[str, Kind, Object]] = []
        self.writes: Counter[str] = Counter()
        self.refuse: Callable[[str, Kind, Object], ApiError | None] = lambda *_: None
        self.is_away = False
        self._version = self._uids = 0

    # -- for people ------------------------------------------------------------------------------------------------

    def get(self, kind: Kind, name: str, namespace: str = "team") -> Object:
        return self.objects[kind, namespace, name]

    def has(self, kind: Kind, name: str, namespace: str = "team") -> bool:
        return (kind, namespace, name) in self.objects

    def all(self, kind: Kind) -> list[Object]:
        return [body for (of, _, _), body in self.objects.items() if of == kind]

    def apply(self, kind: Kind, body: Mapping[str, Any], namespace: str = "team") -> Object:
        return self.create(kind, namespace, body)

    def change(self, kind: Kind, name: str, spec: Mapping[str, Any], namespace: str = "team") -> None:
        body = copy.deepcopy(self.get(kind, name, namespace))
        body["spec"] = merged(body["spec"], spec)
        body["metadata"]["generation"] += 1
        self._put(kind, body)

    # -- for the API and for what runs in the cluster ----------------------------------------------------------------

    def create(self, kind: Kind, namespace: str, given: Mapping[str, Any]) -> Object:
        body = copy.deepcopy(dict(given))
        name = body["metadata"]["name"]
        if (kind, namespace, name) in self.objects:
            raise Conflict(409, "AlreadyExists", f'{kind[1]} "{name}" already exists')
        self._uids += 1
        created = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        body["metadata"] |= {
            "namespace": namespace, "uid": f"uid-{self._uids}", "generation": 1, "creationTimestamp": created,
        }  # fmt: skip
        return self._put(kind, body, "ADDED")

    def find(self, kind: Kind, namespace: str | None, name: str) -> Object:
        self.check_there()
        found = self.objects.get((kind, namespace or "", name))
        if found is None:
            raise NotFound(404, "NotFound", f'{kind[1]} "{name}" not found')
        return found

    def check_there(self) -> None:
        if self.is_away:
            raise Unreachable("the API server does not answer")

    def update(self, kind: Kind, body: Object) -> Object:
        known = self.find(kind, body["metadata"]["namespace"], body["metadata"]["name"])
        return known if body == known else self._put(kind, body)

    def delete(self, kind: Kind, name: str, namespace: str = "team", *, uid: str | None = None) -> Object:
        body = self.find(kind, namespace, name)
        if uid not in {None, body["metadata"]["uid"]}:
            raise Conflict(409, "Conflict", "the uid in the precondition is another")
        if kind == PLACES and not body["metadata"].get("deletionTimestamp"):
            # Its pods take a while to end.
            return self._put(kind, {**body, "metadata": {**body["metadata"], "deletionTimestamp": "now"}})
        self.remove(kind, body)
        return body

    def remove(self, kind: Kind, body: Object) -> None:
        metadata = body["metadata"]
        del self.objects[kind, metadata["namespace"], metadata["name"]]
        self._version += 1
        gone = {**body, "metadata": {**metadata, "resourceVersion": str(self._version)}}
        self.changes.append(("DELETED", kind, gone))
        self.collect_garbage()

    def collect_garbage(self) -> None:
        """Remove what belongs to something that is gone."""
        uids = {body["metadata"]["uid"] for body in self.objects.values()}
        for (kind, _, _), body in list(self.objects.items()):
            owners = body["metadata"].get("ownerReferences") or []
            if owners and not any(owner["uid"] in uids for owner in owners):
                self.remove(kind, body)
                return

    def _put(self, kind: Kind, body: Object, change: str = "MODIFIED") -> Object:
        self._version += 1
        body = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self._version)}}
        self.objects[kind, body["metadata"]["namespace"], body["metadata"]["name"]] = body
        self.changes.append((change, kind, body))
        return body


class FakeApi:
    """One operator's way to a cluster. Refuses what an operator must never do."""

    def __init__(self, cluster: FakeCluster, fate: Fate) -> None:
        self.cluster, self.fate = cluster, fate
        self.on_request: Callable[[str, int | None], None] = lambda _verb, _code: None
        self.on_get: Callable[[Kind], Awaitable[None]] | None = None
        self.on_list: Callable[[Kind], Awaitable[None]] | None = None

    async def get(self, group_version: str, plural: str, namespace: str | None, name: str) -> Object:
        self.fate.check()
        if self.on_get is not None:
            await self.on_get((group_version, plural))
        return copy.deepcopy(self.cluster.find((group_version, plural), namespace, name))

    async def create(self, group_version: str, plural: str, namespace: str, body: Mapping[str, Any]) -> Object:
        kind = (group_version, plural)
        # Of BatchTests only twins, which belong to others.
        assert kind != BATCH_TESTS or (
            PARITY_OF in body["metadata"]["annotations"] and body["metadata"]["ownerReferences"]
        )
        return await self._write("create", kind, dict(body), lambda: self.cluster.create(kind, namespace, body))

    async def replace(
        self, group_version: str, plural: str, namespace: str, name: str, body: Mapping[str, Any]
    ) -> Object:
        kind = (group_version, plural)
        assert kind == LEASES

        def act() -> Object:
            known = self.cluster.find(kind, namespace, name)
            if known["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
                raise Conflict(409, "Conflict", "the object has been modified")
            return self.cluster.update(kind, dict(body))

        return await self._write("update", kind, dict(body), act)

    async def patch(
        self, group_version: str, plural: str, namespace: str, name: str, body: Mapping[str, Any]
    ) -> Object:
        kind = (group_version, plural)
        assert kind == SECRETS, "an operator changes no object but statuses, Leases and its own Secret"
        known = self.cluster.find(kind, namespace, name)
        return await self._write("patch", kind, dict(body), lambda: self.cluster.update(kind, merged(known, body)))

    async def patch_status(
        self, group_version: str, plural: str, namespace: str, name: str, body: Mapping[str, Any]
    ) -> Object:
        kind = (group_version, plural)
        assert set(body) == {"status", "metadata"}
        assert set(body["metadata"]) == {"uid"}

        def act() -> Object:
            known = self.cluster.find(kind, namespace, name)
            if known["metadata"]["uid"] != body["metadata"]["uid"]:
                raise Conflict(409, "Conflict", "the uid in the precondition is another")
            status = merged(known.get("status") or {}, body["status"])
            check_status(status)
            return self.cluster.update(kind, {**known, "status": status})

        return await self._write("patch status", kind, dict(body), act)

    async def delete(
        self, group_version: str, plural: str, namespace: str, name: str, *, uid: str | None = None
    ) -> None:
        kind = (group_version, plural)
        assert kind != BATCH_TESTS or uid is not None
        await self._write("delete", kind, {}, lambda: self.cluster.delete(kind, name, namespace, uid=uid))

    async def list(
        self,
        group_version: str,
        plural: str,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        page: int | None = None,
        metadata_only: bool = False,
    ) -> AsyncIterator[Object]:
        del page  # the fake's lists are short
        if self.on_list is not None:
            await self.on_list((group_version, plural))
        for body in self._listed((group_version, plural), namespace, label_selector):
            # Only events are asked for by a field, and nobody posts any but the operator.
            if not field_selector:
                yield {"metadata": body["metadata"]} if metadata_only else body

    async def list_page(
        self,
        group_version: str,
        plural: str,
        namespace: str | None = None,
        *,
        limit: int,
        continue_: str = "",
        **_: str,
    ) -> Object:
        found, start = self._listed((group_version, plural), namespace, ""), int(continue_ or 0)
        more = str(start + limit) if start + limit < len(found) else ""
        return {"items": found[start : start + limit], "metadata": {"continue": more, "resourceVersion": "1"}}

    async def watch(self, *_: str | None, **__: str) -> AsyncIterator[Object]:
        if self.fate:
            raise Unreachable("this fake has no watch")
        yield {}

    def _listed(self, kind: Kind, namespace: str | None, label_selector: str) -> Sequence[Object]:
        self.fate.check()
        self.cluster.check_there()
        wanted = dict(part.split("=") for part in label_selector.split(",") if part)
        return [
            copy.deepcopy(body)
            for body in self.cluster.all(kind)
            if namespace in {None, body["metadata"]["namespace"]}
            and wanted.items() <= (body["metadata"].get("labels") or {}).items()
        ]

    async def _write(self, verb: str, kind: Kind, body: Object, act: Callable[[], Object]) -> Object:
        what = f"{verb} {kind[1]}"
        await self.fate.gate()
        self.fate.enter(what, Unreachable)
        refusal = self.cluster.refuse(verb, kind, body)
        if refusal is not None:
            raise refusal
        answer = act()
        self.cluster.writes[what] += 1
        self.fate.leave(Unreachable)
        return copy.deepcopy(answer)


def as_client(api: FakeApi) -> ApiClient:
    """Return the fake for whoever asks for the real one."""
    return cast("ApiClient", api)


def check_status(status: Object) -> None:
    """Refuse a status that the contract, or the API server, would not take."""
    size = len(json.dumps(status, separators=(",", ":"), ensure_ascii=False).encode())
    if size > STATUS_BYTES:
        raise Invalid(422, "Invalid", f"the status has {size} bytes")
    if not set(status) <= _STATUS_FIELDS:
        raise Invalid(422, "Invalid", f"unknown fields: {sorted(set(status) - _STATUS_FIELDS)}")
    try:
        BatchStatus.from_json(status)
    except ValueError as err:
        raise Invalid(422, "Invalid", str(err)) from err


def merged(target: Any, patch: Any) -> Any:
    """Return the target after a JSON merge patch (RFC 7386); nulls in arrays are dropped, as for a CRD's fields."""
    if not isinstance(patch, dict):
        return _without_nulls(patch)
    made = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key), value)
    return made


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


class FakePlace:
    """A place of two objects, as the real ones are: itself, and a Secret without which nothing in it starts.

    What it is like stands in its ``status``, which whoever plays the cluster sets. With ``has_driver`` its worker is
    started from outside, as in a RayCluster; otherwise it starts by itself.
    """

    def __init__(self, api: FakeApi, *, has_driver: bool) -> None:
        self._api, self._has_driver = api, has_driver

    async def ensure(self, request: PlaceRequest) -> None:
        namespace = request.ref.namespace
        labels = {"batchyard.dev/uid": request.ref.uid, "batch": request.batch_id, "attempt": str(request.attempt)}
        owner = [{"kind": "BatchTest", "uid": request.ref.uid}]
        body = {"metadata": {"name": request.name, "labels": labels, "ownerReferences": owner}, "status": {}}
        try:
            made = await self._api.create(*PLACES, namespace, body)
        except Conflict:
            made = await self._api.get(*PLACES, namespace, request.name)
        owned = {"name": f"{request.name}-token", "ownerReferences": [{"uid": made["metadata"]["uid"]}]}
        try:
            await self._api.create(*SECRETS, namespace, {"metadata": owned, "data": {"token": request.token}})
        except Conflict:
            return

    async def observe(self, request: PlaceRequest, identity: str) -> Observation:
        try:
            found = await self._api.get(*PLACES, request.ref.namespace, request.name)
        except NotFound:
            return Observation(PlaceState.LOST if identity else PlaceState.ABSENT, "", "there is no such place")
        status = found["status"]
        state = PlaceState(status.get("state", PlaceState.PENDING))
        if identity and status.get("identity") != identity:
            return Observation(PlaceState.LOST, "Replaced", "it is another one now", identity)
        if state is PlaceState.READY and not self._has_driver:
            state = PlaceState.RUNNING
        return Observation(state, status.get("reason", ""), status.get("message", ""), status.get("identity", ""))

    async def start(self, request: PlaceRequest) -> None:
        if not self._has_driver:
            return
        await self._api.fate.gate()
        self._api.fate.enter("start the driver", Unreachable)
        found = self._api.cluster.find(PLACES, request.ref.namespace, request.name)
        started = {**found, "status": {**found["status"], "state": PlaceState.RUNNING.value}}
        self._api.cluster.update(PLACES, started)
        self._api.fate.leave(Unreachable)

    async def release(self, request: PlaceRequest) -> bool:
        try:
            found = await self._api.get(*PLACES, request.ref.namespace, request.name)
            if not found["metadata"].get("deletionTimestamp"):
                await self._api.delete(*PLACES, request.ref.namespace, request.name)
        except NotFound:
            return True
        return False

    async def children(self, namespace: str | None) -> Sequence[Child]:
        return [
            Child(
                body["metadata"]["namespace"], body["metadata"]["name"], body["metadata"]["uid"],
                body["metadata"]["labels"]["batchyard.dev/uid"],
            )
            async for body in self._api.list(*PLACES, namespace)
            if not body["metadata"].get("deletionTimestamp")
        ]  # fmt: skip

    async def remove(self, child: Child) -> None:
        await self._api.delete(*PLACES, child.namespace, child.name, uid=child.uid)
