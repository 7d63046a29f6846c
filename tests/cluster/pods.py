"""Pods and RayClusters as the cluster tests make them: under the restricted profile, small, with the local images."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cluster.bed.client import Cluster

_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_WRITABLE = {"tmp": "/tmp", "data": "/var/lib/batchyard"}
_MEMORY = {"requests": {"cpu": "200m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "2Gi"}}


def in_namespace(namespace: str) -> tuple[str, str]:
    """Return kubectl's words for a namespace."""
    return ("-n", namespace)


def restricted_pod(name: str, image: str, command: list[str], restart: str = "Never") -> dict[str, Any]:
    """Return a pod of one of the project's images; only /tmp and the user's home can be written."""
    container = _container("main", image) | {"command": command}
    spec = _pod_spec(container) | {"restartPolicy": restart, "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def ray_cluster(name: str, workers: int = 1) -> dict[str, Any]:
    """Return a RayCluster with token authentication, a head that runs no tasks, and this many workers of one CPU."""
    head = {"rayStartParams": {"num-cpus": "0"}, "template": {"spec": _pod_spec(_container("ray-head", "runner"))}}
    group = {
        "groupName": "workers",
        "replicas": workers,
        "minReplicas": workers,
        "maxReplicas": workers,
        "rayStartParams": {"num-cpus": "1"},
        "template": {"spec": _pod_spec(_container("ray-worker", "runner"))},
    }
    spec = {
        "rayVersion": version("ray"),
        "authOptions": {"mode": "token"},
        "headGroupSpec": head,
        "workerGroupSpecs": [group],
    }
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": name}, "spec": spec}


def wait_for_phase(cluster: Cluster, namespace: str, pod: str, phase: str) -> None:
    """Wait until a pod is in a phase; for ``Running`` also until it is ready."""

    def arrived() -> bool:
        status = cluster.get(namespace, "pod", pod)["status"]
        ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", []))
        return status["phase"] == phase and (ready or phase != "Running")

    cluster.until(90, f"pod {pod} {phase}", arrived, look_at=namespace)


def logs(cluster: Cluster, namespace: str, pod: str) -> str:
    """Return what a pod printed."""
    return cluster.kubectl("logs", pod, *in_namespace(namespace))


def logs_to_the_end(cluster: Cluster, namespace: str, pod: str) -> str:
    """Return what a pod prints until it ends; it may be deleted then."""
    return cluster.attempt("logs", "--follow", pod, *in_namespace(namespace), timeout=120).stdout


def _container(name: str, image: str) -> dict[str, Any]:
    mounts = [{"name": volume, "mountPath": path} for volume, path in _WRITABLE.items()]
    return {
        "name": name,
        "image": f"batchyard/{image}:test",
        "imagePullPolicy": "IfNotPresent",
        "securityContext": _RESTRICTED,
        "resources": _MEMORY,
        "volumeMounts": mounts,
    }


def _pod_spec(container: dict[str, Any]) -> dict[str, Any]:
    volumes = [{"name": volume, "emptyDir": {}} for volume in _WRITABLE]
    return {"containers": [container], "volumes": volumes, "enableServiceLinks": False}
