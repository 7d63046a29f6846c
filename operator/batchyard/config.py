"""The one place that reads and writes the process environment, and where files go by default."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import platformdirs

WORKSPACE_VARIABLE = "BATCHYARD_WORKSPACE"
"""Names the folder of the running trial; a worker's current directory is the same folder."""


def data_folder() -> Path:
    """Return where stores, checkpoints and workspaces go: ``$BATCHYARD_HOME`` or the user's data folder."""
    chosen = os.environ.get("BATCHYARD_HOME")
    return Path(chosen) if chosen else Path(platformdirs.user_data_dir("batchyard", appauthor=False))


def default_store() -> str:
    """Return the store to use when none is named: ``$BATCHYARD_STORE`` or a SQLite file in the data folder."""
    return os.environ.get("BATCHYARD_STORE") or str(data_folder() / "store.db")


def environment_values(names: list[str]) -> dict[str, str]:
    """Return those of the named variables that are set."""
    return {name: os.environ[name] for name in names if name in os.environ}


def export(values: Mapping[str, str]) -> None:
    """Add values to this process's environment; its later children inherit them."""
    os.environ.update(values)


def host_name() -> str:
    """Return a name for this machine, to tell sessions of several machines apart."""
    return socket.gethostname()
