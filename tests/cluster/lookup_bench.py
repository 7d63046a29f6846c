"""A cluster as far as helm looks into it while it renders: Deployments, and claims of volumes. No cluster is needed."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import yaml

from cluster.chart_bench import NAMESPACE, RELEASE
from loopback_server import QuietHandler, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Object = dict[str, Any]

_VERBS = ["get", "list"]
_DISCOVERED: dict[str, Object] = {
    "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.4"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "groups": [
            {
                "name": "apps",
                "versions": [{"groupVersion": "apps/v1", "version": "v1"}],
                "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"},
            }
        ],
    },
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            {"name": "persistentvolumeclaims", "kind": "PersistentVolumeClaim", "namespaced": True, "verbs": _VERBS}
        ],
    },
    "/apis/apps/v1": {
        "kind": "APIResourceList",
        "groupVersion": "apps/v1",
        "resources": [{"name": "deployments", "kind": "Deployment", "namespaced": True, "verbs": _VERBS}],
    },
}


def claim(release: str = RELEASE, **spec: Any) -> Object:
    """Return the claim as a release made it."""
    given = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}, **spec}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata("batchyard", NAMESPACE, release),
        "spec": given,
    }


def operator(namespace: str, *watched: str, release: str = RELEASE, name: str = "batchyard") -> Object:
    """Return the Deployment of an operator; ``release`` "" is one that kubectl applied."""
    env = [{"name": "BATCHYARD_RESULTS_URL", "value": "http://x"}, {"name": "BATCHYARD_STORE", "valueFrom": {}}]
    if watched:
        env.append({"name": "BATCHYARD_WATCH_NAMESPACES", "value": " ".join(watched)})
    return deployment(namespace, {"name": "operator", "env": env}, release=release, name=name)


def deployment(namespace: str, container: Object, *, release: str, name: str) -> Object:
    """Return any Deployment."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(name, namespace, release),
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


@contextmanager
def looking_at(folder: Path, *objects: Object, forbidden: Sequence[str] = ()) -> Iterator[tuple[str, ...]]:
    """Serve these objects; yield the options by which ``helm template`` looks at them."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            status, body = _answer(self.path.partition("?")[0], objects, forbidden)
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    with serving(Handler) as url:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "it",
                    "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                    "clusters": [{"name": "it", "cluster": {"server": url}}],
                    "users": [{"name": "it", "user": {}}],
                }
            )
        )
        yield "--dry-run=server", f"--kubeconfig={kubeconfig}"


def _metadata(name: str, namespace: str, release: str) -> Object:
    by_helm = {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": namespace}
    return {"name": name, "namespace": namespace, **({"annotations": by_helm} if release else {})}


def _answer(path: str, objects: Sequence[Object], forbidden: Sequence[str]) -> tuple[int, Object]:
    if path in _DISCOVERED:
        return 200, _DISCOVERED[path]
    parts = path.strip("/").split("/")
    if any(resource in parts for resource in forbidden):
        return _refusal(403, "Forbidden")
    if parts == ["apis", "apps", "v1", "deployments"]:
        found = [one for one in objects if one["kind"] == "Deployment"]
        return 200, {"apiVersion": "apps/v1", "kind": "DeploymentList", "items": found}
    for one in objects:
        metadata = one["metadata"]
        if parts[-4:] == ["namespaces", metadata["namespace"], f"{one['kind'].lower()}s", metadata["name"]]:
            return 200, one
    return _refusal(404, "NotFound")


def _refusal(code: int, reason: str) -> tuple[int, Object]:
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
