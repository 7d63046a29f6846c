"""Reads the folder with a workflow's code: which files are meant to go along, and what is in them.

Links are followed as long as they stay within the folder. Not for what becomes of the files (``config_maps``), nor for
which patterns leave files out (``leaving_out``). Nothing of the user's is imported or run here.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from batchyard.engine.leaving_out import ALWAYS, IGNORE_FILE, Pattern, exactly, is_left_out, patterns_of
from batchyard.model.errors import Fault
from batchyard.model.rules import shortened_list

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ENTRIES = 50_000
"""Files and folders in a folder that was meant."""

_MAX_FAULTS = 100
_MAX_IGNORE_BYTES = 64 * 1024
_LEAVE_OUT = f"leave it out in {IGNORE_FILE}"
# Files that only the root of a virtual environment has.
_ENVIRONMENT_MARKS = {"pyvenv.cfg", "conda-meta"}


@dataclass(slots=True)
class CodeFolder:
    """What was found: the files by their path from the top, in order, and what is wrong with the folder.

    ``faults`` have paths of files, ``fault`` is one of the folder as a whole: its message and what to do. ``stores``
    are files that were left out for their ending only. ``ignored`` is what ``IGNORE_FILE`` says. If anything is wrong
    the contents are not complete.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    fault: tuple[str, str] | None = None
    stores: list[str] = field(default_factory=list)
    ignored: str = ""


def read_code(
    folder: Path, shown: str, apart: Iterable[Path], most_bytes: int, *, most_entries: int = MAX_ENTRIES
) -> CodeFolder:
    """Return the files below ``folder`` that are not left out.

    Args:
        folder: Where the code is.
        shown: What the user calls the folder; messages begin with it.
        apart: Files that go along in another way; they are left out unless the user's patterns take them back.
        most_bytes: How much there may be in all; more is a fault, and is not read.
        most_entries: How many files and folders are looked at; more are a fault.
    """
    walk = _Walk(folder.resolve(), shown, most_bytes, most_entries)
    walk.leave_out(apart)
    walk.folder(walk.root, "", (walk.root,))
    return walk.read()


class _Walk:
    """One walk through a folder and what it has found."""

    def __init__(self, root: Path, shown: str, most_bytes: int, most_entries: int) -> None:
        self.root = root
        self._shown = "" if shown in {".", "./"} else f"{shown.rstrip('/')}/"
        self._most_bytes, self._most_entries = most_bytes, most_entries
        self._patterns: tuple[Pattern, ...] = ()
        self._users: tuple[Pattern, ...] = ()
        self._sizes: dict[str, int] = {}
        self._seen = 0
        self._found = CodeFolder()

    def leave_out(self, apart: Iterable[Path]) -> None:
        """Take the patterns: our own, the files that go along in another way, and the user's, which come last."""
        own = []
        for path in apart:
            with suppress(ValueError):
                own.append(exactly(path.resolve().relative_to(self.root).as_posix()))
        self._found.ignored = self._ignore_file()
        self._users = patterns_of(self._found.ignored)
        self._patterns = (*patterns_of(ALWAYS), *own, *self._users)

    def _ignore_file(self) -> str:
        path = self.root / IGNORE_FILE
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_IGNORE_BYTES + 1)
            if len(content) <= _MAX_IGNORE_BYTES:
                return content.decode("utf-8-sig")
            self._fault(IGNORE_FILE, f"is larger than {_MAX_IGNORE_BYTES // 1024} KiB", "write fewer patterns")
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            self._fault(IGNORE_FILE, "is not UTF-8 text", "save it as UTF-8")
        except OSError as err:
            self._fault(IGNORE_FILE, f"cannot be read: {err.strerror}", "check its permissions")
        return ""

    def folder(self, folder: Path, below: str, above: tuple[Path, ...]) -> None:
        """Look at all that is in a folder; ``above`` are the real folders that it is in, itself included."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as err:
            self._fault(below, f"cannot be read: {err.strerror}", f"check its permissions, or {_LEAVE_OUT}")
            return
        if below and any(entry.name in _ENVIRONMENT_MARKS for entry in entries):
            return
        for entry in entries:
            self._seen += 1
            if self._seen > self._most_entries:
                return
            path = f"{below}{entry.name}"
            try:
                self._entry(entry, path, above)
            except OSError as err:
                self._fault(path, f"cannot be read: {err.strerror}", f"check its permissions, or {_LEAVE_OUT}")

    def _entry(self, entry: os.DirEntry[str], path: str, above: tuple[Path, ...]) -> None:
        is_folder = _leads_to_folder(entry)
        if is_left_out(path, self._patterns, is_folder=is_folder):
            if not is_folder and self._looks_like_a_store(path):
                self._found.stores.append(path)
            return
        real = self._real(entry, path)
        if real is None:
            return
        if is_folder:
            if real in above:
                self._fault(path, "is a link to a folder that it is in", _LEAVE_OUT)
            else:
                self.folder(real, f"{path}/", (*above, real))
        elif not real.is_file():
            self._fault(path, "is neither a file nor a folder", _LEAVE_OUT)
        elif _is_utf8(path) and not path.startswith(".."):
            self._sizes[path] = real.stat().st_size
        else:
            self._fault(path, "has a name that no volume can hold", f"rename it, or {_LEAVE_OUT}")

    def _looks_like_a_store(self, path: str) -> bool:
        hidden = any(name.startswith(".") for name in path.split("/"))
        return path.endswith(".db") and not hidden and not is_left_out(path, self._users, is_folder=False)

    def _real(self, entry: os.DirEntry[str], path: str) -> Path | None:
        """Return what an entry is in truth, None with a fault if a link leads out of the folder or nowhere."""
        if not entry.is_symlink():
            return Path(entry.path)
        try:
            real = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: links that go round, in Python 3.11 and 3.12
            self._fault(path, "is a link that leads nowhere", f"remove it, or {_LEAVE_OUT}")
            return None
        if not real.is_relative_to(self.root):
            self._fault(path, "is a link that leads out of the folder", f"copy what it leads to, or {_LEAVE_OUT}")
            return None
        return real

    def read(self) -> CodeFolder:
        """Return all that was found, with the contents of the files if there are not too many or too large ones."""
        if self._seen > self._most_entries:
            text = f"holds more than {self._most_entries:,} files and folders"
            self._found.fault = (text, f"name the folder of the code alone, or leave folders out in {IGNORE_FILE}")
        elif not self._sizes and not self._found.faults:
            self._found.fault = (
                "holds no file that goes along",
                f"name the folder that holds the code, or check {IGNORE_FILE}",
            )
        elif sum(self._sizes.values()) > self._most_bytes:
            self._found.fault = (self._too_large(), self._smaller())
        else:
            self._read_contents()
        return self._found

    def _read_contents(self) -> None:
        for path in sorted(self._sizes):
            try:
                with (self.root / path).open("rb") as file:
                    content = file.read(self._most_bytes + 1)
            except OSError as err:
                self._fault(path, f"cannot be read: {err.strerror}", f"check its permissions, or {_LEAVE_OUT}")
                continue
            self._found.files[path] = content
            self._sizes[path] = len(content)
        if sum(self._sizes.values()) > self._most_bytes:  # a file that has grown since
            self._found.fault = (self._too_large(), self._smaller())

    def _too_large(self) -> str:
        largest = sorted(self._sizes.items(), key=lambda item: (-item[1], item[0]))
        named = shortened_list([f"{_printable(path)} {size:,}" for path, size in largest], 5)
        total = sum(self._sizes.values())
        return f"holds {total:,} bytes, more than the {self._most_bytes:,} of a ConfigMap; the largest: {named}"

    def _smaller(self) -> str:
        return f"leave out in {IGNORE_FILE} what is not needed, or build an image with the code and give --image"

    def _fault(self, path: str, message: str, remedy: str) -> None:
        faults, where = self._found.faults, _printable(f"{self._shown}{path}").rstrip("/") or "."
        if len(faults) < _MAX_FAULTS:
            faults.append(Fault(where, "", message, remedy))
        elif len(faults) == _MAX_FAULTS:
            faults.append(Fault(self._shown.rstrip("/") or ".", "", "has further faults perhaps", "mend these first"))


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links that go round
        return False


def _is_utf8(path: str) -> bool:
    return _printable(path) == path


def _printable(path: str) -> str:
    # A file's name need not be text; what is not comes as lone surrogates.
    return path.encode("utf-8", "backslashreplace").decode()
