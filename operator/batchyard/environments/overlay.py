"""Lays a user's pod template over ours: mappings merge, lists of named things merge by name, all else is replaced.

It may add to what keeps the pods safe and apart, not take it away: the security contexts, the account's token and the
batchyard mounts are put back afterwards.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.model.trial import JSON

_FIXED = ("automountServiceAccountToken", "enableServiceLinks")


def overlaid(pod: Mapping[str, JSON], overlay: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return the pod's spec with ``overlay`` (a pod spec, or a template with ``spec``) laid over it."""
    over = overlay.get("spec", overlay)
    made: dict[str, JSON] = _merged(deepcopy(dict(pod)), over)
    for name in _FIXED:
        made[name] = pod[name]
    made["securityContext"] = {**made["securityContext"], "runAsNonRoot": True}
    for container in made["containers"]:
        context = container.setdefault("securityContext", {})
        context["allowPrivilegeEscalation"] = False
        context["capabilities"] = {**context.get("capabilities", {}), "drop": ["ALL"]}
    return made


def _merged(base: JSON, over: JSON) -> JSON:
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{key: _merged(base[key], value) if key in base else value for key, value in over.items()}}
    if _named(base) and _named(over):
        by_name = {item["name"]: item for item in base}
        for item in over:
            by_name[item["name"]] = _merged(by_name.get(item["name"], {}), item)
        return list(by_name.values())
    return deepcopy(over)


def _named(value: JSON) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) and "name" in item for item in value)
