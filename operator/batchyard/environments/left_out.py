"""Tells what a BatchTest asks of its place and would not get, so that it is refused and not silently left out.

Pure. Not for deciding what a template may say: that is ``overlay``, whose result is compared with what was asked.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from batchyard.engine.cluster_ports import ClusterRef
from batchyard.engine.places import PlaceRequest
from batchyard.environments.manifests import HEAD_PARAMS, Defaults, job, protected_env, ray_cluster
from batchyard.environments.overlay import OWN_CONTAINERS
from batchyard.model.errors import Fault
from batchyard.model.faults import shortened
from batchyard.model.spec_environment import KubeRay, Provider, RayHead, RayWorkers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchyard.model.spec import BatchTest
    from batchyard.model.trial import JSON

_ROOT = "spec.environment"
_ANY_SECONDS = 60.0
_NO_TIME = datetime.fromtimestamp(0, UTC)
MAX_FAULTS = 100
_KEYS = ("mountPath", "name")
# Whoever says no to these does not say what is so anyway.
_ON_BY_DEFAULT = frozenset({"runAsNonRoot"})


def faults_of_place(request: PlaceRequest, defaults: Defaults) -> list[Fault]:
    """Return a fault for each thing that its place would not have of what ``request`` asks, at most ``MAX_FAULTS``.

    Of ``spec.environment.env`` the trials get everything, whatever the pod's own variables are.
    """
    return list(islice(_faults(request, defaults), MAX_FAULTS))


def faults_of_file(batch: BatchTest) -> list[Fault]:
    """Return the faults that its place would have in whatever cluster, of what is in no cluster yet."""
    request = PlaceRequest(
        batch_id="",
        ref=ClusterRef("", "", ""),
        attempt=1,
        name="",
        batch=batch,
        token="",
        results_url="",
        deadline_at=_NO_TIME,
    )
    return faults_of_place(request, Defaults("", ""))


def _faults(request: PlaceRequest, defaults: Defaults) -> Iterator[Fault]:
    environment = request.batch.spec.environment
    yield from _of_template(f"{_ROOT}.template", environment.template, _pods(request, defaults, environment.template))
    if environment.provider is not Provider.KUBE_RAY:
        return

    root, asked = f"{_ROOT}.kubeRay", environment.kube_ray or KubeRay()
    for name, template, part in (
        ("head", asked.head.template, {"head": RayHead(template=asked.head.template)}),
        ("workers", asked.workers.template, {"workers": RayWorkers(template=asked.workers.template)}),
    ):
        head, worker = _pods(request, defaults, {}, KubeRay().model_copy(update=part))
        yield from _of_template(f"{root}.{name}.template", template, [head if name == "head" else worker])
    for key, value in asked.head.ray_start_params.items():
        if HEAD_PARAMS.get(key, value) != value:
            path = f"{root}.head.rayStartParams.{key}"
            yield Fault(path, shortened(value), "is an option that Batchyard sets", "take it out")
    protected, variables = protected_env(request), asked.runtime_env.get("env_vars")
    for name in variables if isinstance(variables, dict) else ():
        if name in protected:
            path = f"{root}.runtimeEnv.env_vars.{name}"
            yield Fault(path, "", "is a variable that Batchyard sets", "take it out or rename it")


def _pods(
    request: PlaceRequest, defaults: Defaults, template: Mapping[str, JSON], kube_ray: KubeRay | None = None
) -> list[Mapping[str, JSON]]:
    """Return the place's pod templates with one overlay alone: what another replaces is not left out."""
    spec = request.batch.spec
    alone = spec.environment.model_copy(update={"template": template, "kube_ray": kube_ray})
    batch = request.batch.model_copy(update={"spec": spec.model_copy(update={"environment": alone})})
    request = replace(request, batch=batch)
    if alone.provider is not Provider.KUBE_RAY:
        return [job(request, defaults, _ANY_SECONDS)["spec"]["template"]]
    made = ray_cluster(request, defaults)["spec"]
    return [made["headGroupSpec"]["template"], made["workerGroupSpecs"][0]["template"]]


def _of_template(path: str, asked: Mapping[str, JSON], pods: Sequence[Mapping[str, JSON]]) -> Iterator[Fault]:
    whole = "spec" in asked or "metadata" in asked
    made = [pod if whole else pod["spec"] for pod in pods]
    own = [_own_containers(pod) for pod in pods]
    missing = dict.fromkeys(
        where for pod, names in zip(made, own, strict=True) for where in _missing(asked, pod, path, names)
    )
    # Without the value, which may be anything.
    for where in missing:
        yield Fault(where, "", "is not for a template to say", "take it out; see docs/pod-templates.md")
    theirs = _own_containers({"spec": asked.get("spec") if whole else asked})
    for name in sorted(theirs.difference(*own)):
        names = ", ".join(sorted(frozenset().union(*own)))
        text = "is a container that no pod of this place has"
        yield Fault(f"{path}{'.spec' if whole else ''}.containers[{name}]", "", text, f"here it is called {names}")


def _own_containers(pod: Mapping[str, JSON]) -> frozenset[str]:
    """Return which containers of ours a pod, or a template of one, speaks of."""
    spec = pod.get("spec")
    containers = spec.get("containers") if isinstance(spec, dict) else None
    found = (one.get("name") for one in containers if isinstance(one, dict)) if isinstance(containers, list) else ()
    return frozenset(name for name in found if isinstance(name, str) and name in OWN_CONTAINERS)


def _missing(asked: JSON, made: JSON, path: str, own: frozenset[str]) -> Iterator[str]:
    """Yield where ``made`` does not have what is asked; what is asked to be off, or empty, may be absent.

    ``own`` are the containers of ours in this pod: what is said to others of ours is not said to it.
    """
    if isinstance(asked, dict) and isinstance(made, dict):
        for key, value in asked.items():
            if key == "drop" and "ALL" in (made.get("drop") or ()):
                continue  # nothing is left that could be dropped
            there = made.get(key, True if key in _ON_BY_DEFAULT else None)
            yield from _missing(value, there, f"{path}.{key}", own)
    elif isinstance(asked, list) and (isinstance(made, list) or any(isinstance(item, dict) for item in asked)):
        yield from _missing_items(asked, made if isinstance(made, list) else [], path, own)
    elif asked != made and not (made is None and _is_nothing(asked)):
        yield path


def _is_nothing(asked: JSON) -> bool:
    return asked is None or asked is False or asked in ("", [], {})


def _missing_items(asked: list[JSON], made: list[JSON], path: str, own: frozenset[str]) -> Iterator[str]:
    known = {(key, one[key]): one for one in made if isinstance(one, dict) for key in _KEYS if _is_key(one, key)}
    plain = {_text(one) for one in made}
    for number, item in enumerate(asked):
        key = next((key for key in _KEYS if isinstance(item, dict) and _is_key(item, key)), "")
        if key:
            name = item[key]
            if (key, name) in known:
                yield from _missing(item, known[key, name], f"{path}[{name}]", own)
            elif not path.endswith(".containers") or name not in OWN_CONTAINERS - own:
                yield f"{path}[{name}]"
        elif _text(item) not in plain:
            there = made[number] if number < len(made) else None
            yield from _missing(item, there, f"{path}[{number}]", own)


def _text(item: JSON) -> str:
    return json.dumps(item, sort_keys=True)


def _is_key(item: Mapping[str, JSON], key: str) -> bool:
    return isinstance(item.get(key), str)
