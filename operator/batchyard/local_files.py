"""Where the files of a store's batches are on this machine: checkpoints and workspaces. Not for what is in them."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batchyard import config
from batchyard.environments.in_process import attempt_folder
from batchyard.model.errors import EnvironmentUnavailable
from batchyard.store.connect import parse_target

if TYPE_CHECKING:
    from collections.abc import Collection

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


class LocalLeftovers:
    """The folders of attempts that a dead session left below a store's files."""

    def __init__(self, files: Path) -> None:
        """``files`` is the store's folder for files."""
        self._workspaces = files / WORKSPACES

    def release(self, batch_id: str, finished: Collection[tuple[str, int]]) -> int:
        """Remove the folders of attempts that have no result; what cannot be removed stays."""
        kept = {attempt_folder(self._workspaces, batch_id, *attempt) for attempt in finished}
        batch = self._workspaces / batch_id
        left = [folder for folder in batch.glob("*") if folder not in kept]
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            batch.rmdir()
        return len(left)


def make_folder(path: Path) -> None:
    """Make a folder for checkpoints. Raises ``EnvironmentUnavailable`` if it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise EnvironmentUnavailable(
            f"no folder for checkpoints can be made at {path}: {err.strerror}; name another place with --store"
        ) from err
