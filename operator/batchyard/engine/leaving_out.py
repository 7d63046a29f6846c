"""Which files of a folder stay out of a bundle: patterns, one a line, as in a ``.gitignore``. Pure.

A pattern without ``/`` fits a name in any folder, one with ``/`` a path from the top. ``*`` and ``?`` stop at ``/``,
``**`` does not; a ``/`` at the end means folders only; ``!`` takes back what an earlier line left out, unless the
folder it is in was left out. The last line that fits decides.
"""

from __future__ import annotations

import glob
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

IGNORE_FILE = ".batchyardignore"

ALWAYS = """\
.*
__pycache__/
*.py[co]
*.egg-info/
node_modules/
*.db
*.db-*
*.db.files/
"""
"""What nobody means to run: hidden files, what Python and others write by themselves, and stores."""


class Pattern(NamedTuple):
    """One line: the names that make up its path, what it is about and whether it takes back."""

    names: tuple[str, ...]
    folders_only: bool = False
    takes_back: bool = False


def patterns_of(text: str) -> tuple[Pattern, ...]:
    """Return the patterns of a text; empty lines and those that begin with ``#`` are none."""
    return tuple(
        pattern for line in text.split("\n") if not line.startswith("#") and (pattern := _pattern(line.rstrip()))
    )


def exactly(path: str) -> Pattern:
    """Return the pattern that fits this one path from the top."""
    return Pattern(tuple(glob.escape(name) for name in path.split("/")))


def is_left_out(path: str, patterns: Iterable[Pattern], *, is_folder: bool) -> bool:
    """Return whether the last pattern that fits the path, which has ``/`` between its names, leaves it out."""
    names = path.split("/")
    left_out = False
    for pattern in patterns:
        # A pattern that would change nothing need not be tried.
        if pattern.takes_back == left_out and (is_folder or not pattern.folders_only) and _fits(names, pattern.names):
            left_out = not pattern.takes_back
    return left_out


def is_left_out_within(path: str, patterns: Sequence[Pattern]) -> bool:
    """Return whether the patterns leave out a file or a folder that it is in."""
    names = path.split("/")
    above = ("/".join(names[:depth]) for depth in range(1, len(names)))
    return any(is_left_out(folder, patterns, is_folder=True) for folder in above) or is_left_out(
        path, patterns, is_folder=False
    )


def _pattern(line: str) -> Pattern | None:
    takes_back = line.startswith("!")
    path = line[1:] if takes_back or line.startswith(("\\!", "\\#")) else line
    names = [name for name in path.split("/") if name]
    if not names:
        return None
    if "/" not in path.rstrip("/"):
        names = ["**", *names]
    return Pattern(tuple(names), path.endswith("/"), takes_back)


def _fits(names: Sequence[str], wanted: Sequence[str]) -> bool:
    if not wanted:
        return not names
    if wanted[0] == "**":
        # At the end it means what is within a folder, not the folder itself.
        least = 1 if len(wanted) == 1 else 0
        return any(_fits(names[start:], wanted[1:]) for start in range(least, len(names) + 1))
    return bool(names) and fnmatchcase(names[0], wanted[0]) and _fits(names[1:], wanted[1:])
