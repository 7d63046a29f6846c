"""A fake API server that a whole operator can watch: it tells what kinds it has, and streams changes as they come.

A namespace may be closed to the operator, as one is that took the operator's Role with it.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from fake_cluster_api import TOKEN, Asked, FakeCluster, Kind, Object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

BATCH_TESTS = ("batchyard.dev/v1alpha1", "batchtests")
LEASES = ("coordination.k8s.io/v1", "leases")
POSTED = ("events.k8s.io/v1", "events")
DEFINITIONS = ("apiextensions.k8s.io/v1", "customresourcedefinitions")
_KINDS = {
    "batchtests": "BatchTest",
    "leases": "Lease",
    "jobs": "Job",
    "rayclusters": "RayCluster",
    "pods": "Pod",
    "secrets": "Secret",
    "events": "Event",
    "configmaps": "ConfigMap",
    "customresourcedefinitions": "CustomResourceDefinition",
    "namespaces": "Namespace",
}
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
# So that a server that is to end is not held up by those who watch.
_WATCH_SECONDS = 2.0


class WatchedCluster(FakeCluster):
    """See above. ``closed`` names the namespaces that may not be looked into."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds |= {BATCH_TESTS, LEASES, POSTED, DEFINITIONS}
        self.closed: set[str] = set()
        self._changes: list[tuple[int, Kind, str, bytes]] = []
        self._changed = threading.Condition(self._lock)

    def vanish(self, namespace: str, *, told: bool) -> None:
        """Have a namespace gone with all that is in it; ``told``: whoever watches hears of it first."""
        with self._lock:
            for kind, within, name in list(self._objects):
                if within == namespace:
                    found = self._objects.pop((kind, within, name))
                    if told:
                        self._tell("DELETED", kind, found)
            self.closed.add(namespace)

    def kubeconfig(self, folder: Path) -> Path:
        """Write a kubeconfig for this server."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": TOKEN}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "batchyard"}}],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    # -- what the server does ----------------------------------------------------------------------------------

    def begin_watch(self, asked: Asked) -> Iterator[bytes] | None:
        with self._lock:
            kind, namespace = _target(asked.path)
            since = int(asked.query["resourceVersion"])
            # A watch may just have been between two requests: what it was to be told it still is.
            if namespace in self.closed and not self._fresh(kind, namespace, since):
                return None
            self.asked.append(asked)
        return self._told_since(kind, namespace, since)

    def answer(self, asked: Asked) -> tuple[int, Any, Mapping[str, str], bool]:
        found = self._discovery().get(asked.path.rstrip("/"))
        if found is not None:
            return 200, found, {}, False
        if "/namespaces/" in asked.path and _target(asked.path)[1] in self.closed:
            body = {
                "kind": "Status",
                "status": "Failure",
                "reason": "Forbidden",
                "message": "it is closed",
                "code": 403,
            }
            return 403, body, {}, False
        return super().answer(asked)

    def _told_since(self, kind: Kind, namespace: str | None, version: int) -> Iterator[bytes]:
        sent = version
        while True:
            with self._changed:
                fresh = self._fresh(kind, namespace, sent)
                if not fresh and namespace not in self.closed:
                    self._changed.wait(_WATCH_SECONDS)
                    fresh = self._fresh(kind, namespace, sent)
                if not fresh:
                    return
            for at, line in fresh:
                sent = at
                yield line

    def _fresh(self, kind: Kind, namespace: str | None, since: int) -> list[tuple[int, bytes]]:
        return [
            (at, line)
            for at, of, within, line in self._changes
            if of == kind and namespace in {None, within} and at > since
        ]

    def _touch(self, found: Object) -> Object:
        touched = super()._touch(found)
        for key, known in self._objects.items():
            if known is found:
                self._tell("MODIFIED", key[0], found)
        return touched

    def _delete(self, kind: Kind, namespace: str, name: str) -> None:
        found = self._objects[kind, namespace, name]
        super()._delete(kind, namespace, name)
        if (kind, namespace, name) not in self._objects:
            self._tell("DELETED", kind, found)

    def _tell(self, what: str, kind: Kind, found: Object) -> None:
        if what == "DELETED":
            self._version += 1
        body = {**found, "metadata": {**found["metadata"], "resourceVersion": str(self._version)}}
        line = json.dumps({"type": what, "object": body}).encode() + b"\n"
        with self._changed:
            self._changes.append((self._version, kind, found["metadata"]["namespace"], line))
            self._changed.notify_all()

    def _discovery(self) -> Mapping[str, Object]:
        """Return what the server says of itself, by path."""
        by_version: dict[str, list[Object]] = defaultdict(list)
        for version, plural in sorted({*self.kinds, ("v1", "namespaces")}):
            within = plural not in {"customresourcedefinitions", "namespaces"}
            one = {"name": plural, "singularName": "", "kind": _KINDS[plural], "namespaced": within, "verbs": _VERBS}
            by_version[version].append(one)
        groups = [_group(version) for version in by_version if "/" in version]
        found: dict[str, Object] = {"/api": {"versions": ["v1"]}, "/apis": {"groups": groups}}
        for version, resources in by_version.items():
            root = f"/apis/{version}" if "/" in version else f"/api/{version}"
            found[root] = {"groupVersion": version, "resources": resources}
        return found


def _group(group_version: str) -> Object:
    name, _, version = group_version.partition("/")
    known = {"groupVersion": group_version, "version": version}
    return {"name": name, "versions": [known], "preferredVersion": known}


def _target(path: str) -> tuple[Kind, str | None]:
    """Return of which kind, and in which namespace, the objects at a path are."""
    parts = path.strip("/").split("/")
    version, rest = (parts[1], parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
    if rest[0] == "namespaces" and len(rest) > 2:
        return (version, rest[2]), rest[1]
    return (version, rest[0]), None
