"""Look through a folder that others may be changing, and never outside it.

No link is followed, also none that takes a folder's place meanwhile. Not for what is done with the files found.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchyard.model.file_patterns import FilePatterns

DEEPEST = 64
"""How deep folders are looked into; each level holds a descriptor open."""

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class TooDeep(Exception):
    """Folders lie deeper in each other than is looked."""


class Seen(NamedTuple):
    """What is at a tracked path: ``name`` in the open ``folder``, and what it was when it was seen."""

    path: str
    folder: int
    name: str
    status: os.stat_result

    @property
    def is_file(self) -> bool:
        """Return whether it is a plain file."""
        return stat.S_ISREG(self.status.st_mode)

    @property
    def kind(self) -> str:
        """Say in words what it is."""
        kinds = {
            stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket",
            stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFDIR: "a folder",
        }  # fmt: skip
        return kinds.get(stat.S_IFMT(self.status.st_mode), "a file")


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Open a folder, which must be one itself and no link to one. Raises ``OSError``."""
    fd = os.open(folder, FOLDER)
    try:
        yield fd
    finally:
        os.close(fd)


def walk(folder: int, patterns: FilePatterns, prefix: str = "", depth: int = 0) -> Iterator[Seen]:
    """Yield what is at each tracked path of an open folder, by name; what vanishes meanwhile is passed over.

    A link to a folder is yielded like any other link, where the folder could hold tracked files. Raises ``TooDeep``
    and ``OSError``.
    """
    if depth > DEEPEST:
        raise TooDeep(prefix)
    for name in sorted(os.listdir(folder)):
        path = f"{prefix}{name}"
        status = _status(folder, name)
        if status is None:
            continue
        if not stat.S_ISDIR(status.st_mode):
            is_link = stat.S_ISLNK(status.st_mode)
            if patterns.tracks(path) or (is_link and patterns.may_hold(path)):
                yield Seen(path, folder, name, status)
        elif patterns.may_hold(path):
            yield from _walk_into(folder, name, patterns, path, depth)


def _walk_into(folder: int, name: str, patterns: FilePatterns, path: str, depth: int) -> Iterator[Seen]:
    try:
        inner = os.open(name, FOLDER, dir_fd=folder)
    except OSError:
        status = _status(folder, name)
        if status is not None and stat.S_ISDIR(status.st_mode):
            raise  # it is there and cannot be opened
        if status is not None:
            yield Seen(path, folder, name, status)
        return
    try:
        yield from walk(inner, patterns, f"{path}/", depth + 1)
    finally:
        os.close(inner)


def open_seen(seen: Seen) -> int | None:
    """Open a plain file that was seen for reading; None if it is gone or something else by now. Raises ``OSError``."""
    try:
        fd = os.open(seen.name, _FILE, dir_fd=seen.folder)
    except FileNotFoundError:
        return None
    except OSError:
        status = _status(seen.folder, seen.name)
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        raise
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
