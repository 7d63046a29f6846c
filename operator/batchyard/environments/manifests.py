"""The objects that a place in a cluster is made of, as JSON. Pure: the same request gives the same objects.

Every pod keeps to the ``restricted`` Pod Security Standard, gets no token of the cluster and no service variables.
The Secret with the worker's token belongs to the Job or RayCluster, so that it goes with it. No value of a Secret is
in any of them: pods name their Secrets. Not for what a user's template may change (``overlay``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from batchyard.environments.overlay import OWN_VOLUMES, overlaid
from batchyard.environments.queue_labels import for_the_queue
from batchyard.environments.ray import RAY_SETTINGS, cpus_per_trial
from batchyard.model.quantity import to_cpus
from batchyard.model.spec_environment import KubeRay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.engine.places import PlaceRequest
    from batchyard.model.spec import Resources
    from batchyard.model.spec_environment import RayHead, RayWorkers
    from batchyard.model.trial import JSON

MANAGED_LABEL = "app.kubernetes.io/managed-by"
MANAGED_SELECTOR = {MANAGED_LABEL: "batchyard"}
UID_LABEL = "batchyard.dev/uid"

SOURCE_FOLDER = "/opt/batchyard-source"
SPOOL_FOLDER = "/var/lib/batchyard"
TOKEN_FOLDER = "/var/run/batchyard/token"  # noqa: S105 - a folder
SECRETS_FOLDER = "/var/run/batchyard/secrets"
THREADS_FILE = f"{SECRETS_FOLDER}/checkpoints/url"
"""Where the container that keeps threads finds the database's URL: among what it must never write anywhere."""

RUNNER = "runner"
HEAD, WORKER = "ray-head", "ray-worker"
"""The containers that run what is ours; each pod has one of them, and it comes first."""

DASHBOARD_PORT = 8265
_USER = 10001
_GRACE_SECONDS = 30
_BACKSTOP_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a BatchTest that says nothing gets; ``pull_policy`` "" leaves it to the cluster."""

    image: str
    ray_version: str
    pull_policy: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


# With these a Ray would let anybody in, or the driver would look for another one.
_RAY_ENV = frozenset({
    "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ENABLE_K8S_TOKEN_AUTH",
})  # fmt: skip

# Which head a driver is in: one that was replaced may not know it yet.
_POD_UID: Mapping[str, JSON] = {"name": "BATCHYARD_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}

HEAD_PARAMS = {"num-cpus": "0", "dashboard-port": str(DASHBOARD_PORT), "include-dashboard": "true"}
"""What the head has whatever is asked: trials run on the workers, and the operator looks for the dashboard there."""

_SMALL = {"cpu": "200m", "memory": "512Mi"}
_HEAD = {"cpu": "200m", "memory": "1Gi"}


def job(request: PlaceRequest, defaults: Defaults, seconds_left: float) -> dict[str, JSON]:
    """Return the Job with the one runner pod of the InProcess provider; ``seconds_left`` are those to its deadline."""
    spec = request.batch.spec
    container = {
        **_container(request, defaults, name=RUNNER, image=image_of(request, defaults), trusted=True),
        "args": ["worker"],
        "resources": {"requests": dict(_SMALL)},
    }
    template = _template(request, container, spec.environment.template, trusted=True)
    template["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _queued_metadata(request),
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            # Else a second pod begins while the first is still being deleted, and both would be this attempt.
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": max(1, math.ceil(seconds_left + spec.deadlines.grace_seconds) + _BACKSTOP_SECONDS),
            "template": template,
        },
    }


def ray_cluster(request: PlaceRequest, defaults: Defaults) -> dict[str, JSON]:
    """Return the RayCluster of the KubeRay provider: a head without processors for trials, and fixed workers."""
    asked = kube_ray_of(request)
    replicas = asked.workers.replicas
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": _queued_metadata(request),
        "spec": {
            "rayVersion": asked.ray_version or defaults.ray_version,
            "authOptions": {"mode": "token"},
            "headGroupSpec": {
                "rayStartParams": {
                    "num-cpus": "0",
                    "dashboard-host": "0.0.0.0",  # noqa: S104 - the operator has to reach it
                    **{key: value for key, value in asked.head.ray_start_params.items() if key not in HEAD_PARAMS},
                },
                "template": _ray_template(request, defaults, asked.head, HEAD),
            },
            "workerGroupSpecs": [
                {
                    "groupName": "workers",
                    "replicas": replicas,
                    "minReplicas": replicas,
                    "maxReplicas": max(1, replicas),
                    "rayStartParams": {"num-cpus": str(_cpus(request, replicas)), **asked.workers.ray_start_params},
                    "template": _ray_template(request, defaults, asked.workers, WORKER),
                }
            ],
        },
    }


def wanted_workers(request: PlaceRequest) -> int:
    """Return how many worker pods a ready RayCluster has."""
    return kube_ray_of(request).workers.replicas


def token_secret(request: PlaceRequest, owner: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return the Secret with the worker's token, which belongs to ``owner``, the Job or RayCluster as it was stored."""
    metadata = _metadata(request)
    metadata["name"] = token_name(request.name)
    metadata["ownerReferences"] = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        }
    ]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "immutable": True,
        "stringData": {"token": request.token},
    }


def runtime_env(request: PlaceRequest) -> dict[str, JSON]:
    """Return Ray's runtime environment of the driver; like a template it sets none of our variables."""
    asked = kube_ray_of(request).runtime_env
    env = asked.get("env_vars")
    if not isinstance(env, dict):
        return asked
    protected = protected_env(request)
    return {**asked, "env_vars": {name: value for name, value in env.items() if name not in protected}}


def protected_env(request: PlaceRequest) -> frozenset[str]:
    """Return the variables that nothing in a BatchTest sets; others are settings, such as BATCHYARD_CA_FILE."""
    return _RAY_ENV.union(_own_env(request, trusted=True), {_POD_UID["name"]})


def token_name(place: str) -> str:
    """Return the name of the Secret with the token of a place's worker."""
    return f"{place}-results"


# -- pods --------------------------------------------------------------------------------------------------------


def _ray_template(request: PlaceRequest, defaults: Defaults, part: RayHead | RayWorkers, name: str) -> dict[str, JSON]:
    head = name == HEAD
    image = kube_ray_of(request).image or image_of(request, defaults)
    container = _container(request, defaults, name=name, image=image, trusted=head)
    container["resources"] = _resources(part.resources, _HEAD if head else _SMALL)
    if head:
        container["env"].append(dict(_POD_UID))
    return _template(request, container, request.batch.spec.environment.template, part.template, trusted=head)


def _template(
    request: PlaceRequest, container: dict[str, JSON], *overlays: Mapping[str, JSON], trusted: bool
) -> dict[str, JSON]:
    template = {"metadata": {"labels": _labels(request)}, "spec": _pod(request, [container], trusted=trusted)}
    return _with_secrets_known(overlaid(template, *overlays, protected=protected_env(request)))


def _with_secrets_known(template: dict[str, JSON]) -> dict[str, JSON]:
    """Mount a template's own Secrets where the worker looks for values that it must never write anywhere."""
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    own = template["spec"]["containers"][0]
    names = dict.fromkeys(mount["name"] for mount in own["volumeMounts"] if not OWN_VOLUMES.match(mount["name"]))
    own["volumeMounts"] += [
        {"name": name, "mountPath": f"{SECRETS_FOLDER}/volume-{name}", "readOnly": True}
        for name in names
        if {"secret", "projected"} & volumes.get(name, {}).keys()
    ]
    return template


def _container(request: PlaceRequest, defaults: Defaults, *, name: str, image: str, trusted: bool) -> dict[str, JSON]:
    environment = request.batch.spec.environment
    protected = protected_env(request)
    given = {key: value for key, value in environment.env.items() if key not in protected}
    env = {**defaults.env, **given, **_own_env(request, trusted=trusted)}
    mounts: list[JSON] = [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
        {"name": "spool", "mountPath": SPOOL_FOLDER},
    ]
    if _source_map(request) is not None:
        mounts.append({"name": "source", "mountPath": SOURCE_FOLDER, "readOnly": True})
    mounts += [
        {"name": f"secret-{index}", "mountPath": f"{SECRETS_FOLDER}/{index}", "readOnly": True}
        for index in _secrets(request)
    ]
    if trusted:
        mounts.append({"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": True})
    if trusted and request.batch.spec.checkpoints.postgres is not None:
        mounts.append({"name": "checkpoints", "mountPath": str(PurePosixPath(THREADS_FILE).parent), "readOnly": True})
    container: dict[str, JSON] = {
        "name": name,
        "image": image,
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "envFrom": [_env_from(entry.model_dump(mode="json", by_alias=True)) for entry in environment.env_from],
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    if defaults.pull_policy:
        container["imagePullPolicy"] = defaults.pull_policy
    return container


def _own_env(request: PlaceRequest, *, trusted: bool) -> dict[str, str]:
    env = {
        "HOME": "/tmp",  # noqa: S108 - the pod's own
        "BATCHYARD_SPOOL": SPOOL_FOLDER,
        "BATCHYARD_HOME": SPOOL_FOLDER,
        "BATCHYARD_SOURCE": SOURCE_FOLDER if _source_map(request) is not None else "",
        "BATCHYARD_SECRET_FILES": SECRETS_FOLDER,
        **RAY_SETTINGS,
        # Whatever a trial leaves behind dies with its worker, not with the pod.
        "RAY_process_group_cleanup_enabled": "true",
    }
    if trusted:
        env |= {
            "BATCHYARD_RESULTS_URL": request.results_url,
            "BATCHYARD_BATCH": request.batch_id,
            "BATCHYARD_ATTEMPT": str(request.attempt),
            "BATCHYARD_TOKEN_FILE": f"{TOKEN_FOLDER}/token",
            "BATCHYARD_THREADS_FILE": THREADS_FILE if request.batch.spec.checkpoints.postgres is not None else "",
        }
    return env


def _pod(request: PlaceRequest, containers: list[JSON], *, trusted: bool) -> dict[str, JSON]:
    volumes: list[JSON] = [{"name": "tmp", "emptyDir": {}}, {"name": "spool", "emptyDir": {}}]
    source = _source_map(request)
    if source is not None:
        items = [{"key": key, "path": path} for key, path in sorted((request.source_items or {}).items())]
        volumes.append({"name": "source", "configMap": {"name": source, **({"items": items} if items else {})}})
    volumes += [
        {"name": f"secret-{index}", "secret": {"secretName": name}} for index, name in _secrets(request).items()
    ]
    if trusted:
        volumes.append({"name": "token", "secret": {"secretName": token_name(request.name)}})
        volumes += _threads_volume(request)
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": containers,
        "volumes": volumes,
    }


def _env_from(entry: Mapping[str, JSON]) -> dict[str, JSON]:
    return {key: value for key, value in entry.items() if value}


def _secrets(request: PlaceRequest) -> dict[int, str]:
    """Return the Secrets whose values must never be written anywhere, by their place in ``envFrom``."""
    entries = request.batch.spec.environment.env_from
    return {index: entry.secret_ref.name for index, entry in enumerate(entries) if entry.secret_ref is not None}


def _threads_volume(request: PlaceRequest) -> list[JSON]:
    """Return the volume with the one key of the Secret that says where threads are kept, if they are."""
    kept = request.batch.spec.checkpoints.postgres
    if kept is None:
        return []
    items = [{"key": kept.secret_ref.key, "path": PurePosixPath(THREADS_FILE).name}]
    return [{"name": "checkpoints", "secret": {"secretName": kept.secret_ref.name, "items": items}}]


def _source_map(request: PlaceRequest) -> str | None:
    reference = request.batch.spec.workflow.source.config_map_ref
    return reference.name if reference is not None else None


def image_of(request: PlaceRequest, defaults: Defaults) -> str:
    """Return the image that the workflow runs in, unless KubeRay has one of its own."""
    return request.batch.spec.workflow.source.image or defaults.image


def _resources(asked: Resources | None, default: Mapping[str, str]) -> dict[str, JSON]:
    if asked is None:
        return {"requests": dict(default)}
    given = {key: value for key, value in (("cpu", asked.cpu), ("memory", asked.memory)) if value is not None}
    return {"requests": {**default, **given}, "limits": given}


def _cpus(request: PlaceRequest, replicas: int) -> int:
    """Return the processors that Ray counts on a worker pod: enough for its share of the trials, or what it has."""
    batch = request.batch
    share = math.ceil(batch.spec.parallelism / max(1, replicas))
    needed = math.ceil(share * cpus_per_trial(batch))
    cpu = (resources := kube_ray_of(request).workers.resources) and resources.cpu
    return max(1, needed, math.floor(to_cpus(cpu)) if cpu else 0)


def kube_ray_of(request: PlaceRequest) -> KubeRay:
    """Return what is asked of the RayCluster."""
    return request.batch.spec.environment.kube_ray or KubeRay()


# -- names -------------------------------------------------------------------------------------------------------


def _metadata(request: PlaceRequest) -> dict[str, JSON]:
    return {
        "name": request.name,
        "namespace": request.ref.namespace,
        "labels": _labels(request),
        "ownerReferences": [
            {
                "apiVersion": "batchyard.dev/v1alpha1",
                "kind": "BatchTest",
                "name": request.ref.name,
                "uid": request.ref.uid,
                "controller": True,
            }
        ],
    }


def _queued_metadata(request: PlaceRequest) -> dict[str, JSON]:
    """Return the metadata with what the BatchTest says to a queue. Pods that said it too would be queued themselves."""
    metadata, asked = _metadata(request), request.batch.metadata
    metadata["labels"] |= for_the_queue(asked.labels)
    annotations = for_the_queue(asked.annotations)
    return {**metadata, "annotations": annotations} if annotations else metadata


def _labels(request: PlaceRequest) -> dict[str, str]:
    return {
        **MANAGED_SELECTOR,
        "app.kubernetes.io/name": "batchyard-runner",
        # A label holds 63 characters, a name more.
        "batchyard.dev/batch": request.ref.name[:63].rstrip("-."),
        UID_LABEL: request.ref.uid,
        "batchyard.dev/attempt": str(request.attempt),
    }
