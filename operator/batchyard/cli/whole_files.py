"""Writes the files that a user names, whole or not at all, so that nobody ever reads half of one."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from batchyard.model.errors import NotWritten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_PREFIX = ".batchyard-"


def write_whole(files: Mapping[Path, Callable[[Path], object]]) -> None:
    """Have each file written by its function, which is given another one to write that then takes the place of it.

    All are written and on the disk before the first one gets its name. A link stays, and what it leads to is replaced;
    what is there and is no file, as a pipe or a device, stays too and is written into. Folders that are not there are
    made. Raises ``NotWritten``; then no file that could not be written is touched.
    """
    with ExitStack() as made:
        beside = {file: _beside(file, write, made) for file, write in files.items()}
        for file, whole in beside.items():
            with _told_of(file):
                if _takes_the_place(file):
                    whole.replace(_behind_links(file))
                else:
                    with whole.open("rb") as content, file.open("wb") as out:
                        shutil.copyfileobj(content, out)


def can_be_written(file: Path) -> None:
    """Find out whether a file can be written, which leaves no trace. Raises ``NotWritten``."""
    with _told_of(file):
        if not _takes_the_place(file):
            if not os.access(file, os.W_OK):
                raise PermissionError(0, "it may not be written to")
            return
        folder = _behind_links(file).parent
        while not folder.exists():
            folder = folder.parent
        # Asking for permission is not enough: in some file systems nobody makes a file.
        with TemporaryDirectory(prefix=_PREFIX, dir=folder) as made:
            (Path(made) / file.name).touch()


def _beside(file: Path, write: Callable[[Path], object], made: ExitStack) -> Path:
    with _told_of(file):
        folder = None
        if _takes_the_place(file):
            folder = _behind_links(file).parent
            folder.mkdir(parents=True, exist_ok=True)
        beside = Path(made.enter_context(TemporaryDirectory(prefix=_PREFIX, dir=folder))) / file.name
        write(beside)
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        return beside


def _takes_the_place(file: Path) -> bool:
    """Return whether what is written gets the file's name; else what is there has to stay. Raises ``OSError``."""
    if file.is_dir():
        raise IsADirectoryError(0, "it is a folder")
    # What a link leads to may have no name of its own, such as the pipe behind /dev/stdout.
    return not file.exists() or _behind_links(file).is_file()


def _behind_links(file: Path) -> Path:
    return Path(os.path.realpath(file))  # Path.resolve() fails at links that go round in a circle


@contextmanager
def _told_of(file: Path) -> Iterator[None]:
    """Name the file as the user did: what went wrong was perhaps with one that only this module knows."""
    try:
        yield
    except OSError as err:
        raise NotWritten(f"{file}: cannot be written: {err.strerror or err}; name another place") from err
