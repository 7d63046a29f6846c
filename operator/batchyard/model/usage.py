"""What a trial or a batch uses, and how much of it is allowed: steps, tokens and cost. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(StrEnum):
    """What can be used up. The values are the names of the metrics, too."""

    STEPS = "steps"
    TOKENS = "tokens"
    COST = "cost"


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used so far. ``cost`` is in whatever currency the prices are."""

    steps: float = 0.0
    tokens: float = 0.0
    cost: float = 0.0

    @classmethod
    def of(cls, metrics: Mapping[str, float]) -> Usage:
        """Return what an attempt used, as its metrics have it."""
        return cls(**{kind.value: max(0.0, metrics.get(kind, 0.0)) for kind in Kind})

    def __add__(self, other: Usage) -> Usage:
        """Return both together."""
        return Usage(self.steps + other.steps, self.tokens + other.tokens, self.cost + other.cost)

    def at_least(self, other: Usage) -> Usage:
        """Return the larger of both, kind by kind."""
        return Usage(max(self.steps, other.steps), max(self.tokens, other.tokens), max(self.cost, other.cost))


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much may be used; None is no limit."""

    steps: float | None = None
    tokens: float | None = None
    cost: float | None = None

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Return the kinds that have a limit."""
        return tuple(kind for kind in Kind if getattr(self, kind) is not None)

    def __bool__(self) -> bool:
        """Return whether there is any limit."""
        return bool(self.kinds)
