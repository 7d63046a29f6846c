"""A queue that does to Jobs and RayClusters what Kueue does, in one namespace: hold back, let in, take back.

It stands in for Kueue where Kueue is not to be had. What it does is what Kueue 0.17 does: a webhook suspends what
names a queue when it is made; letting in clears ``spec.suspend`` and puts the flavour's node selector into the pods'
templates, in one update; taking back sets ``spec.suspend`` again; why something waits is an event about its Workload.
Not for which workload has its turn: the test says so.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from certificates import certificate
from cluster.bed.layout import GATEWAY
from loopback_server import QuietHandler

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.bed.client import Cluster

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_PLURALS = {"Job": "jobs", "RayCluster": "rayclusters"}
# What every node of a Linux cluster has.
_FLAVOUR = {"kubernetes.io/os": "linux"}

Object = dict[str, Any]


class StandInQueue:
    """Stands in for Kueue in a namespace while its context lasts. ``kind`` is Job or RayCluster."""

    def __init__(self, cluster: Cluster, namespace: str, kind: str, folder: Path) -> None:
        """``folder`` keeps the webhook's certificate."""
        self._cluster, self._namespace, self._kind = cluster, namespace, kind
        self._name = f"queue-{namespace}"
        self._certificate = certificate(folder, "queue", f"IP:{GATEWAY}")
        self._server = ThreadingHTTPServer((GATEWAY, 0), _Webhook)
        self._server.daemon_threads = True
        self._server.socket = self._certificate.server().wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        self._cluster.apply("default", self._configuration())
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.kubectl("delete", "mutatingwebhookconfiguration", self._name, "--ignore-not-found")
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def admit(self, name: str) -> None:
        """Let a place be made, on the nodes of the flavour that it was given."""
        parts = (
            ["headGroupSpec/template", "workerGroupSpecs/0/template"] if self._kind == "RayCluster" else ["template"]
        )
        flavour = [{"op": "add", "path": f"/spec/{part}/spec/nodeSelector", "value": _FLAVOUR} for part in parts]
        self._patch(name, [{"op": "replace", "path": "/spec/suspend", "value": False}, *flavour])

    def take_back(self, name: str) -> None:
        """Preempt a place: what runs in it is ended."""
        self._patch(name, [{"op": "replace", "path": "/spec/suspend", "value": True}])

    def says(self, name: str, words: str) -> None:
        """Say why a place is not admitted."""
        workload = f"{self._kind.lower()}-{name}-1a2b3"
        about = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Workload", "name": workload}
        self._cluster.apply(
            self._namespace,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"{workload}.{secrets.token_hex(4)}"},
                "involvedObject": {**about, "namespace": self._namespace, "uid": secrets.token_hex(8)},
                "type": "Warning",
                "reason": "Pending",
                "message": words,
                "lastTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),  # noqa: TID251 - the cluster's
                "source": {"component": "kueue-admission"},
            },
        )

    def _patch(self, name: str, changes: list[Object]) -> None:
        where = ("-n", self._namespace, _PLURALS[self._kind], name)
        self._cluster.kubectl("patch", *where, "--type=json", "-p", json.dumps(changes))

    def _configuration(self) -> Object:
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": self._name},
            "webhooks": [
                {
                    "name": "queue.test.batchyard.dev",
                    "clientConfig": {
                        "url": f"https://{GATEWAY}:{self._server.server_address[1]}/",
                        "caBundle": base64.b64encode(self._certificate.file.read_bytes()).decode(),
                    },
                    "rules": [
                        _creation_of("batch", "jobs"),
                        _creation_of("ray.io", "rayclusters"),
                    ],
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self._namespace}},
                    "failurePolicy": "Fail",
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                }
            ],
        }


class _Webhook(QuietHandler):
    """Suspends what names a queue."""

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = review["request"]
        answer: Object = {"uid": asked["uid"], "allowed": True}
        if QUEUE_LABEL in (asked["object"]["metadata"].get("labels") or {}):
            patch = json.dumps([{"op": "add", "path": "/spec/suspend", "value": True}])
            answer |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch.encode()).decode()}
        body = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _creation_of(group: str, plural: str) -> Object:
    return {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [plural]}
