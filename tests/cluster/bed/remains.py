"""Ending what outlives the cluster's own programs: containers, mounts, and traces in shared folders."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from pathlib import Path

from cluster.bed.archives import NAMESPACE
from cluster.bed.running import BedFailed, holds_within, run


def end_containers(containerd: Path) -> None:
    """Kill every container of the cluster with all its processes, whether its containerd still answers or not."""
    address = ("ctr", "-a", containerd, "-n", NAMESPACE)
    try:
        tasks = run(*address, "tasks", "list", "-q", timeout=10).split()
        if tasks:
            run(*address, "tasks", "delete", "--force", *tasks, timeout=60)
    except BedFailed:
        pass  # the processes are found below
    shims = _shims(containerd)
    for pid in [*_descendants(shims), *shims]:
        _kill(pid)
    if not holds_within(15, lambda: not _shims(containerd)):
        left = ", ".join(str(pid) for pid in _shims(containerd))
        raise BedFailed(f"containers of {containerd} outlived SIGKILL: processes {left}; look at them by hand")


def unmount(folder: Path) -> None:
    """Unmount everything below a folder."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    for point in sorted((point for point in mounted if Path(point).is_relative_to(folder)), reverse=True):
        run("umount", "--lazy", point)


def forget_pods(state: Path) -> None:
    """Remove what kubelet and the network plugins left in folders that are not the cluster's own."""
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(state):
            link.unlink()
    for sandbox in (state / "containerd").glob("root/io.containerd.grpc.v1.cri/sandboxes/*"):
        for record in Path("/var/lib/cni/results").glob(f"*-{sandbox.name}-*"):
            record.unlink()
    groups = Path("/sys/fs/cgroup")
    for pattern in ("*/k8s.io/*", "*/k8s.io", "k8s.io/*", "k8s.io"):
        for group in groups.glob(pattern):
            _remove_empty(group)
    # The one socket of kubelet whose place cannot be chosen; another kubelet of this machine would listen on it.
    plugins = Path("/var/lib/kubelet/device-plugins")
    if not _listens(plugins / "kubelet.sock"):
        shutil.rmtree(plugins, ignore_errors=True)
        _remove_empty(plugins.parent)
    _remove_empty(Path("/var/lib/cni/results"))
    _remove_empty(Path("/var/lib/cni"))


def _listens(place: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as caller:
        return caller.connect_ex(str(place)) == 0


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # a file, or a group that another container runtime still uses


def _shims(containerd: Path) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if Path(os.fsdecode(words[0])).name.startswith("containerd-shim") and os.fsencode(containerd) in words:
            found.append(int(entry.name))
    return found


def _descendants(roots: list[int]) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    waiting = list(roots)
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
