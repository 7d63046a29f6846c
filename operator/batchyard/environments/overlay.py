"""Lays a user's pod template over ours. Pure, and made for templates that mean no good.

A template may say where a pod runs and what it needs, and add containers, volumes, variables and mounts. Only what is
listed here gets through: nothing that the ``restricted`` Pod Security Standard forbids, no token of the cluster, and
nothing in the place of what Batchyard put there. What does not get through is left out.

Mappings merge, lists of named things merge by name, all else is replaced; null takes one of our defaults away.
"""

from __future__ import annotations

import posixpath
import re
from copy import deepcopy
from typing import TYPE_CHECKING

from batchyard.environments.security import container_context, pod_context

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from batchyard.model.trial import JSON

OWN_CONTAINERS = frozenset({"runner", "ray-head", "ray-worker"})
"""A template names our containers by these; one that is not in the pod at hand is none of its business."""

OWN_VOLUMES = re.compile(r"(tmp|spool|source|token|checkpoints|secret-[0-9]+)\Z")

_POD_FIELDS = frozenset({
    "affinity", "dnsConfig", "dnsPolicy", "hostAliases", "hostname", "imagePullSecrets", "nodeName", "nodeSelector",
    "overhead", "preemptionPolicy", "priority", "priorityClassName", "readinessGates", "resourceClaims", "resources",
    "runtimeClassName", "schedulerName", "schedulingGates", "serviceAccountName", "setHostnameAsFQDN", "subdomain",
    "terminationGracePeriodSeconds", "tolerations", "topologySpreadConstraints",
})  # fmt: skip
_CONTAINER_FIELDS = frozenset({
    "args", "command", "env", "envFrom", "image", "imagePullPolicy", "lifecycle", "livenessProbe", "name", "ports",
    "readinessProbe", "resizePolicy", "resources", "restartPolicy", "startupProbe", "stdin", "stdinOnce",
    "terminationMessagePath", "terminationMessagePolicy", "tty", "workingDir",
})  # fmt: skip
_VOLUME_FIELDS = frozenset({
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
    "secret",
})  # fmt: skip
_MOUNT_FIELDS = frozenset({"name", "mountPath", "readOnly", "recursiveReadOnly", "subPath", "subPathExpr"})
_VALUE_SOURCES = frozenset({"fieldRef", "resourceFieldRef", "configMapKeyRef"})
# They are credentials of the cluster.
_TOKEN_SOURCES = frozenset({"serviceAccountToken", "podCertificate"})
_ON_THE_HOST = frozenset({"host", "hostPort", "hostIP"})
_REACHED = frozenset({"lifecycle", "livenessProbe", "ports", "readinessProbe", "startupProbe"})

_OWN_KEYS = re.compile(
    r"([^/]*\.)?(batchyard\.dev|ray\.io)/|(batch|apparmor\.security\.beta|seccomp\.security\.alpha)\.kubernetes\.io/"
    r"|container\.(apparmor|seccomp)\.|controller-uid\Z|job-name\Z"
)


def overlaid(
    template: Mapping[str, JSON], *overlays: Mapping[str, JSON], protected: Collection[str] = ()
) -> dict[str, JSON]:
    """Return a pod template with each overlay (a pod spec, or a template with ``spec``) laid over it in turn.

    ``protected`` are variables that no overlay may set in our containers.
    """
    made = deepcopy(dict(template))
    laying = _Laying(template["spec"], frozenset(protected))
    for overlay in overlays:
        whole = "spec" in overlay or "metadata" in overlay
        made["metadata"] = _with_metadata(made["metadata"], _mapping(overlay.get("metadata")) if whole else {})
        made["spec"] = laying.over(made["spec"], _mapping(overlay.get("spec")) if whole else overlay)
    # Also what no overlay touched, and what one of them emptied.
    made["spec"]["securityContext"] = pod_context(made["spec"]["securityContext"], {})
    return made


class _Laying:
    """Knows which parts of the pod are ours."""

    def __init__(self, pod: Mapping[str, JSON], protected: frozenset[str]) -> None:
        self._own = {container["name"]: container for container in pod["containers"]}
        self._volumes = {volume["name"] for volume in pod["volumes"]}
        self._paths = [_path(mount["mountPath"]) for one in pod["containers"] for mount in one["volumeMounts"]]
        # Below these a pod finds what others write; below all others it writes itself.
        self._sealed = [
            _path(mount["mountPath"])
            for one in pod["containers"]
            for mount in one["volumeMounts"]
            if mount.get("readOnly")
        ]
        self._protected = protected

    def over(self, pod: Mapping[str, JSON], overlay: Mapping[str, JSON]) -> dict[str, JSON]:
        """Return the pod's spec with one overlay laid over it."""
        allowed = {key: value for key, value in overlay.items() if key in _POD_FIELDS}
        made: dict[str, JSON] = _merged(dict(pod), allowed)
        if overlay.get("hostUsers") is False:
            made["hostUsers"] = False
        made["securityContext"] = pod_context(pod["securityContext"], _mapping(overlay.get("securityContext")))
        made["volumes"] = _by_name(pod["volumes"], overlay.get("volumes"), self._volume)
        made["containers"] = _by_name(pod["containers"], overlay.get("containers"), self._container)
        init = _by_name(pod.get("initContainers") or [], overlay.get("initContainers"), self._added_only)
        return {**made, "initContainers": init} if init else made

    def _volume(self, known: Mapping[str, JSON], over: Mapping[str, JSON]) -> dict[str, JSON] | None:
        if over["name"] in self._volumes or OWN_VOLUMES.match(over["name"]):
            return None
        sources = {key: deepcopy(value) for key, value in over.items() if key in _VOLUME_FIELDS and value is not None}
        if isinstance(sources.get("projected"), dict):
            parts = [
                part for part in _mappings(sources["projected"].get("sources")) if not _TOKEN_SOURCES & part.keys()
            ]
            sources["projected"]["sources"] = parts
        # Two kinds at once are a mistake that the API server explains best.
        return {"name": over["name"], **sources} if sources else None

    def _container(self, known: Mapping[str, JSON], over: Mapping[str, JSON]) -> dict[str, JSON] | None:
        if over["name"] in self._own:
            return self._patched(known, over)
        return self._added_only(known, over)

    def _added_only(self, known: Mapping[str, JSON], over: Mapping[str, JSON]) -> dict[str, JSON] | None:
        if over["name"] in OWN_CONTAINERS:
            return None
        made: dict[str, JSON] = _merged(
            dict(known),
            {
                key: _off_the_host(value) if key in _REACHED else value
                for key, value in over.items()
                if key in _CONTAINER_FIELDS
            },
        )
        made["securityContext"] = container_context(
            _mapping(known.get("securityContext")), _mapping(over.get("securityContext"))
        )
        # The token is for what the runner's own process sends.
        mounts = [one for one in _mounts(over) if one["name"] != "token"]
        return {**made, "volumeMounts": _mounted(known.get("volumeMounts") or [], mounts)} if mounts else made

    def _patched(self, own: Mapping[str, JSON], over: Mapping[str, JSON]) -> dict[str, JSON]:
        """Return one of our containers with what may be added to it; its image, command and mounts stay."""
        env = {one["name"]: one for one in own["env"]}
        for entry in _mappings(over.get("env")):
            if (variable := self._variable(entry)) is not None:
                env.pop(variable["name"], None)
                env[variable["name"]] = variable
        maps = [entry for entry in _mappings(over.get("envFrom")) if "secretRef" not in entry]
        made = {
            **own,
            "env": list(env.values()),
            "envFrom": [*own["envFrom"], *deepcopy(maps)],
            "resources": _merged(own["resources"], _mapping(over.get("resources"))),
            "volumeMounts": _mounted(own["volumeMounts"], [one for one in _mounts(over) if self._is_free(one)]),
            "securityContext": container_context(own["securityContext"], _mapping(over.get("securityContext"))),
        }
        if isinstance(over.get("imagePullPolicy"), str):
            made["imagePullPolicy"] = over["imagePullPolicy"]
        return made

    def _variable(self, entry: Mapping[str, JSON]) -> dict[str, JSON] | None:
        """Return the variable if it may be set; from a Secret it would be one that nobody knows to keep out of logs."""
        name, source = entry.get("name"), _mapping(entry.get("valueFrom"))
        if not isinstance(name, str) or name in self._protected:
            return None
        if source:
            return {"name": name, "valueFrom": deepcopy(dict(source))} if source.keys() <= _VALUE_SOURCES else None
        return {"name": name, "value": entry["value"]} if isinstance(entry.get("value"), str) else None

    def _is_free(self, mount: Mapping[str, JSON]) -> bool:
        """Return whether a mount hides none of ours and does not lie in one that is sealed."""
        if OWN_VOLUMES.match(mount["name"]):
            return False
        path = _path(mount["mountPath"])
        return not any(_is_within(own, path) for own in self._paths) and not any(
            _is_within(path, own) for own in self._sealed
        )


def _by_name(
    known: list[JSON],
    over: JSON,
    lay: Callable[[Mapping[str, JSON], Mapping[str, JSON]], dict[str, JSON] | None],
) -> list[JSON]:
    """Return the known things in their order, then the new ones; ``lay`` returns None for what may not be."""
    made = {item["name"]: item for item in known}
    for item in _mappings(over):
        if isinstance(item.get("name"), str):
            laid = lay(made.get(item["name"], {}), item)
            if laid is not None:
                made[item["name"]] = laid
    return list(made.values())


def _with_metadata(known: Mapping[str, JSON], over: Mapping[str, JSON]) -> dict[str, JSON]:
    made = dict(known)
    for part in ("labels", "annotations"):
        given = {
            key: value
            for key, value in _mapping(over.get(part)).items()
            if isinstance(value, str) and not _OWN_KEYS.match(key)
        }
        if given or part in known:
            made[part] = {**given, **_mapping(known.get(part))}
    return made


def _mounts(container: Mapping[str, JSON]) -> list[dict[str, JSON]]:
    return [
        {key: value for key, value in mount.items() if key in _MOUNT_FIELDS}
        for mount in _mappings(container.get("volumeMounts"))
        if isinstance(mount.get("name"), str) and isinstance(mount.get("mountPath"), str)
    ]


def _mounted(known: list[JSON], new: list[dict[str, JSON]]) -> list[JSON]:
    """Return all mounts; of two at the same path the new one."""
    paths = {_path(mount["mountPath"]) for mount in new}
    return [*(mount for mount in known if _path(mount["mountPath"]) not in paths), *new]


def _off_the_host(value: JSON) -> JSON:
    """Return a probe, a hook or a port without what it says of addresses of the node."""
    if isinstance(value, list):
        return [_off_the_host(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _off_the_host(item) for key, item in value.items() if key not in _ON_THE_HOST}


def _merged(base: JSON, over: JSON) -> JSON:
    if isinstance(base, dict) and isinstance(over, dict):
        made = {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}
        return {key: value for key, value in made.items() if value is not None}
    if _named(base) and _named(over):
        by_name = {item["name"]: item for item in base}
        for item in over:
            by_name[item["name"]] = _merged(by_name.get(item["name"], {}), item)
        return list(by_name.values())
    return deepcopy(over)


def _named(value: JSON) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, dict) and isinstance(item.get("name"), str) for item in value
    )


def _path(text: str) -> str:
    """Return a path as the container will see it; ``/var/run`` is a link to ``/run``."""
    path = posixpath.normpath("/" + text.lstrip("/"))
    return path.removeprefix("/var") if _is_within(path, "/var/run") else path


def _is_within(path: str, folder: str) -> bool:
    return path == folder or folder == "/" or path.startswith(folder + "/")


def _mapping(value: JSON) -> Mapping[str, JSON]:
    return value if isinstance(value, dict) else {}


def _mappings(value: JSON) -> list[Mapping[str, JSON]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
