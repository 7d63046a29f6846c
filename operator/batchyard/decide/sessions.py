"""Whether a session that was never closed still lives. Pure.

A session that lives is never taken for dead, however slow it is: on its own machine its process can be asked for, on
another there is only its silence, which proves nothing.
"""

from __future__ import annotations

from enum import StrEnum


class Liveness(StrEnum):
    """What is known of a session's process."""

    ALIVE = "Alive"
    SILENT = "Silent"
    """It runs on another machine and has not been heard of for long: dead or cut off, nobody here can tell."""
    ABANDONED = "Abandoned"


def liveness(
    *,
    runs_here: bool,
    is_its_process: bool,
    silence_seconds: float,
    silent_seconds: float,
    presumed_dead_seconds: float | None = None,
) -> Liveness:
    """Return what is known of a session.

    Args:
        runs_here: Whether it runs on this machine.
        is_its_process: Whether the process that opened it is there; means something only if it runs here.
        silence_seconds: How long ago it was last heard of.
        silent_seconds: How long another machine's session may be silent without being conspicuous.
        presumed_dead_seconds: After how long a silent one is taken for dead; None: never.
    """
    if runs_here:
        return Liveness.ALIVE if is_its_process else Liveness.ABANDONED
    if presumed_dead_seconds is not None and silence_seconds >= presumed_dead_seconds:
        return Liveness.ABANDONED
    return Liveness.SILENT if silence_seconds >= silent_seconds else Liveness.ALIVE
