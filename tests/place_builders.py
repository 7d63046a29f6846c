"""What places are made from, with defaults that a test changes where it matters."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from batchyard.engine.cluster_ports import ClusterRef
from batchyard.engine.places import PlaceRequest, place_name
from batchyard.environments.manifests import Defaults
from batchyard.model.spec import BatchTest
from batchyard.testing.fake_clock import T0

UID = "5f2c8a9e-0000-4000-8000-000000000001"
REF = ClusterRef("team-a", "docs-search", UID)
DEFAULTS = Defaults(image="registry.test/runner:1", ray_version="2.52.0")
RESULTS_TOKEN = "a-token-of-one-attempt"  # noqa: S105 - of no use anywhere
RESULTS_URL = "http://batchyard.batchyard-system.svc:8080"


def batch(*, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None, **spec: Any) -> BatchTest:
    """Return a BatchTest without cases; keywords are fields of its spec, as in a file."""
    document = {
        "apiVersion": "batchyard.dev/v1alpha1",
        "kind": "BatchTest",
        "metadata": {"name": "docs-search", "labels": labels or {}, "annotations": annotations or {}},
        "spec": {
            "workflow": {"factory": "docs:build", "source": {"configMapRef": {"name": "docs-code"}}},
            "variants": {"matrix": {"retriever": ["bm25", "tfidf"]}},
            **spec,
        },
    }
    return BatchTest.model_validate_json(json.dumps(document))


def request(ref: ClusterRef = REF, attempt: int = 1, **spec: Any) -> PlaceRequest:
    """Return what a place is made from; further keywords are those of ``batch``."""
    return PlaceRequest(
        batch_id="docs-search-1",
        ref=ref,
        attempt=attempt,
        name=place_name(ref, attempt),
        batch=batch(**spec),
        token=RESULTS_TOKEN,
        results_url=RESULTS_URL,
        deadline_at=T0 + timedelta(hours=1),
        source_items={"docs.py": "docs.py", "data--words.txt": "data/words.txt"},
    )


def kube_ray(template: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Return the environment of a batch on KubeRay; ``fields`` are those of ``kubeRay``."""
    return {"provider": "KubeRay", "kubeRay": fields, "template": template or {}}


def foreign_job() -> dict[str, Any]:
    """Return a Job of somebody else, which bears our labels."""
    labels = {"app.kubernetes.io/managed-by": "batchyard", "batchyard.dev/uid": UID}
    return {"kind": "Job", "metadata": {"labels": labels}, "spec": {}}


def head_status(**status: Any) -> list[dict[str, Any]]:
    """Return the status of a head pod's one container."""
    return [{"name": "ray-head", **status}]
