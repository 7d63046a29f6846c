"""What ``db check`` says of what is kept beside the store: states, and files that are kept with them.

Finding what is wrong with files is ``workflows.file_upkeep``'s.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from batchyard import config
from batchyard.cli import stores
from batchyard.engine.stored_spec import keep_of
from batchyard.kept_threads import collect_objects
from batchyard.local_files import KeptThreads, checkpoint_files, files_folder, objects_folder
from batchyard.model.errors import StoreError
from batchyard.model.execution import Keep
from batchyard.model.rules import shortened_list
from batchyard.store.findings import Finding, FindingSeverity, Remedy
from batchyard.store.lookup import batches_run_here
from batchyard.workflows.blobs import BlobStore
from batchyard.workflows.file_upkeep import examine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batchyard.store.sql import SqlStore

_SHOWN = 3


def file_findings(store: SqlStore, named_store: str) -> Iterator[Finding]:
    """Yield what is wrong with the kept states and files of a store's batches; reads all of the files."""
    files = files_folder(stores.target(named_store))
    yield from _lost_states(store, files)
    blobs = BlobStore(objects_folder(files))
    if not blobs.folder.is_dir():
        return
    state = examine(blobs, checkpoint_files(files))
    yield from _lost_files(files, state.lost)
    for path, error in state.unreadable.items():
        yield Finding(FindingSeverity.CRITICAL, "damaged_checkpoints", _batch_of(files, path), error)
    if state.orphans:
        message = f"{len(state.orphans)} contents of files are referred to by no checkpoint"
        yield Finding(FindingSeverity.INFO, "orphan_files", "", message, Remedy.COLLECT_FILES)


def _lost_states(store: SqlStore, files: Path) -> Iterator[Finding]:
    # A database on a server has batches of other machines too, whose files are there.
    host = "" if store.engine.dialect.name == "sqlite" else config.host_name()
    for batch_id in batches_run_here(store, host):
        if _are_lost(store, files, batch_id):
            message = (
                f"it kept the states of its trials, but its folder in {files} is gone: no execution can go on from "
                "them, and no batch begin from them; restore that folder from a back-up, see docs/database.md"
            )
            yield Finding(FindingSeverity.WARNING, "lost_states", batch_id, message)


def _are_lost(store: SqlStore, files: Path, batch_id: str) -> bool:
    try:
        if KeptThreads(files, batch_id).are_there:
            return False
        keep = keep_of(store.batch(batch_id))
        return keep == Keep.ALWAYS or (keep == Keep.ON_FAILURE and bool(store.failures(batch_id, limit=1)))
    except (StoreError, OSError):
        return False  # of a batch that cannot be read, or an id that names no folder, the check of the store tells


def _lost_files(files: Path, lost: Mapping[Path, Mapping[str, tuple[str, ...]]]) -> Iterator[Finding]:
    """Tell of each batch once, whichever of its workers had the trials."""
    of_batches: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    for path, threads in lost.items():
        of_batches[_batch_of(files, path)] |= threads
    for batch_id, threads in of_batches.items():
        trials = sorted(thread.removeprefix(f"{batch_id}/").partition("@")[0] for thread in threads)
        faults = sorted({fault for found in threads.values() for fault in found})
        message = (
            f"files are lost that the checkpoints of {shortened_list(trials, _SHOWN)} refer to: "
            f"{shortened_list(faults, _SHOWN)}; restore {objects_folder(files)} from a back-up, or go on from other "
            "checkpoints, or run those trials again: nothing is taken back to these"
        )
        yield Finding(FindingSeverity.CRITICAL, "lost_files", batch_id, message)


def _batch_of(files: Path, path: Path) -> str:
    """Return whose checkpoint file it is; every kind of folder has one for each batch."""
    return path.relative_to(files).parts[1]


def collected_files(named_store: str) -> list[tuple[str, str]]:
    """Remove the contents of files that no checkpoint refers to, and say how many went, as ``repair`` does.

    Raises ``StoreError`` if that cannot be known; then nothing is removed.
    """
    gone = collect_objects(files_folder(stores.target(named_store)))
    size = sum(blob.size for blob in gone)
    return [("", f"{len(gone)} contents of files that no checkpoint referred to were removed, {size:,} bytes")]
