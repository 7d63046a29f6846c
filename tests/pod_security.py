"""The ``restricted`` Pod Security Standard as a check, written from the standard's own text (Kubernetes 1.34).

https://kubernetes.io/docs/concepts/security/pod-security-standards/ ; every control of Baseline and of Restricted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Pod = dict[str, Any]

_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
_PROFILES = {"RuntimeDefault", "Localhost"}
_SELINUX_TYPES = {None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}  # fmt: skip
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def violations(template: Mapping[str, Any]) -> list[str]:
    """Return what a pod template has that the standard forbids, one line each; nothing if it keeps to it."""
    pod = template["spec"]
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    found = [*_of_the_pod(pod), *_of_annotations(annotations)]
    for container in containers_of(pod):
        found += [f"{container['name']}: {text}" for text in _of_a_container(container, pod)]
    return found


def containers_of(pod: Pod) -> list[dict[str, Any]]:
    """Return every container of a pod, of whatever kind."""
    return [
        container
        for kind in ("initContainers", "containers", "ephemeralContainers")
        for container in pod.get(kind) or []
    ]


def _of_the_pod(pod: Pod) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield name
    for volume in pod.get("volumes") or []:
        if not volume.keys() - {"name"} or volume.keys() - {"name"} - _VOLUMES:
            yield f"volume {volume}"
    context = pod.get("securityContext") or {}
    yield from _of_a_context(context)
    for sysctl in context.get("sysctls") or []:
        if sysctl.get("name") not in _SYSCTLS:
            yield f"sysctl {sysctl}"
    if context.get("runAsNonRoot") is False:
        yield "runAsNonRoot is false"


def _of_annotations(annotations: Mapping[str, str]) -> Iterator[str]:
    for key, value in annotations.items():
        if key.startswith("container.apparmor.security.beta.kubernetes.io/") and (
            value not in {"", "runtime/default"} and not value.startswith("localhost/")
        ):
            yield f"annotation {key}: {value}"
        if "seccomp.security.alpha.kubernetes.io" in key:
            yield f"annotation {key}"


def _of_a_container(container: Mapping[str, Any], pod: Pod) -> Iterator[str]:
    context, of_pod = container.get("securityContext") or {}, pod.get("securityContext") or {}
    yield from _of_a_context(context)
    if context.get("privileged"):
        yield "privileged"
    if context.get("procMount") not in {None, "Default"}:
        yield "procMount"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if context.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot"
    if not (context.get("seccompProfile") or of_pod.get("seccompProfile")):
        yield "seccompProfile is not set"
    capabilities = context.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield "capabilities: ALL is not dropped"
    if set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield f"capabilities: {capabilities['add']} are added"
    for port in _items(container.get("ports")):
        if port.get("hostPort"):
            yield "hostPort"
    lifecycle = _mapping(container.get("lifecycle"))
    handlers = [container.get(name) for name in _PROBES] + [lifecycle.get(name) for name in ("postStart", "preStop")]
    for handler in handlers:
        if any(_mapping(_mapping(handler).get(kind)).get("host") for kind in ("httpGet", "tcpSocket")):
            yield "a probe or hook of another host"


def _of_a_context(context: Mapping[str, Any]) -> Iterator[str]:
    if context.get("runAsUser") == 0:
        yield "runAsUser is 0"
    for name in ("seccompProfile", "appArmorProfile"):
        if context.get(name) is not None and context[name].get("type") not in _PROFILES:
            yield f"{name} {context[name]}"
    options = context.get("seLinuxOptions") or {}
    if options.get("type") not in _SELINUX_TYPES or options.get("user") or options.get("role"):
        yield f"seLinuxOptions {options}"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield "hostProcess"


# The API server takes nothing of another shape, so that it does no harm.
def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
