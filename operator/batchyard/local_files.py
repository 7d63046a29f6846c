"""Where the files of a store's batches are on this machine: checkpoints and workspaces. Not for what is in them."""

from __future__ import annotations

from pathlib import Path

from batchyard import config
from batchyard.environments.in_process import attempt_folder
from batchyard.model.errors import EnvironmentUnavailable
from batchyard.store.connect import parse_target

WORKSPACES = "workspaces"


def files_folder(store: str) -> Path:
    """Return where checkpoints and workspaces of a store's batches go: beside a SQLite file, else the data folder."""
    url = parse_target(store)
    if url.get_backend_name() != "sqlite":
        return config.data_folder()
    path = Path(url.database or "")
    return path.with_name(f"{path.name}.files")


def checkpoints_folder(files: Path, batch_id: str) -> Path:
    """Return where a batch's checkpoints are below the store's files."""
    return files / "checkpoints" / batch_id


def kept_files(store: str, batch_id: str, trial_id: str, attempt: int) -> Path | None:
    """Return the folder of an attempt's files if they were kept, else None."""
    folder = attempt_folder(files_folder(store) / WORKSPACES, batch_id, trial_id, attempt)
    return folder if folder.is_dir() else None


def make_folder(path: Path) -> None:
    """Make a folder for checkpoints. Raises ``EnvironmentUnavailable`` if it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise EnvironmentUnavailable(
            f"no folder for checkpoints can be made at {path}: {err.strerror}; name another place with --store"
        ) from err
