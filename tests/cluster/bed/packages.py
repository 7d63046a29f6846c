"""What the one-node cluster needs from Debian, installed by apt where that is allowed."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.bed.running import BedFailed, locked, path_of, run, say

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}

# How a Debian package asks whether it may start its service; see invoke-rc.d(8).
_POLICY = Path("/usr/sbin/policy-rc.d")
_NO = "#!/bin/sh\nexit 101\n"


def missing() -> list[str]:
    """Return the Debian packages whose programs are not here."""
    return sorted({package for program, package in _PROGRAMS.items() if path_of(program) is None})


def by_hand(packages: list[str]) -> str:
    """Return the command that a person installs packages with."""
    return f"sudo apt-get install --no-install-recommends {' '.join(packages)}"


def ensure(settings: Settings) -> None:
    """Install what is missing.

    Raises:
        BedFailed: Something is missing and cannot be installed.
    """
    packages = missing()
    if not packages:
        return
    if os.geteuid() != 0 or path_of("apt-get") is None:
        raise BedFailed(f"missing: {', '.join(packages)}; install them: {by_hand(packages)}")
    with locked(settings.cache / "apt.lock", "it installs packages"):
        say(f"installing {', '.join(packages)}")
        run("apt-get", "update", "-qq", timeout=600)
        install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends")
        with no_service_starts():
            run(*install, *packages, timeout=900, DEBIAN_FRONTEND="noninteractive")
    if missing():
        raise BedFailed(
            f"still missing after their installation: {', '.join(missing())}; try by hand: {by_hand(missing())}"
        )


@contextmanager
def no_service_starts(policy: Path = _POLICY) -> Iterator[None]:
    """Keep what is installed meanwhile from running by itself: the bed starts its own, elsewhere."""
    if policy.exists():
        # The machine has a policy of its own, such as a container's.
        yield
        return
    policy.write_text(_NO, encoding="utf-8")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)
