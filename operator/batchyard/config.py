"""The one place that reads and writes the process environment, and where files go by default."""

from __future__ import annotations

import os
import re
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from batchyard.model.errors import EnvironmentUnavailable, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|OTLP_(?:\w+_)?HEADERS", re.IGNORECASE)

WORKSPACE_VARIABLE = "BATCHYARD_WORKSPACE"
"""Names the folder of the running trial; a worker's current directory is the same folder."""

ENVIRONMENTS_VARIABLE = "BATCHYARD_ENVIRONMENTS"
"""Names the folder where virtual environments of variants are kept."""

_HOMELESS = "this user has no home folder that the system knows of"
_MOUNTED_VARIABLE = "BATCHYARD_SECRET_FILES"
_LONGEST_SECRET_FILE = 1024 * 1024  # what a Kubernetes Secret can hold


@dataclass(frozen=True, slots=True)
class RayConfig:
    """Which Ray to use: the cluster at ``address`` (``host:port`` or ``auto``), or "" for one of our own."""

    address: str = ""


def ray_config(address: str = "") -> RayConfig:
    """Return the Ray to use: the address that is given, else ``$RAY_ADDRESS``, which Ray sets for its own jobs."""
    return RayConfig(address or os.environ.get("RAY_ADDRESS", ""))


def data_folder() -> Path:
    """Return where stores, checkpoints and workspaces go: ``$BATCHYARD_HOME`` or the user's data folder.

    Raises ``StoreError`` if the user has no home folder.
    """
    chosen = os.environ.get("BATCHYARD_HOME")
    try:
        return Path(chosen or platformdirs.user_data_dir("batchyard", appauthor=False))
    except RuntimeError as err:
        raise StoreError(f"{_HOMELESS}; name a store with --store, or set BATCHYARD_HOME to a folder") from err


def default_store() -> str:
    """Return the store to use when none is named: ``$BATCHYARD_STORE`` or a SQLite file in the data folder."""
    return os.environ.get("BATCHYARD_STORE") or str(data_folder() / "store.db")


def environments_folder() -> Path:
    """Return where virtual environments are kept: ``$BATCHYARD_ENVIRONMENTS`` or a folder in the user's cache.

    Raises ``EnvironmentUnavailable`` if the user has no home folder.
    """
    chosen = os.environ.get(ENVIRONMENTS_VARIABLE)
    if chosen:
        return Path(chosen)
    try:
        return Path(platformdirs.user_cache_dir("batchyard", appauthor=False)) / "environments"
    except RuntimeError as err:
        raise EnvironmentUnavailable(f"{_HOMELESS}; set {ENVIRONMENTS_VARIABLE} to a folder") from err


def secret_values(values: Mapping[str, str]) -> list[str]:
    """Return the values whose names say that they are secret."""
    return [value for name, value in values.items() if _SECRET_NAME.search(name)]


def inherited_secrets() -> dict[str, str]:
    """Return this process's own variables whose names say that they are secret; workers inherit them."""
    return {name: value for name, value in os.environ.items() if _SECRET_NAME.search(name)}


def mounted_secrets() -> tuple[str, ...]:
    """Return the content of every file below the folder ``$BATCHYARD_SECRET_FILES``, where Secrets are mounted."""
    folder = os.environ.get(_MOUNTED_VARIABLE)
    if not folder:
        return ()
    files = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
    texts = (path.read_bytes()[:_LONGEST_SECRET_FILE].decode(errors="replace").strip() for path in files)
    # A mounted Secret shows each file twice, by its name and behind the link of its version.
    return tuple(dict.fromkeys(text for text in texts if text))


def threads_url() -> str:
    """Return the URL of the database that threads are kept in: what the file ``$BATCHYARD_THREADS_FILE`` holds, or "".

    Raises ``OSError`` if there is no such file.
    """
    file = os.environ.get("BATCHYARD_THREADS_FILE")
    return Path(file).read_text(encoding="utf-8").strip() if file else ""


_TELEMETRY = "OTEL_"
_NOT_FOR_PODS = re.compile(r"HEADERS|CERTIFICATE|CLIENT_KEY|RESOURCE_ATTRIBUTES")


def telemetry() -> dict[str, str]:
    """Return the settings of OpenTelemetry that this process was given."""
    return {name: value for name, value in os.environ.items() if name.startswith(_TELEMETRY)}


def telemetry_for_pods() -> dict[str, str]:
    """Return those that a pod may have too: no secrets, no files of this machine, nothing about this process."""
    return {
        name: value
        for name, value in telemetry().items()
        # What stands before an @ in a URL is a password, perhaps.
        if not _NOT_FOR_PODS.search(name) and "@" not in value
    }


def export(values: Mapping[str, str]) -> None:
    """Add values to this process's environment; its later children inherit them."""
    os.environ.update(values)


def export_missing(values: Mapping[str, str]) -> None:
    """Add those values to this process's environment that it does not have."""
    for name, value in values.items():
        os.environ.setdefault(name, value)


def environment_with(values: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with these values, for a child."""
    return {**os.environ, **values}


def search_path() -> str:
    """Return where commands are looked for."""
    return os.environ.get("PATH", os.defpath)


def environment_of(python: Path) -> dict[str, str]:
    """Return this process's environment as it is for a child in the virtual environment of this interpreter."""
    search = f"{python.parent}{os.pathsep}{search_path()}"
    return environment_with({"VIRTUAL_ENV": str(python.parent.parent), "PATH": search})


def forget(*names: str) -> None:
    """Take values out of this process's environment; its later children do not inherit them."""
    for name in names:
        os.environ.pop(name, None)


@contextmanager
def exported(values: Mapping[str, str]) -> Iterator[None]:
    """Add values to this process's environment for a while; one that is set already stays as it is."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        forget(*added)


def host_name() -> str:
    """Return a name for this machine, to tell sessions of several machines apart."""
    return socket.gethostname()
