"""What a worker is told by its pod, and how often it speaks to its operator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pace:
    """When a worker speaks, in seconds: without news after ``heartbeat``, after a failure with growing pauses."""

    heartbeat: float = 3.0
    first_pause: float = 0.2
    longest_pause: float = 5.0

    def pause(self, failures: int, spread: float, asked: float | None = None) -> float:
        """Return how long to wait after a failure that ``failures`` others came before, at least what was ``asked``.

        ``spread``, from 0 to 1, takes up to half of it away: the workers of a whole cluster must not all come back at
        once. What was asked for is never shortened.
        """
        longest = min(self.longest_pause, self.first_pause * 2.0 ** min(failures, 30))
        return max(longest * (1 - spread / 2), asked or 0.0)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Where the operator is, who this worker is, and where its files go.

    ``source`` is the folder with the user's code, "" if it is on the import path already. ``spool_bytes`` is how much
    may wait to be sent before the trials are held up. ``patience_seconds`` is how long an operator that is away is
    waited for when nothing else is left to do. ``pod`` is the uid of this worker's pod, "" if that tells nothing.
    """

    results_url: str
    batch_id: str
    attempt: int
    token_file: Path
    spool: Path
    source: str = ""
    ca_file: Path | None = None
    spool_bytes: int = 1024**3
    patience_seconds: float = 900.0
    pod: str = ""
    pace: Pace = field(default_factory=Pace)
