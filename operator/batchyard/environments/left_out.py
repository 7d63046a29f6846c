"""Tells what a BatchTest asks of its place and would not get, so that it is refused and not silently left out.

Pure. Not for deciding what a template may say: that is ``overlay``, whose result is compared with what was asked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchyard.environments.manifests import HEAD_PARAMS, job, protected_env, ray_cluster
from batchyard.environments.overlay import OWN_CONTAINERS
from batchyard.model.errors import Fault
from batchyard.model.faults import shortened
from batchyard.model.spec_environment import KubeRay, Provider, RayHead, RayWorkers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from batchyard.engine.places import PlaceRequest
    from batchyard.environments.manifests import Defaults
    from batchyard.model.trial import JSON

_ROOT = "spec.environment"
_ANY_SECONDS = 60.0


def faults_of_place(request: PlaceRequest, defaults: Defaults) -> list[Fault]:
    """Return a fault for each thing in the request's ``spec.environment`` that its place would not have."""
    environment = request.batch.spec.environment
    faults = [*_variables(request, f"{_ROOT}.env", environment.env)]
    faults += _of_template(f"{_ROOT}.template", environment.template, _pods(request, defaults, environment.template))
    if environment.provider is not Provider.KUBE_RAY:
        return faults

    root, asked = f"{_ROOT}.kubeRay", environment.kube_ray or KubeRay()
    for name, template, part in (
        ("head", asked.head.template, {"head": RayHead(template=asked.head.template)}),
        ("workers", asked.workers.template, {"workers": RayWorkers(template=asked.workers.template)}),
    ):
        head, worker = _pods(request, defaults, {}, KubeRay().model_copy(update=part))
        faults += _of_template(f"{root}.{name}.template", template, [head if name == "head" else worker])
    faults += [
        Fault(f"{root}.head.rayStartParams.{key}", shortened(value), "is an option that Batchyard sets", "take it out")
        for key, value in asked.head.ray_start_params.items()
        if HEAD_PARAMS.get(key, value) != value
    ]
    variables = asked.runtime_env.get("env_vars")
    faults += _variables(request, f"{root}.runtimeEnv.env_vars", variables if isinstance(variables, dict) else {})
    return faults


def _variables(request: PlaceRequest, path: str, given: Iterable[str]) -> Iterator[Fault]:
    protected = protected_env(request)
    for name in given:
        if name in protected:
            yield Fault(f"{path}.{name}", "", "is a variable that Batchyard sets", "take it out or rename it")


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


def _of_template(path: str, asked: Mapping[str, JSON], pods: Iterable[Mapping[str, JSON]]) -> list[Fault]:
    whole = "spec" in asked or "metadata" in asked
    missing = dict.fromkeys(where for made in pods for where in _missing(asked, made if whole else made["spec"], path))
    # Without the value, which may be anything.
    return [
        Fault(where, "", "is not for a template to say", "take it out; see docs/pod-templates.md") for where in missing
    ]


def _missing(asked: JSON, made: JSON, path: str) -> Iterator[str]:
    """Yield where ``made`` does not have what is asked; what is asked to be off, or empty, may be absent."""
    if isinstance(asked, dict) and isinstance(made, dict):
        for key, value in asked.items():
            yield from _missing(value, made.get(key), f"{path}.{key}")
    elif isinstance(asked, list) and isinstance(made, list):
        for number, item in enumerate(asked):
            yield from _missing_item(item, made, number, path)
    elif asked != made and (asked or made is not None):
        yield path


def _missing_item(asked: JSON, made: list[Any], number: int, path: str) -> Iterator[str]:
    if asked in made:
        return
    for key in ("mountPath", "name"):
        if isinstance(asked, dict) and isinstance(asked.get(key), str):
            found = [one for one in made if isinstance(one, dict) and one.get(key) == asked[key]]
            if found:
                yield from _missing(asked, found[-1], f"{path}[{asked[key]}]")
            elif asked[key] not in OWN_CONTAINERS:  # those of other pods are not asked of this one
                yield f"{path}[{asked[key]}]"
            return
    if isinstance(asked, dict) and len(made) > number:
        yield from _missing(asked, made[number], f"{path}[{number}]")
    else:
        yield f"{path}[{number}]"
