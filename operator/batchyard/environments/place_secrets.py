"""Tells which Secrets the pods of a place have values of, whoever asked for them. Pure.

Not for the values, nor for keeping them out of what is written (``quotes``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.environments.manifests import Defaults, job, ray_cluster, token_name
from batchyard.model.spec_environment import Provider

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchyard.engine.places import PlaceRequest
    from batchyard.model.trial import JSON

# In a volume, in a part of a projected one, in envFrom and in env.
_REFERENCES = frozenset({"secret", "secretRef", "secretKeyRef"})
_NAMES = ("secretName", "name")
_ANY_DEFAULTS, _ANY_SECONDS = Defaults("", ""), 60.0


def secret_names(request: PlaceRequest) -> tuple[str, ...]:
    """Return the Secrets whose values the place's pods have, also in what templates add; without the worker's token."""
    names = dict.fromkeys(name for pod in _pods(request) for name in _named_in(pod["spec"]))
    names.pop(token_name(request.name), None)
    return tuple(names)


def _pods(request: PlaceRequest) -> list[Mapping[str, JSON]]:
    if request.batch.spec.environment.provider is not Provider.KUBE_RAY:
        return [job(request, _ANY_DEFAULTS, _ANY_SECONDS)["spec"]["template"]]
    made = ray_cluster(request, _ANY_DEFAULTS)["spec"]
    return [made["headGroupSpec"]["template"], *(group["template"] for group in made["workerGroupSpecs"])]


def _named_in(part: JSON) -> Iterator[str]:
    if isinstance(part, list):
        for item in part:
            yield from _named_in(item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in _REFERENCES and isinstance(value, dict):
                yield from (value[name] for name in _NAMES if isinstance(value.get(name), str) and value[name])
            yield from _named_in(value)
