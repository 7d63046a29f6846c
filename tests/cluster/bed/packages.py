"""What the one-node cluster needs from Debian, installed by apt where that is allowed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cluster.bed.running import BedFailed, locked, path_of, run, say

if TYPE_CHECKING:
    from cluster.bed.settings import Settings

_PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "openssl": "openssl",
    "ip": "iproute2",
    "mount": "mount",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}


def missing() -> list[str]:
    """Return the Debian packages whose programs are not here."""
    return sorted({package for program, package in _PROGRAMS.items() if path_of(program) is None})


def ensure(settings: Settings) -> None:
    """Install what is missing.

    Raises:
        BedFailed: Something is missing and cannot be installed.
    """
    packages = missing()
    if not packages:
        return
    by_hand = f"sudo apt-get install --no-install-recommends {' '.join(packages)}"
    if os.geteuid() != 0 or path_of("apt-get") is None:
        raise BedFailed(f"missing: {', '.join(packages)}; install them: {by_hand}")
    with locked(settings.cache / "apt.lock", "it installs packages"):
        say(f"installing {', '.join(packages)}")
        run("apt-get", "update", "-qq", timeout=600)
        install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends")
        run(*install, *packages, timeout=900, DEBIAN_FRONTEND="noninteractive")
    if missing():
        raise BedFailed(f"still missing after their installation: {', '.join(missing())}; try by hand: {by_hand}")
