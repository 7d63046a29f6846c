"""What is kept after an attempt or a batch has ended. Pure."""

from __future__ import annotations

from batchyard.model.execution import Keep
from batchyard.model.outcome import Outcome

_NOTHING_TO_LOOK_AT = frozenset({Outcome.PASSED, Outcome.CANCELLED, Outcome.NOT_RUN})


def keep_workspace(outcome: Outcome) -> bool:
    """Return whether the attempt's folder stays for a post-mortem."""
    return outcome not in _NOTHING_TO_LOOK_AT


def keep_thread(keep: Keep, outcome: Outcome) -> bool:
    """Return whether the attempt's thread stays, to be looked at and gone on with."""
    match keep:
        case Keep.ALWAYS:
            return outcome is not Outcome.NOT_RUN
        case Keep.ON_FAILURE:
            return outcome not in _NOTHING_TO_LOOK_AT
        case _:
            return False
