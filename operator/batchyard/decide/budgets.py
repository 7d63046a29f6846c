"""When a budget is exceeded, and what a batch has used in all. Pure: what was used is an argument.

Not for how an attempt over its budget is ended: that is as after a deadline (``decide.deadlines``).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from batchyard.model.outcome import Reason
from batchyard.model.usage import Allowance, Kind, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

REASON_OF: Mapping[Kind, Reason] = {
    Kind.STEPS: Reason.STEP_BUDGET_EXCEEDED,
    Kind.TOKENS: Reason.TOKEN_BUDGET_EXCEEDED,
    Kind.COST: Reason.COST_BUDGET_EXCEEDED,
}

KIND_OF: Mapping[str, Kind] = {reason.value: kind for kind, reason in REASON_OF.items()}

_SLACK = 1e-9
"""Of the limit: three costs of 0.1 are a bit more than 0.3 to a computer, and within a budget of 0.3 to everybody."""


def exceeded(allowed: Allowance, used: Usage) -> Kind | None:
    """Return the first kind of which more was used than is allowed. What is used up exactly is within its budget."""
    for kind in allowed.kinds:
        if getattr(used, kind) > getattr(allowed, kind) * (1 + _SLACK):
            return kind
    return None


def no_step_left(allowed: Allowance, used: Usage) -> bool:
    """Return whether the next step would be one too many: the running ones are the last."""
    return allowed.steps is not None and used.steps >= allowed.steps


def sentence(kind: Kind, allowed: Allowance, used: Usage) -> str:
    """Return in words by how much a budget is exceeded."""
    return f"used {shown(getattr(used, kind))} {kind} of {shown(getattr(allowed, kind))} allowed"


def shown(number: float) -> str:
    """Return a number as people write it."""
    return f"{number:,.6f}".rstrip("0").rstrip(".")


class Ledger:
    """What the attempts of a batch have used: those that ended, in whatever way, and those that run."""

    def __init__(self) -> None:
        """Begin with nothing used."""
        self._ended = Usage()
        self._running: defaultdict[int, Usage] = defaultdict(Usage)

    def running(self, ordinal: int, used: Usage) -> None:
        """Note what the trial's running attempt has used so far; what was heard before is never taken back."""
        self._running[ordinal] = self._running[ordinal].at_least(used)

    def ended(self, ordinal: int, used: Usage) -> None:
        """Note what an attempt used in all, or, if that was lost with its place, what was heard of it last."""
        self._ended += self._running.pop(ordinal, Usage()).at_least(used)

    @property
    def total(self) -> Usage:
        """Return what was used in all."""
        return sum(self._running.values(), self._ended)
