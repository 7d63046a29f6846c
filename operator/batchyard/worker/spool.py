"""Segments that wait to be sent, one file each, so that an operator that is away costs disk and not memory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from batchyard.model.errors import EnvironmentUnavailable, StoreError

if TYPE_CHECKING:
    from pathlib import Path


class Spool:
    """Numbered files in a folder of its own. Not safe for two writers; one may write while another reads."""

    def __init__(self, folder: Path) -> None:
        """Begin empty: what an earlier process left there belongs to another attempt."""
        self._folder = folder
        self._sizes: dict[int, int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob("*.json*"):
                left.unlink()
        except OSError as err:
            raise EnvironmentUnavailable(f"no spool can be made at {folder}: {err.strerror}") from err

    @property
    def size(self) -> int:
        """Return how many bytes wait."""
        return sum(tuple(self._sizes.values()))

    def put(self, number: int, body: bytes) -> None:
        """Keep a segment. Raises ``StoreError`` if the disk is full; then nothing of it is left."""
        path = self._path(number)
        unnamed = path.with_suffix(".json.new")
        try:
            unnamed.write_bytes(body)
            unnamed.rename(path)
        except OSError as err:
            with contextlib.suppress(OSError):
                unnamed.unlink(missing_ok=True)
            raise StoreError(
                f"results cannot be spooled to {path}: {err.strerror}; give the pod more ephemeral storage"
            ) from err
        self._sizes[number] = len(body)

    def get(self, number: int) -> bytes | None:
        """Return a segment, None if it is not there (yet, or any more)."""
        return self._path(number).read_bytes() if number in self._sizes else None

    def drop(self, number: int) -> None:
        """Forget a segment that was taken."""
        if self._sizes.pop(number, None) is not None:
            self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08}.json"
