"""Finds out what a batch on this machine runs with: the files of its workflow, the packages, Python.

Reads and hashes; nothing of the user's is imported or run. Not for comparing (``decide.amending``).
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from batchyard.engine.code_folder import read_code
from batchyard.engine.leaving_out import IGNORE_FILE
from batchyard.model.setting import Setting
from batchyard.model.spec import API_VERSION, KIND

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from batchyard.engine.sources import LoadedBatch

MOST_BYTES = 32 * 1024 * 1024
MOST_FILES = 2_000

_DIGITS = 32
_INSTALLED = (".dist-info", ".egg-info")
_TEXTS = (".yaml", ".yml", ".json")


def setting_of(loaded: LoadedBatch, place: str, written: Collection[Path] = ()) -> Setting:
    """Return what a batch that was read from a file would run with now, on this machine and in this ``place``.

    ``written`` are files and folders that its run writes, which are no code.
    """
    source = loaded.batch.spec.workflow.source.path
    packages, python = installed(), f"{platform.python_implementation()} {platform.python_version()}"
    if source is None:
        return Setting(packages=packages, python=python, place=place, unknown="it is in no folder of its own")
    folder = (loaded.base / source).resolve()
    found = read_code(folder, source, written, MOST_BYTES)
    unknown = ""
    if found.fault is not None or len(found.files) > MOST_FILES:
        unknown = (
            f"{folder} holds more than {MOST_FILES:,} files or {MOST_BYTES // 1024**2} MiB; "
            f"leave out in {IGNORE_FILE} what is no code"
        )
    elif found.faults:
        unknown = str(found.faults[0])
    if unknown:
        return Setting(packages=packages, python=python, place=place, unknown=unknown)
    own = tuple(_below(folder, written))
    # What they say is compared by what they mean.
    files, apart = digests_of(found.files, (*_below(folder, loaded.own_files), *own))
    return Setting(files, apart, packages, python, place, written=own, ignored=found.ignored)


def digests_of(files: Mapping[str, bytes], own: Iterable[str] = ()) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the digests of a workflow's files, and which of them are no code; ``own`` are the batch's own."""
    digests = {path: hashlib.sha256(content).hexdigest()[:_DIGITS] for path, content in files.items()}
    return digests, tuple(sorted({*own, *_batch_tests(files)}))


def installed() -> tuple[str, ...]:
    """Return name and version of every package that this Python would import, by its folder's name."""
    names: set[str] = set()
    for place in filter(None, sys.path):
        with suppress(OSError):
            names.update(entry.name for entry in os.scandir(place) if entry.name.endswith(_INSTALLED))
    return tuple(sorted(name.rsplit(".", 1)[0] for name in names))


def _below(folder: Path, paths: Iterable[Path]) -> Iterator[str]:
    """Yield those of the paths that are in the folder, as they are named there."""
    for path in paths:
        with suppress(ValueError):
            yield path.resolve().relative_to(folder).as_posix()


def _batch_tests(files: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the files that are BatchTests, of this batch or another."""
    for path, content in files.items():
        if path.endswith(_TEXTS) and API_VERSION.encode() in content and KIND.encode() in content:
            yield path
