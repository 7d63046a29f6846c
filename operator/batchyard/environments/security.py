"""Security contexts that keep to the ``restricted`` Pod Security Standard, whatever is asked for. Pure.

Standard: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.model.trial import JSON

_USERS = ("runAsUser", "runAsGroup", "fsGroup")
_POD_FIELDS = frozenset({"fsGroupChangePolicy", "supplementalGroups", "supplementalGroupsPolicy"})
_PROFILES = ("seccompProfile", "appArmorProfile")
_PROFILE_TYPES = frozenset({"RuntimeDefault", "Localhost"})
_SELINUX_TYPES = frozenset({"container_t", "container_init_t", "container_kvm_t"})
_SAFE_SYSCTLS = frozenset({
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
})  # fmt: skip


def pod_context(known: Mapping[str, JSON], over: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return a pod's security context with those parts of ``over`` that the standard allows."""
    asked = {key: value for key, value in over.items() if key in _POD_FIELDS}
    if isinstance(over.get("sysctls"), list):
        asked["sysctls"] = [one for one in over["sysctls"] if isinstance(one, dict) and _is_safe(one)] or None
    made = _context(known, {**asked, **_shared(over)})
    return {"seccompProfile": {"type": "RuntimeDefault"}, **made, "runAsNonRoot": True}


def container_context(known: Mapping[str, JSON], over: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return a container's security context with those parts of ``over`` that the standard allows."""
    asked = _shared(over)
    asked.pop("fsGroup", None)
    if isinstance(over.get("readOnlyRootFilesystem"), bool):
        asked["readOnlyRootFilesystem"] = over["readOnlyRootFilesystem"]
    if over.get("runAsNonRoot") is True:
        asked["runAsNonRoot"] = True
    capabilities: dict[str, JSON] = {"drop": ["ALL"]}
    added = [*_added(known), *_added(over)]
    if "NET_BIND_SERVICE" in added:
        capabilities["add"] = ["NET_BIND_SERVICE"]
    return {**_context(known, asked), "allowPrivilegeEscalation": False, "capabilities": capabilities}


def _context(known: Mapping[str, JSON], asked: Mapping[str, JSON]) -> dict[str, JSON]:
    return {key: value for key, value in {**known, **asked}.items() if value is not None}


def _shared(over: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return the allowed part of what pods and containers have in common. A user that is null is the image's own."""
    asked = {key: over[key] for key in _USERS if key in over and (over[key] is None or _is_id(key, over[key]))}
    for name in _PROFILES:
        profile = over.get(name)
        if isinstance(profile, dict) and str(profile.get("type")) in _PROFILE_TYPES:
            asked[name] = {key: profile[key] for key in ("type", "localhostProfile") if key in profile}
    options = over.get("seLinuxOptions")
    if isinstance(options, dict):
        kept = {key: options[key] for key in ("level", "type") if isinstance(options.get(key), str)}
        chosen = {key: value for key, value in kept.items() if key == "level" or value in _SELINUX_TYPES}
        asked["seLinuxOptions"] = chosen or None
    return asked


def _is_id(name: str, value: JSON) -> bool:
    return (
        isinstance(value, int) and not isinstance(value, bool) and (value > 0 or (value == 0 and name != "runAsUser"))
    )


def _is_safe(sysctl: Mapping[str, JSON]) -> bool:
    # With a slash for a dot it is the same one to the kernel, and not to the standard.
    return str(sysctl.get("name")) in _SAFE_SYSCTLS


def _added(context: Mapping[str, JSON]) -> list[JSON]:
    capabilities = context.get("capabilities")
    added = capabilities.get("add") if isinstance(capabilities, dict) else None
    return added if isinstance(added, list) else []
