"""What the figures were measured on: enough to judge them by, nothing that names the machine."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

_OURS = ("batchyard", "langgraph", "langgraph-checkpoint-sqlite", "sqlalchemy")


def describe() -> dict[str, Any]:
    """Return cores, memory, load, file system and versions."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memoryGibibytes": round(psutil.virtual_memory().total / 2**30, 1),
        "loadBefore": round(os.getloadavg()[0], 2),
        "fileSystem": _file_system(tempfile.gettempdir()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: _version(name) for name in _OURS},
    }


def peers(python: str | None) -> list[str]:
    """Return what is installed for the peers, as ``name==version``, by direct requirement only."""
    if python is None:
        return []
    frozen = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    wanted = ("inspect-ai", "inspect_ai", "wtb", "langgraph", "langgraph-checkpoint-sqlite")
    return [line for line in frozen.splitlines() if line.partition("==")[0] in wanted]


def _version(name: str) -> str:
    if name == "batchyard":
        from batchyard import __version__

        return __version__
    return version(name)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _file_system(path: str) -> str:
    """Return the type of the file system that holds ``path``: the longest mount point that is a prefix of it."""
    mounts = {partition.mountpoint: partition.fstype for partition in psutil.disk_partitions(all=True)}
    holding = [mount for mount in mounts if Path(path).resolve().is_relative_to(mount)]
    return mounts[max(holding, key=len)] if holding else "unknown"
