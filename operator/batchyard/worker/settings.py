"""What a worker is told by its pod."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Where the operator is, who this worker is, and where its files go.

    ``source`` is the folder with the user's code, "" if it is on the import path already. ``spool_bytes`` is how much
    may wait to be sent before the trials are held up.
    """

    results_url: str
    batch_id: str
    attempt: int
    token_file: Path
    spool: Path
    source: str = ""
    ca_file: Path | None = None
    spool_bytes: int = 1024**3
