"""Whether a session that was never closed still lives. Pure.

A session that lives is never taken for dead, however slow it is: on its own machine its process can be asked for, on
another there is only its silence, which proves nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from batchyard.engine.ports import Owner


class Liveness(StrEnum):
    """What is known of a session's process."""

    ALIVE = "Alive"
    SILENT = "Silent"
    """It runs on another machine and has not been heard of for long: dead or cut off, nobody here can tell."""
    ABANDONED = "Abandoned"


def liveness(
    owner: Owner,
    heard: datetime,
    now: datetime,
    *,
    here: str,
    started: str,
    silent_seconds: float,
    presumed_dead_seconds: float | None = None,
) -> Liveness:
    """Return what is known of a session.

    Args:
        owner: The process that runs it.
        heard: Its last heartbeat.
        now: The time of day.
        here: The name of this machine.
        started: When the process of the owner's pid on this machine began, "" if there is none.
        silent_seconds: How long another machine's session may be silent without being conspicuous.
        presumed_dead_seconds: After how long a silent one is taken for dead; None: never.
    """
    if owner.host == here:
        return Liveness.ALIVE if started and started == owner.started else Liveness.ABANDONED
    silence = (now - heard).total_seconds()
    if presumed_dead_seconds is not None and silence >= presumed_dead_seconds:
        return Liveness.ABANDONED
    return Liveness.SILENT if silence >= silent_seconds else Liveness.ALIVE
