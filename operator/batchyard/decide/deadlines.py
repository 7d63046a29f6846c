"""How far the ending of an attempt has come, given when its deadline passed. Pure: every instant is an argument.

Instants are seconds of one monotonic clock, durations are seconds.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum

TERM_TO_KILL_SECONDS = 0.25
"""How long a process group has between TERM and KILL."""


class Stage(Enum):
    """How an attempt is being treated, gentlest first."""

    RUN = "run"
    STOP = "stop"
    TERMINATE = "terminate"
    KILL = "kill"


def stage_after(since: float, now: float, grace: float) -> tuple[Stage, float | None]:
    """Return the stage at ``now`` of an attempt whose deadline passed at ``since``, and when the next stage begins.

    A soft stop at once, TERM after ``grace``, KILL ``TERM_TO_KILL_SECONDS`` later (then None: nothing follows).
    """
    if now < since:
        return Stage.RUN, since
    if now < since + grace:
        return Stage.STOP, since + grace
    if now < since + grace + TERM_TO_KILL_SECONDS:
        return Stage.TERMINATE, since + grace + TERM_TO_KILL_SECONDS
    return Stage.KILL, None


def batch_deadline(accepted_at: datetime, batch_seconds: float) -> datetime:
    """Return the instant a batch must be over; it is decided once, at acceptance, and survives restarts."""
    return accepted_at + timedelta(seconds=batch_seconds)
