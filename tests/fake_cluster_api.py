"""A fake of a Kubernetes API server over HTTP: it keeps objects as a real one does, and can be told to misbehave.

Kept: uid, resource version and creation time, conflicts, preconditions, label and field selectors, pages and their
expiry, owners and what happens to what they own. It has no controllers: a test plays Kubernetes' part in them.
"""

from __future__ import annotations

import json
import socket
import threading
import uuid
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from kubernetes.aio.client.configuration import Configuration

from batchyard.apiserver.client import ApiClient
from loopback_server import QuietHandler, serving

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Object = dict[str, Any]

TOKEN = "the-operators-own"  # noqa: S105 - of a fake
NAMESPACE = "team-a"

JOBS, CLUSTERS = ("batch/v1", "jobs"), ("ray.io/v1", "rayclusters")
PODS, SECRETS, EVENTS, CONFIG_MAPS = ("v1", "pods"), ("v1", "secrets"), ("v1", "events"), ("v1", "configmaps")
Kind = tuple[str, str]


@dataclass(slots=True)
class Fault:
    """What is to go wrong with the next ``times`` requests of a method for a plural ("" is any).

    ``status`` is answered instead of doing it; 0 breaks the connection, before it is done or (``late``) after.
    """

    method: str
    plural: str = ""
    status: int = 0
    reason: str = "InternalError"
    message: str = "the fake was told to"
    headers: Mapping[str, str] = field(default_factory=dict)
    late: bool = False
    times: int = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    headers: Mapping[str, str]


class FakeCluster:
    """What the cluster holds. Safe to use from any thread."""

    def __init__(self) -> None:
        self.kinds: set[Kind] = {JOBS, CLUSTERS, PODS, SECRETS, EVENTS, CONFIG_MAPS}
        self.tokens = {TOKEN}
        self.url = ""
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.expire_pages = 0
        self.watched: Sequence[bytes] = ()
        self._objects: dict[tuple[Kind, str, str], Object] = {}
        self._version = 100
        self._lock = threading.RLock()  # guards all of it; taken by the server's threads and the test's

    # -- what a test does in Kubernetes' stead -----------------------------------------------------------------

    def put(self, kind: Kind, name: str, body: Object | None = None, **metadata: Any) -> Object:
        """Store an object as whoever else is in the cluster would; return it."""
        with self._lock:
            made = deepcopy(body or {})
            made["metadata"] = {"name": name, "namespace": NAMESPACE, **made.get("metadata", {}), **metadata}
            return self._store(kind, made)

    def get(self, kind: Kind, name: str, namespace: str = NAMESPACE) -> Object:
        """Return an object. Raises ``KeyError`` if it is not there."""
        with self._lock:
            return deepcopy(self._objects[kind, namespace, name])

    def names(self, kind: Kind) -> list[str]:
        """Return the names of all objects of a kind."""
        with self._lock:
            return [name for known, _, name in self._objects if known == kind]

    def change(self, kind: Kind, name: str, **parts: Any) -> None:
        """Replace top-level parts of an object, such as its status."""
        with self._lock:
            found = self._objects[kind, NAMESPACE, name]
            found.update(deepcopy(parts))
            self._touch(found)

    def remove(self, kind: Kind, name: str) -> None:
        """Have an object gone at once, whatever it owns or waits for."""
        with self._lock:
            del self._objects[kind, NAMESPACE, name]

    def delete(self, kind: Kind, name: str) -> None:
        """Delete an object as ``kubectl delete`` does."""
        with self._lock:
            self._delete(kind, NAMESPACE, name)

    def collect_garbage(self) -> None:
        """Delete what belonged to objects that are gone; pods take their time (``end_pods``)."""
        with self._lock:
            uids = {found["metadata"]["uid"] for found in self._objects.values()}
            for (kind, namespace, name), found in list(self._objects.items()):
                owners = found["metadata"].get("ownerReferences") or []
                if owners and not any(owner["uid"] in uids or owner["kind"] == "BatchTest" for owner in owners):
                    self._delete(kind, namespace, name)

    def end_pods(self) -> None:
        """Have every pod that is being deleted gone."""
        with self._lock:
            for key, found in list(self._objects.items()):
                if key[0] == PODS and found["metadata"].get("deletionTimestamp"):
                    del self._objects[key]

    def fail(self, method: str, plural: str = "", status: int = 0, **more: Any) -> None:
        """Have the next such request go wrong; see ``Fault``."""
        self.faults.append(Fault(method, plural, status, **more))

    def count(self, method: str, plural: str) -> int:
        """Return how many such requests came."""
        return sum(one.method == method and f"/{plural}" in one.path for one in self.asked)

    def client(self, token: str = TOKEN) -> ApiClient:
        """Return a client; to be made within an event loop, and closed."""
        return ApiClient(Configuration(host=self.url, api_key={"BearerToken": f"Bearer {token}"}), NAMESPACE)

    # -- what the server does ----------------------------------------------------------------------------------

    def answer(self, asked: Asked) -> tuple[int, Any, Mapping[str, str], bool]:
        """Return status (0: none), body, headers, and whether the connection is to break."""
        with self._lock:
            self.asked.append(asked)
            fault = self._fault(asked)
            if fault is not None and not fault.late:
                return *_status(fault.status, fault.reason, fault.message), fault.headers, fault.status == 0
            if asked.headers.get("authorization") not in {f"Bearer {token}" for token in self.tokens}:
                return *_status(401, "Unauthorized", "Unauthorized"), {}, False
            code, body = self._do(asked)
            return code, deepcopy(body), {}, fault is not None

    def begin_watch(self, asked: Asked) -> Iterable[bytes] | None:
        """Return what a watch is sent, piece by piece; None to answer it as any other request."""
        self.asked.append(asked)
        return self.watched

    def _fault(self, asked: Asked) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == asked.method and f"/{fault.plural}" in asked.path:
                fault.times -= 1
                return fault
        return None

    def _do(self, asked: Asked) -> tuple[int, Any]:
        parts = [unquote(part) for part in asked.path.strip("/").split("/")]
        version = parts[1] if parts[0] == "api" else "/".join(parts[1:3])
        rest = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = None
        if rest[:1] == ["namespaces"]:
            namespace, rest = rest[1], rest[2:]
        kind, name = (version, rest[0]), rest[1] if len(rest) > 1 else None
        if kind not in self.kinds:
            if any(known[0] == version for known in self.kinds):
                return _status(404, "NotFound", "the server could not find the requested resource")
            return 404, "404 page not found\n"
        match asked.method:
            case "GET" if name is None:
                return self._page(kind, namespace, asked.query, "PartialObjectMetadataList" in asked.headers["accept"])
            case "POST" if namespace is not None:
                return self._create(kind, namespace, asked.body)
        found = self._objects.get((kind, namespace or "", name or ""))
        if found is None:
            return _status(404, "NotFound", f'{kind[1]} "{name}" not found')
        match asked.method:
            case "GET":
                return 200, found
            case "PUT":
                return self._replace(found, asked.body)
            case "PATCH":
                _merge(found, asked.body)
                return 200, self._touch(found)
            case "DELETE":
                wanted = ((asked.body or {}).get("preconditions") or {}).get("uid")
                if wanted not in {None, found["metadata"]["uid"]}:
                    return _status(409, "Conflict", "the UID in the precondition does not match")
                self._delete(kind, found["metadata"]["namespace"], found["metadata"]["name"])
                return 200, {"kind": "Status", "status": "Success"}
        return _status(405, "MethodNotAllowed", asked.method)

    def _create(self, kind: Kind, namespace: str, body: Object) -> tuple[int, Any]:
        name = body["metadata"]["name"]
        if (kind, namespace, name) in self._objects:
            return _status(409, "AlreadyExists", f'{kind[1]} "{name}" already exists')
        made = deepcopy(body)
        made["metadata"]["namespace"] = namespace
        return 201, self._store(kind, made)

    def _replace(self, found: Object, body: Object) -> tuple[int, Any]:
        if body["metadata"].get("resourceVersion") not in {None, found["metadata"]["resourceVersion"]}:
            return _status(409, "Conflict", "the object has been modified")
        found.update({key: value for key, value in body.items() if key != "metadata"})
        return 200, self._touch(found)

    def _store(self, kind: Kind, made: Object) -> Object:
        metadata = made["metadata"]
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", f"2026-01-02T03:04:{len(self._objects) % 60:02}Z")
        if "stringData" in made:
            made["data"] = {key: _base64(value) for key, value in made.pop("stringData").items()}
        self._objects[kind, metadata["namespace"], metadata["name"]] = made
        return deepcopy(self._touch(made))

    def _touch(self, found: Object) -> Object:
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)
        return found

    def _delete(self, kind: Kind, namespace: str, name: str) -> None:
        found = self._objects[kind, namespace, name]
        if kind == PODS or found["metadata"].get("finalizers"):
            found["metadata"].setdefault("deletionTimestamp", "2026-01-02T03:05:00Z")
        else:
            del self._objects[kind, namespace, name]

    def _page(
        self, kind: Kind, namespace: str | None, query: Mapping[str, str], metadata_only: bool
    ) -> tuple[int, Any]:
        found = [
            body
            for (known, within, _), body in self._objects.items()
            if known == kind and namespace in {None, within} and _selected(body, query)
        ]
        start, limit = int(query.get("continue", "0")), int(query.get("limit", "0")) or len(found) or 1
        if start and self.expire_pages:
            self.expire_pages -= 1
            return _status(410, "Expired", "the provided continue parameter is too old")
        more = {"continue": str(start + limit)} if start + limit < len(found) else {}
        # As in a real list, the items do not say what they are.
        items = [
            {key: value for key, value in one.items() if key not in {"kind", "apiVersion"}}
            if not metadata_only
            else {"metadata": one["metadata"]}
            for one in found[start : start + limit]
        ]
        return 200, {"kind": "List", "metadata": {"resourceVersion": str(self._version), **more}, "items": items}


def _selected(body: Object, query: Mapping[str, str]) -> bool:
    labels = body["metadata"].get("labels") or {}
    wanted = [part.split("=", 1) for part in query.get("labelSelector", "").split(",") if part]
    fields = [part.split("=", 1) for part in query.get("fieldSelector", "").split(",") if part]
    return all(labels.get(key) == value for key, value in wanted) and all(
        _field(body, path) == value for path, value in fields
    )


def _field(body: Any, path: str) -> Any:
    for part in path.split("."):
        body = (body or {}).get(part)
    return body


def _merge(found: Object, patch: Object) -> None:
    """Apply a JSON merge patch (RFC 7386)."""
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict) and isinstance(found.get(key), dict):
            _merge(found[key], value)
        else:
            found[key] = deepcopy(value)


def _status(code: int, reason: str, message: str) -> tuple[int, Object]:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message}
    return code, {**body, "code": code}


def _base64(text: str) -> str:
    from base64 import b64encode

    return b64encode(text.encode()).decode()


C = TypeVar("C", bound=FakeCluster)

# -- the server ----------------------------------------------------------------------------------------------------


@contextmanager
def running(cluster: C, tls: ssl.SSLContext | None = None, *, port: int = 0) -> Iterator[C]:
    """Listen on a port of this machine, a free one by default, while the context lasts."""

    class Handler(QuietHandler):
        wbufsize = -1

        def _handle(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, parts.path, dict(parse_qsl(parts.query)), body, headers)
            watched = cluster.begin_watch(asked) if asked.query.get("watch") else None
            if watched is not None:
                self._stream(watched)
                return
            code, answer, more, broken = cluster.answer(asked)
            if broken:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            text = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(code)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def _stream(self, pieces: Iterable[bytes]) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in pieces:
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    with serving(Handler, tls, port=port) as cluster.url:
        yield cluster
