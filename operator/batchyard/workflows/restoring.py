"""Put the tracked files of a folder back as a snapshot has them, one by one, each whole or not at all.

Works by open folders and names in them, so that nothing a running program swaps leads out of the workspace.
What has to give way is moved to ``.batchyard/removed-1`` and so on in the workspace, never deleted.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from batchyard.model.execution import Restored
from batchyard.model.file_patterns import OWN_FOLDER
from batchyard.workflows.folder_walk import FOLDER, open_seen, walk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.model.file_patterns import FilePatterns
    from batchyard.workflows.blobs import BlobStore
    from batchyard.workflows.folder_walk import Seen
    from batchyard.workflows.snapshots import TrackedFile

_CHUNK = 1024 * 1024


def put_back(
    root: int, patterns: FilePatterns, blobs: BlobStore, wanted: Sequence[TrackedFile], *, remove_later: bool
) -> Restored:
    """Make every wanted file what it was; tracked files that are not wanted stay, unless they are to go.

    Raises ``OSError``, ``BlobMissing`` and ``TooDeep``; what was put back until then is as it should be.
    """
    by_path = {file.path: file for file in wanted}
    unchanged, later = set(), []
    for seen in walk(root, patterns):
        file = by_path.get(seen.path)
        if file is None:
            later.append(seen.path)
        elif _is_as_wanted(seen, file):
            unchanged.add(seen.path)
    with _Attic(root) as attic:
        if remove_later:
            for path in later:
                with suppress(FileNotFoundError):  # gone by itself
                    attic.take(path)
        written = [file for file in wanted if file.path not in unchanged]
        for file in written:
            _write(root, file, blobs, attic)
        # What gave way to a file took along whatever was in it.
        left = [path for path in later if not remove_later and not attic.has(path)]
        return Restored(tuple(file.path for file in written), tuple(left), tuple(attic.moved.values()))


def _is_as_wanted(seen: Seen, file: TrackedFile) -> bool:
    if not seen.is_file or seen.status.st_size != file.size or seen.status.st_mode & 0o777 != file.mode:
        return False
    fd = open_seen(seen)
    if fd is None:
        return False
    with os.fdopen(fd, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == file.digest


def _write(root: int, file: TrackedFile, blobs: BlobStore, attic: _Attic) -> None:
    """Write a file beside everything and rename it into its place."""
    *folders, name = file.path.split("/")
    with ExitStack() as stack:
        folder, prefix = root, ""
        for part in folders:
            prefix = f"{prefix}{part}"
            folder = _entered(folder, part, prefix, attic)
            stack.callback(os.close, folder)
            prefix += "/"
        fresh, own = secrets.token_hex(8), attic.own
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=own)
        try:
            with os.fdopen(fd, "wb") as writing:
                for chunk in blobs.chunks(file.digest):
                    writing.write(chunk)
                writing.flush()
                os.fchmod(fd, file.mode)
                os.fsync(fd)
            if _is_folder(folder, name):
                attic.take(file.path)
            os.rename(fresh, name, src_dir_fd=own, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(fresh, dir_fd=own)
            raise


def _entered(folder: int, name: str, path: str, attic: _Attic) -> int:
    """Open a folder in an open one, making it; what stands there and is none is moved away."""
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    try:
        return os.open(name, FOLDER, dir_fd=folder)
    except NotADirectoryError:
        attic.take(path)
        os.mkdir(name, dir_fd=folder)
        return os.open(name, FOLDER, dir_fd=folder)


def _is_folder(folder: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


class _Attic:
    """Our folder in the workspace: where files are made, and where what has to go is moved to under its own path.

    ``moved`` has, for each path that went, where it is now.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._stack = ExitStack()
        self._removed: tuple[str, int] | None = None
        self.moved: dict[str, str] = {}

    def __enter__(self) -> _Attic:
        with suppress(FileExistsError):
            os.mkdir(OWN_FOLDER, 0o700, dir_fd=self._root)
        self.own = self._open(self._root, OWN_FOLDER)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        with suppress(OSError):
            os.rmdir(OWN_FOLDER, dir_fd=self._root)  # stays if anything is in it

    def has(self, path: str) -> bool:
        """Return whether the path, or a folder it was in, was moved away."""
        return any(path == moved or path.startswith(f"{moved}/") for moved in self.moved)

    def take(self, path: str) -> None:
        """Move what is at a path of the workspace away."""
        try:
            self._move(path)
        except OSError:
            # Something from the same place went before it, perhaps: begin a new folder.
            self._removed = None
            self._move(path)

    def _move(self, path: str) -> None:
        if self._removed is None:
            self._removed = self._new_folder()
        place, target = self._removed
        *folders, name = path.split("/")
        with ExitStack() as stack:
            source = self._root
            for part in folders:
                source = os.open(part, FOLDER, dir_fd=source)
                stack.callback(os.close, source)
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=target)
                target = os.open(part, FOLDER, dir_fd=target)
                stack.callback(os.close, target)
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
        self.moved[path] = f"{place}/{path}"

    def _new_folder(self) -> tuple[str, int]:
        number = 1
        while True:
            name = f"removed-{number}"
            try:
                os.mkdir(name, 0o700, dir_fd=self.own)
            except FileExistsError:
                number += 1
            else:
                return f"{OWN_FOLDER}/{name}", self._open(self.own, name)

    def _open(self, folder: int, name: str) -> int:
        fd = os.open(name, FOLDER, dir_fd=folder)
        self._stack.callback(os.close, fd)
        return fd
