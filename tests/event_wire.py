"""Kubernetes events as the API server sends them, with only what a test is about."""

from __future__ import annotations

from typing import Any

NAMESPACE = "team"
POD = "docs-search-0a1b2c-1-head-x7k2p"


def a_wire_event(uid: str = "ev-1", **fields: Any) -> dict[str, Any]:
    """Return a v1 Event of the kubelet's about a pod of ours; ``version`` and ``pod`` are short for where they go."""
    version, pod = str(fields.pop("version", "7")), fields.pop("pod", POD)
    namespace = fields.pop("namespace", NAMESPACE)
    return {
        "metadata": {
            "name": f"{pod}.{uid}",
            "namespace": namespace,
            "uid": uid,
            "resourceVersion": version,
            "creationTimestamp": "2026-01-02T03:00:00Z",
        },
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": pod, "uid": "pod-uid"},
        "reason": "BackOff",
        "message": "Back-off pulling image",
        "type": "Warning",
        "count": 1,
        "firstTimestamp": "2026-01-02T03:00:00Z",
        "lastTimestamp": "2026-01-02T03:00:01Z",
        "source": {"component": "kubelet", "host": "node0"},
        "reportingComponent": "kubelet",
        **fields,
    }
