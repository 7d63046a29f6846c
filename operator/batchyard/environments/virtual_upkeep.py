"""Lists the environments that are kept on this machine, and removes those that nobody needs. Never one in use."""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from batchyard.environments.virtual_lock import EnvironmentLock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BUILDING = ".making-"
"""How the folders of environments under way begin; what follows is the key and something random."""

_DESCRIPTION = "environment.json"
# The folder may be any that somebody named, with anything else in it.
_OURS = re.compile(rf"(?P<making>{re.escape(BUILDING)})?(?P<key>[0-9a-f]{{32}})(?(making)-.*)")
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is kept: at most so many bytes, so many environments, and none that was not used for so long."""

    bytes: int = 10 * GIB
    count: int = 100
    unused: timedelta = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Kept:
    """One environment as it is on disk."""

    key: str
    packages: tuple[str, ...]
    python: str
    bytes: int
    used_at: datetime
    in_use: bool


def is_made(place: Path) -> bool:
    """Return whether the environment at ``place`` is there, and whole."""
    return (place / _DESCRIPTION).is_file()


def mark_used(place: Path) -> None:
    """Note that the environment is used now."""
    with suppress(OSError):  # a folder that may only be read serves as well
        os.utime(place / _DESCRIPTION)


def kept(root: Path) -> list[Kept]:
    """Return what is kept below ``root``, what was used last first."""
    places = (place for place in root.glob(f"*/{_DESCRIPTION}") if _OURS.fullmatch(place.parent.name))
    found = [one for place in places if (one := _kept(root, place)) is not None]
    return sorted(found, key=lambda one: one.used_at, reverse=True)


def prune(root: Path, bounds: Bounds, now: datetime) -> Sequence[Kept]:
    """Remove what is over the bounds, what was used longest ago first, and what killed processes left half-made.

    Returns the environments that were removed.
    """
    _remove_half_made(root)
    removed: list[Kept] = []
    there = kept(root)
    count, size = len(there), sum(one.bytes for one in there)
    for one in reversed(there):
        if count <= bounds.count and size <= bounds.bytes and now - one.used_at <= bounds.unused:
            break
        if not one.in_use and _remove(root, one.key):
            removed.append(one)
            count, size = count - 1, size - one.bytes
    return removed


def _kept(root: Path, description: Path) -> Kept | None:
    try:
        text = json.loads(description.read_text())
        used_at = datetime.fromtimestamp(description.stat().st_mtime, UTC)
        key = description.parent.name
        return Kept(key, tuple(text["packages"]), text["python"], text["bytes"], used_at, _in_use(root, key))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is being removed, or was never one of ours


def _in_use(root: Path, key: str) -> bool:
    lock = EnvironmentLock(root, key)
    try:
        return not lock.alone_at_once()
    finally:
        lock.release()


def _remove(root: Path, key: str) -> bool:
    """Remove the environment unless somebody uses it; return whether it is gone."""
    lock = EnvironmentLock(root, key)
    try:
        if not lock.alone_at_once():
            return False
        # First what says that it is whole: a removal that is killed leaves nothing that would be used.
        (root / key / _DESCRIPTION).unlink(missing_ok=True)
        shutil.rmtree(root / key, ignore_errors=True)
        lock.remove()
        return True
    finally:
        lock.release()


def _remove_half_made(root: Path) -> None:
    for folder in root.glob("*/"):
        ours = _OURS.fullmatch(folder.name)
        if ours is None or is_made(folder):
            continue
        lock = EnvironmentLock(root, ours["key"])
        try:
            if lock.alone_at_once():
                shutil.rmtree(folder, ignore_errors=True)
                lock.remove()
        finally:
            lock.release()
