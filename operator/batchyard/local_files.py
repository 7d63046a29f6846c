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
EXECUTIONS = "executions"
CHECKPOINTS = "checkpoints"
KEPT = "kept"
OBJECTS = "objects"


def files_folder(store: str) -> Path:
    """Return where checkpoints and workspaces of a store's batches go: beside a SQLite file, else the data folder."""
    url = parse_target(store)
    if url.get_backend_name() != "sqlite":
        return config.data_folder()
    path = Path(url.database or "")
    return path.with_name(f"{path.name}.files")


def written_files(store: str) -> tuple[Path, ...]:
    """Return what is written here of a store and its batches' files, be it there by now or not."""
    url, files = parse_target(store), files_folder(store)
    if url.get_backend_name() != "sqlite":
        return (files,)
    path = Path(url.database or "")
    return (files, path, *(path.with_name(f"{path.name}-{part}") for part in ("wal", "shm", "journal")))


def checkpoints_folder(files: Path, batch_id: str) -> Path:
    """Return where a batch's checkpoints are below the store's files."""
    return files / CHECKPOINTS / batch_id


def objects_folder(files: Path) -> Path:
    """Return where the contents of all batches' tracked files are."""
    return files / OBJECTS


def checkpoint_files(files: Path) -> list[Path]:
    """Return every file that has checkpoints of any batch, below a folder for each."""
    folders = [path for path in files.glob("*") if path.name not in (WORKSPACES, OBJECTS)]
    return sorted(file for folder in folders for file in folder.rglob("*.db"))


def kept_files(store: str, batch_id: str, trial_id: str, attempt: int) -> Path | None:
    """Return the folder of an attempt's files if they were kept, else None."""
    folder = attempt_folder(files_folder(store) / WORKSPACES, batch_id, trial_id, attempt)
    return folder if folder.is_dir() else None


class KeptThreads:
    """The threads of a batch's ended attempts: in the files of its workers, or each in a small file of its own."""

    def __init__(self, files: Path, batch_id: str) -> None:
        """``files`` is the store's folder for files."""
        self._files, self._batch = files, batch_id
        self._own, self._workers = files / KEPT / batch_id, checkpoints_folder(files, batch_id)

    def own_file(self, thread_id: str) -> Path:
        """Return where a thread is if it has a file of its own."""
        return self._own / f"{thread_id.replace('/', '_')}.db"

    def find(self, thread_id: str, worker: str) -> Path | None:
        """Return the checkpoint file that may have a thread, None if it was not kept.

        That of a result which was carried over is where the batch that ran it left it.
        """
        ran = thread_id.partition("/")[0]
        if ran != self._batch:
            found = KeptThreads(self._files, ran).find(thread_id, worker)
            if found is not None:
                return found
        own, shared = self.own_file(thread_id), self._workers / f"{worker}.db"
        if own.is_file():
            return own
        return shared if worker and shared.is_file() else None

    def worker_bytes(self) -> int:
        """Return what the workers' files take."""
        return sum(file.stat().st_size for file in self._workers.glob("*"))

    @property
    def are_there(self) -> bool:
        """Return whether the batch has a folder, though it may be empty; only a batch that keeps nothing has none."""
        return self._own.is_dir() or self._workers.is_dir()

    def begin(self) -> None:
        """Make the folder of threads with files of their own."""
        self._own.mkdir(parents=True, exist_ok=True)

    def put(self, thread_id: str, piece: bytes) -> None:
        """Give a thread a file of its own, whole or not at all; after ``begin``."""
        file = self.own_file(thread_id)
        begun = file.with_suffix(".part")
        begun.write_bytes(piece)
        begun.replace(file)

    def remove_workers(self) -> None:
        """Remove the workers' files; the workers have ended."""
        shutil.rmtree(self._workers, ignore_errors=True)


def forget_batch(files: Path, batch_id: str) -> None:
    """Remove all that is kept of a batch on this machine."""
    for folder in (KEPT, EXECUTIONS, WORKSPACES, CHECKPOINTS):
        shutil.rmtree(files / folder / batch_id, ignore_errors=True)


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
