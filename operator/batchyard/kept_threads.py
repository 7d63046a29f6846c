"""Where threads are kept after their attempts, and fetched from for a fork: files here, PostgreSQL in a cluster.

Not for which are kept (``decide.retention``) nor for who asks when (``runners.keeping``).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from batchyard import config
from batchyard.decide.retention import keep_thread
from batchyard.engine.carrying import origin_of
from batchyard.local_files import KeptThreads, checkpoint_files, objects_folder
from batchyard.model.errors import EnvironmentUnavailable, NotKept, StoreError
from batchyard.model.execution import ExecutionNotFound, Keep
from batchyard.model.quantity import to_bytes
from batchyard.workflows.blobs import BlobStore
from batchyard.workflows.file_upkeep import collect
from batchyard.workflows.thread_copy import export_thread

if TYPE_CHECKING:
    from pathlib import Path

    from batchyard.decide.forking import ForkPoint
    from batchyard.engine.ports import BatchStore
    from batchyard.engine.sources import LoadedBatch
    from batchyard.model.spec import Checkpoints
    from batchyard.runners.keeping import Threads
    from batchyard.workflows.blobs import Blob


_log = structlog.get_logger(__name__)


class FileThreads:
    """The checkpoint files that another batch left below the same store's files."""

    def __init__(self, kept: KeptThreads) -> None:
        """``kept`` finds them."""
        self._kept = kept

    def keep(self, thread_id: str, piece: bytes) -> None:
        """Refuse: on one machine a worker's own file keeps its threads. Raises ``NotKept``."""
        raise NotKept(f"thread {thread_id} of {len(piece)} bytes has no place but its worker's file")

    def fetch(self, point: ForkPoint) -> bytes:
        """Return a thread up to a checkpoint. Raises ``ExecutionError`` or ``StoreError``."""
        file = self._kept.find(point.thread_id, point.worker)
        if file is None:
            raise ExecutionNotFound(
                f"the states of {point.trial_id} were not kept; spec.checkpoints.keep says whose are"
            )
        return export_thread(file, point.thread_id, point.checkpoint)

    def tidy(self) -> None:
        """Delete nothing: files go with their batch."""


def local_threads(loaded: LoadedBatch, files: Path) -> Threads | None:
    """Return where a batch on this machine is forked from, None if it is not."""
    return FileThreads(KeptThreads(files, loaded.forked_from)) if loaded.forked_from else None


def settle_files(store: BatchStore, files: Path, batch_id: str, wanted: Checkpoints) -> None:
    """Keep of a finished batch's states what its spec says; what cannot be kept is logged, and changes no result.

    All stay in the files of its workers, if they are wanted and have room. Else those of failed attempts get files of
    their own, in order, until their share of the disk is used up, and the workers' files go.
    """
    kept, left = KeptThreads(files, batch_id), to_bytes(wanted.keep_limit)
    try:
        if wanted.keep is not Keep.ALWAYS or kept.worker_bytes() > left:
            if wanted.keep is not Keep.NEVER:
                _keep_failed(store, kept, batch_id, left)
            kept.remove_workers()
        if wanted.files is not None:
            # Also where all states stay: a boundary that was refused has left contents that no checkpoint refers to.
            collect_objects(files)
    except (OSError, StoreError) as err:
        _log.warning("the batch's states could not be put in order", batch=batch_id, error=str(err))


def _keep_failed(store: BatchStore, kept: KeptThreads, batch_id: str, left: int) -> None:
    """Give the threads of failed attempts files of their own, as far as ``left`` bytes go."""
    kept.begin()
    for result in store.results(batch_id, final_only=False):
        file = None if origin_of(result, batch_id) else kept.find(result.thread_id, result.worker)
        if file is not None and keep_thread(Keep.ON_FAILURE, result.outcome):
            with suppress(ExecutionNotFound):  # it was over before its first checkpoint
                piece = export_thread(file, result.thread_id)
                left -= len(piece)
                if left < 0:
                    _log.warning("no room for more states: spec.checkpoints.keepLimit", trial=result.trial_id)
                    break
                kept.put(result.thread_id, piece)


def collect_objects(files: Path) -> tuple[Blob, ...]:
    """Remove the contents of tracked files that no checkpoint below a store's files refers to; return what went.

    Safe while other batches run. Raises ``StoreError``; then nothing is removed.
    """
    return collect(BlobStore(objects_folder(files)), lambda: checkpoint_files(files))


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

    limit = to_bytes(loaded.batch.spec.checkpoints.keep_limit)
    return PostgresThreads(url, Keeping(batch_id, asked.retention_days, limit))
