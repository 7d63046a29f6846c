"""Where threads are kept after their attempts, and fetched from for a fork: files here, PostgreSQL in a cluster.

Not for which are kept (``decide.retention``) nor for who asks when (``runners.keeping``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard import config
from batchyard.local_files import checkpoints_folder
from batchyard.model.errors import EnvironmentUnavailable, NotKept
from batchyard.workflows.thread_copy import export_thread

if TYPE_CHECKING:
    from pathlib import Path

    from batchyard.decide.forking import ForkPoint
    from batchyard.engine.sources import LoadedBatch
    from batchyard.runners.keeping import Threads

_MEGABYTE = 1_000_000


class FileThreads:
    """The checkpoint files that another batch's workers left below the same store's files."""

    def __init__(self, folder: Path) -> None:
        """``folder`` has the files, each named for its worker."""
        self._folder = folder

    def keep(self, thread_id: str, piece: bytes) -> None:
        """Refuse: on one machine a worker's own file keeps its threads. Raises ``NotKept``."""
        raise NotKept(f"thread {thread_id} of {len(piece)} bytes has no place but its worker's file")

    def fetch(self, point: ForkPoint) -> bytes:
        """Return a thread up to a checkpoint. Raises ``ExecutionError`` or ``StoreError``."""
        return export_thread(self._folder / f"{point.worker}.db", point.thread_id, point.checkpoint)

    def tidy(self) -> None:
        """Delete nothing: files go with their batch."""


def local_threads(loaded: LoadedBatch, files: Path) -> Threads | None:
    """Return where a batch on this machine is forked from, None if it is not."""
    return FileThreads(checkpoints_folder(files, loaded.forked_from)) if loaded.forked_from else None


def cluster_threads(loaded: LoadedBatch, batch_id: str) -> Threads | None:
    """Return the database that a batch's threads are kept in and fetched from, None if it names none.

    Raises ``EnvironmentUnavailable`` if this pod was not given its URL.
    """
    asked = loaded.batch.spec.checkpoints.postgres
    if asked is None:
        return None
    where = f"Secret {asked.secret_ref.name}, key {asked.secret_ref.key}"
    try:
        url = config.threads_url()
    except (OSError, UnicodeDecodeError):
        url = ""
    if not url:
        raise EnvironmentUnavailable(f"the URL of spec.checkpoints.postgres is not in this pod; look at {where}")
    # LangGraph is only for those whose threads go there.
    from batchyard.workflows.postgres_threads import Keeping, PostgresThreads

    return PostgresThreads(url, Keeping(batch_id, asked.retention_days, asked.max_megabytes * _MEGABYTE))
