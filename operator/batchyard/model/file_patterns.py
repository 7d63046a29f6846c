"""Which files of a folder a list of patterns means. Works on paths as text; not for looking at any folder.

A pattern is a path below the folder, with ``/`` between names: ``*``, ``?`` and ``[...]`` stand for parts of one name,
``**`` for any number of folders. What names a folder means all that is in it.
"""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ANY_FOLDERS = "**"
OWN_FOLDER = ".batchyard"
"""The folder, right in a tracked one, that is ours and never tracked."""


class FilePatterns:
    """The files that ``paths`` mean but for those that ``ignore`` means.

    An entry of ``ignore`` without a ``/`` means every file and folder of that name, however deep.
    """

    def __init__(self, paths: Sequence[str], ignore: Sequence[str] = ()) -> None:
        """Take patterns that ``pattern_fault`` finds nothing wrong with."""
        self._paths = [_Pattern(path) for path in paths]
        self._ignored = [_Pattern(path if "/" in path.rstrip("/") else f"**/{path}") for path in ignore]

    def tracks(self, path: str) -> bool:
        """Return whether the file at this path is meant."""
        parts = path.split("/")
        return not self._ignores(parts) and any(pattern.covers(parts) for pattern in self._paths)

    def may_hold(self, folder: str) -> bool:
        """Return whether a file that is meant could be somewhere in this folder."""
        parts = folder.split("/")
        return not self._ignores(parts) and any(pattern.leads_into(parts) for pattern in self._paths)

    def _ignores(self, parts: Sequence[str]) -> bool:
        return parts[0] == OWN_FOLDER or any(pattern.covers(parts) for pattern in self._ignored)


class _Pattern:
    """One pattern, followed name by name: a set of how far along it a path may have come."""

    def __init__(self, text: str) -> None:
        names = text.rstrip("/").split("/")
        if names[-1] == ANY_FOLDERS:
            names.append("*")  # what is in any folder, not the folder it begins in
        self._names = [None if name == ANY_FOLDERS else re.compile(fnmatch.translate(name)) for name in names]

    def covers(self, parts: Sequence[str]) -> bool:
        """Return whether the pattern names the path or a folder it is in."""
        return len(self._names) in self._reached(parts)

    def leads_into(self, parts: Sequence[str]) -> bool:
        """Return whether the pattern covers the folder or may cover something in it."""
        return bool(self._reached(parts))

    def _reached(self, parts: Sequence[str]) -> set[int]:
        at = self._past_folders({0})
        for part in parts:
            if len(self._names) in at or not at:
                break
            further: set[int] = set()
            for index in at:
                name = self._names[index]
                if name is None:
                    further.add(index)
                elif name.match(part):
                    further.add(index + 1)
            at = self._past_folders(further)
        return at

    def _past_folders(self, at: set[int]) -> set[int]:
        """Add where each is if the ``**`` it stands at stands for no folder at all."""
        for index in sorted(at):
            beyond = index
            while beyond < len(self._names) and self._names[beyond] is None:
                beyond += 1
                at.add(beyond)
        return at


def pattern_fault(pattern: str) -> str:
    """Return what is wrong with a pattern, or ""."""
    names = pattern.removesuffix("/").split("/")
    if pattern.startswith("/"):
        return "begins with /, but is relative to the trial's own folder"
    if ".." in names:
        return "leads out of the trial's folder"
    if "" in names or "." in names:
        return "has an empty name or a . in it"
    if "\\" in pattern or "\0" in pattern:
        return "has a character that no path here has"
    if any(ANY_FOLDERS in name and name != ANY_FOLDERS for name in names):
        return "has ** beside other characters of a name"
    return ""
