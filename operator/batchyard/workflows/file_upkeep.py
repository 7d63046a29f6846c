"""Looks whether every file that checkpoints refer to is whole, and removes the contents that none refers to.

Reads plain columns of checkpoint files whose workers may run; needs no workflow framework.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.model.errors import StoreError
from batchyard.workflows.blobs import BlobMissing, BlobStore
from batchyard.workflows.checkpoint_reading import reading
from batchyard.workflows.snapshots import read_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

    from batchyard.workflows.blobs import Blob

_SNAPSHOTS = "SELECT DISTINCT files FROM checkpoints WHERE files IS NOT NULL ORDER BY files"
_OF_THREADS = (
    "SELECT DISTINCT t.name, c.files FROM checkpoints AS c JOIN threads AS t ON t.number = c.thread "
    "WHERE c.files IS NOT NULL ORDER BY t.number, c.files"
)
_HAS_FILES = "SELECT 1 FROM pragma_table_info('checkpoints') WHERE name = 'files'"


@dataclass(frozen=True, slots=True)
class FileState:
    """What is wrong with kept files: what is lost of each thread of a checkpoint file, and what is nobody's."""

    lost: Mapping[Path, Mapping[str, tuple[str, ...]]]
    orphans: tuple[str, ...]
    unreadable: Mapping[Path, str]


def examine(blobs: BlobStore, checkpoint_files: Iterable[Path]) -> FileState:
    """Read every content that a checkpoint refers to and compare it with its digest."""
    lost: dict[Path, dict[str, tuple[str, ...]]] = {}
    unreadable: dict[Path, str] = {}
    faults: dict[str, str] = {}
    contents: dict[str, set[str]] = {}
    # Before who refers to what: what a running trial puts meanwhile is no orphan.
    there = set(blobs.digests())
    for path in checkpoint_files:
        try:
            snapshots = _of_threads(path)
        except StoreError as error:
            unreadable[path] = str(error)
            continue
        for thread, snapshot in snapshots:
            if snapshot not in contents:
                contents[snapshot] = _needed(blobs, snapshot)
                faults |= {digest: _fault(blobs, digest) for digest in contents[snapshot] - faults.keys()}
            wrong = [faults[digest] for digest in sorted(contents[snapshot]) if faults[digest]]
            if wrong:
                known = lost.setdefault(path, {})
                known[thread] = tuple(dict.fromkeys((*known.get(thread, ()), *wrong)))
    orphans = () if unreadable else tuple(sorted(there.difference(*contents.values())))
    return FileState(lost, orphans, unreadable)


def collect(blobs: BlobStore, checkpoint_files: Callable[[], Iterable[Path]]) -> tuple[Blob, ...]:
    """Remove the contents that no checkpoint of these files refers to; return what went.

    Safe while trials run: a content that is being kept for a checkpoint is waited for. Raises ``StoreError`` if a
    file cannot be read or the contents are never left alone; then nothing is removed.
    """

    def referenced() -> Collection[str]:
        found: set[str] = set()
        for path in checkpoint_files():
            for snapshot in snapshots_in(path):
                found |= _needed(blobs, snapshot)
        return found

    return blobs.collect(referenced)


def snapshots_in(path: Path) -> tuple[str, ...]:
    """Return the snapshots that the checkpoints of a file refer to. Raises ``StoreError`` if it cannot be read."""
    with reading(path) as connection:
        # Files of earlier versions have no such column.
        if connection is None or connection.execute(_HAS_FILES).fetchone() is None:
            return ()
        return tuple(row[0] for row in connection.execute(_SNAPSHOTS))


def _of_threads(path: Path) -> list[tuple[str, str]]:
    """Return each thread of a file with each snapshot that its checkpoints refer to."""
    with reading(path) as connection:
        if connection is None or connection.execute(_HAS_FILES).fetchone() is None:
            return []
        return connection.execute(_OF_THREADS).fetchall()


def _needed(blobs: BlobStore, snapshot: str) -> set[str]:
    try:
        return {snapshot, *(file.digest for file in read_snapshot(blobs, snapshot))}
    except BlobMissing:
        return {snapshot}


def _fault(blobs: BlobStore, digest: str) -> str:
    try:
        blobs.verify(digest)
    except BlobMissing as error:
        return str(error)
    return ""
