"""Data files of Go modules: got by the ordinary ``go`` client, and only used if they are what was pinned.

``modules.txt`` pins them, a line each: module, version, checksum as ``go.sum`` has it, and which files are wanted.
Not for programs, which ``tools`` builds.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cluster.bed.running import BedFailed, run

PINS = "modules.txt"
_TIMEOUT = 900.0


@dataclass(frozen=True, slots=True)
class Pin:
    """Some files of one version of a module."""

    module: str
    version: str
    checksum: str
    files: str
    """A glob."""


def pins(file: Path) -> list[Pin]:
    """Return what a file pins."""
    return [Pin(*line.split()) for line in file.read_text().splitlines()]


def fetch(pin: Pin, folder: Path) -> None:
    """Copy the files to ``folder/<last part of the module's name>/<version>``.

    Raises:
        BedFailed: The module cannot be had, or is not what was pinned.
    """
    wanted = f"{pin.module}@{pin.version}"
    # Outside of any module, so that what this one needs in turn is not asked for.
    with tempfile.TemporaryDirectory() as nowhere:
        said = run("go", "mod", "download", "-json", wanted, cwd=Path(nowhere), timeout=_TIMEOUT, GOWORK="off")
    found = json.loads(said)
    if found["Sum"] != pin.checksum:
        raise BedFailed(f"{wanted} has the checksum {found['Sum']}, and {pin.checksum} is pinned; compare {PINS}")
    files = sorted(Path(found["Dir"]).glob(pin.files))
    if not files:
        raise BedFailed(f"{wanted} has no file {pin.files}; compare {PINS}")
    target = folder / pin.module.rpartition("/")[2] / pin.version
    target.mkdir(parents=True)
    for file in files:
        # What the module cache holds is read-only; a copy that keeps this could not be removed.
        (target / file.name).write_bytes(file.read_bytes())
