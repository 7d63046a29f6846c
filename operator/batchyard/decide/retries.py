"""Whether an attempt is followed by another. Pure.

Retries are for the place's failures (``Errored``), never for a wrong answer: a retried wrong answer would be a second
throw of the dice, not a test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from batchyard.model.outcome import Outcome


def retry_delay(
    outcome: Outcome,
    attempt: int,
    *,
    max_attempts: int,
    retry_on: Collection[Outcome],
    backoff_seconds: float,
    backoff_max_seconds: float,
) -> float | None:
    """Return the seconds to wait before attempt ``attempt + 1``, or None if this outcome is final.

    The wait doubles with each attempt, from ``backoff_seconds`` up to ``backoff_max_seconds``; no jitter, so that a
    batch's course can be reproduced.
    """
    if outcome not in retry_on or attempt >= max_attempts:
        return None
    return float(min(backoff_max_seconds, backoff_seconds * 2 ** (attempt - 1)))
