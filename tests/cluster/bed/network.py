"""The bridge of the pods' network, and taking away what the cluster left in the machine's network."""

from __future__ import annotations

from pathlib import Path

from cluster.bed.layout import BRIDGE, GATEWAY
from cluster.bed.running import run, succeeds

_OURS = ("KUBE-", "CNI-")
_MAC = "0a:58:0a:58:00:01"
"""The bridge's own address. Without one it takes the lowest of its ports', and each pod that comes or goes may change
it: the others then send to an address that is gone until their neighbour entry expires, for up to half a minute.
"""


def ensure() -> None:
    """Make the bridge with its address and let packets pass between interfaces."""
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "link", "set", BRIDGE, "address", _MAC)
    if f"{GATEWAY}/16" not in run("ip", "-4", "address", "show", "dev", BRIDGE):
        run("ip", "address", "add", f"{GATEWAY}/16", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n", encoding="utf-8")


def remove() -> None:
    """Remove the bridge and the packet rules of kube-proxy, kubelet and the network plugins."""
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        run("ip", "link", "delete", BRIDGE)
    for family in ("iptables", "ip6tables"):
        for table in ("nat", "filter", "mangle"):
            _remove_rules(family, table)


def _remove_rules(family: str, table: str) -> None:
    if not succeeds(family, "-w", "-t", table, "-S"):
        return
    lines = run(family, "-w", "-t", table, "-S").splitlines()
    chains = [line.split()[1] for line in lines if line.startswith("-N ") and line.split()[1].startswith(_OURS)]
    jumps = [line for line in lines if line.startswith("-A ") and _jumps_into_ours(line)]
    if not chains:
        return
    script = [f"*{table}", *(f"-D{line[2:]}" for line in jumps)]
    script += [*(f"-F {chain}" for chain in chains), *(f"-X {chain}" for chain in chains), "COMMIT", ""]
    run(f"{family}-restore", "-w", "--noflush", stdin="\n".join(script))


def _jumps_into_ours(rule: str) -> bool:
    words = rule.split()
    target = words[words.index("-j") + 1] if "-j" in words else ""
    return target.startswith(_OURS) and not words[1].startswith(_OURS)
