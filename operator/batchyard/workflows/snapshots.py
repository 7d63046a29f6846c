"""What a folder's tracked files were at one moment: a list that is itself a content of the blob store.

A checkpoint names its snapshot by the list's digest, so that a boundary that changed no file adds nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from batchyard.model.execution import FilesLost
from batchyard.workflows.blobs import BlobMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.workflows.blobs import BlobStore


class TrackedFile(NamedTuple):
    """One file: its path below the folder, its content, how long that is, and its permission bits."""

    path: str
    digest: str
    size: int
    mode: int


def encoded(files: Sequence[TrackedFile]) -> bytes:
    """Return a list of files, in the order of their paths, as what is kept of it."""
    return json.dumps({"files": sorted(files)}, separators=(",", ":")).encode()


def read_snapshot(blobs: BlobStore, snapshot: str) -> tuple[TrackedFile, ...]:
    """Return the files of a snapshot. Raises ``BlobMissing``."""
    try:
        return tuple(TrackedFile(*entry) for entry in json.loads(blobs.read(snapshot))["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise BlobMissing(f"the content {snapshot[:12]} in {blobs.folder} is no list of files: {error}") from error


def check_whole(blobs: BlobStore, snapshot: str) -> None:
    """Raise ``FilesLost`` unless every content that a snapshot names is there and is what was put there."""
    try:
        for digest in {file.digest for file in read_snapshot(blobs, snapshot)}:
            blobs.verify(digest)
    except BlobMissing as error:
        raise FilesLost(
            f"the files of this boundary cannot be put back: {error}; nothing was changed; choose another boundary"
        ) from error
