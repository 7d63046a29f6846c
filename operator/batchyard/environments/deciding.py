"""What decides what the pods of a batch are, for telling whether two batches ran in the same ones. Pure.

Not for what the pods look like (``manifests``), nor for holding two batches against each other (``decide.amending``).
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from batchyard.environments.manifests import image_of, kube_ray_of
from batchyard.model.setting import DIGEST
from batchyard.model.spec_environment import Isolation, Provider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.engine.places import PlaceRequest
    from batchyard.environments.manifests import Defaults
    from batchyard.model.trial import JSON

_DIGITS = 32


def place_of(request: PlaceRequest) -> str:
    """Return what the batch's place is called in a sentence."""
    environment = request.batch.spec.environment
    if environment.provider is Provider.KUBE_RAY:
        return "KubeRay"
    return "threads of a pod" if environment.isolation is Isolation.THREAD else "worker processes of a pod"


def pods_of(request: PlaceRequest, defaults: Defaults) -> dict[str, str]:
    """Return what decides the pods by its name: an image or a version as it is, anything else as a digest.

    How many pods there are, and how long they stay, decides no trial.
    """
    environment = request.batch.spec.environment
    parts: dict[str, JSON] = {
        "spec.environment.template": environment.template,
        "variables that the operator gives every pod": dict(defaults.env),
    }
    if environment.provider is not Provider.KUBE_RAY:
        return {"image": image_of(request, defaults), **_digests(parts)}
    asked = kube_ray_of(request)
    for name, part in (("head", asked.head), ("workers", asked.workers)):
        fields = part.model_dump(mode="json", by_alias=True, exclude={"replicas"}, exclude_defaults=True)
        parts[f"spec.environment.kubeRay.{name}"] = fields
    parts["spec.environment.kubeRay.runtimeEnv"] = asked.runtime_env
    image = asked.image or image_of(request, defaults)
    return {"image": image, "Ray": asked.ray_version or defaults.ray_version, **_digests(parts)}


def _digests(parts: Mapping[str, JSON]) -> dict[str, str]:
    """Return a digest of each that says anything: what is in them may be long, and no one else's business."""
    return {
        name: f"{DIGEST}{hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:_DIGITS]}"
        for name, part in parts.items()
        if part
    }
