"""What ``db check`` says of files that are kept with checkpoints. Finding it is ``workflows.file_upkeep``'s."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.cli import stores
from batchyard.kept_threads import collect_objects
from batchyard.local_files import checkpoint_files, files_folder, objects_folder
from batchyard.store.integrity import Finding, FindingSeverity, Remedy
from batchyard.workflows.blobs import BlobStore
from batchyard.workflows.file_upkeep import examine

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN = 3


def file_findings(named_store: str) -> Iterator[Finding]:
    """Yield what is wrong with the kept files of a store's batches; reads all of them."""
    files = files_folder(stores.target(named_store))
    blobs = BlobStore(objects_folder(files))
    if not blobs.folder.is_dir():
        return
    state = examine(blobs, checkpoint_files(files))
    for path, lost in state.lost.items():
        more = f", and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        message = f"files that its checkpoints refer to are lost: {'; '.join(lost[:_SHOWN])}{more}"
        yield Finding(FindingSeverity.CRITICAL, "lost_files", path.parent.name, message)
    for path, error in state.unreadable.items():
        yield Finding(FindingSeverity.CRITICAL, "damaged_checkpoints", path.parent.name, error)
    if state.orphans:
        message = f"{len(state.orphans)} contents of files are referred to by no checkpoint"
        yield Finding(FindingSeverity.INFO, "orphan_files", "", message, Remedy.COLLECT_FILES)


def collected_files(named_store: str) -> list[tuple[str, str]]:
    """Remove the contents of files that no checkpoint refers to, and say how many went, as ``repair`` does.

    Raises ``StoreError`` if that cannot be known; then nothing is removed.
    """
    gone = collect_objects(files_folder(stores.target(named_store)))
    size = sum(blob.size for blob in gone)
    return [("", f"{len(gone)} contents of files that no checkpoint referred to were removed, {size:,} bytes")]
