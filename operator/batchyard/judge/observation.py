"""What an evaluator is given, what it gives back, and the contract between the two. No evaluator is here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from batchyard.model.errors import BatchyardError

if TYPE_CHECKING:
    from batchyard.model.trial import JSON


@dataclass(frozen=True, slots=True)
class Observed:
    """One completed run: its final state as JSON, what the case expects and what was measured.

    ``input`` is the case's input with the batch's initial state under it; ``case`` and ``combination`` are names.
    ``metrics`` has what the workflow reported and, for each evaluator, what those before it measured.
    """

    output: Mapping[str, JSON]
    expected: JSON
    input: Mapping[str, JSON]
    metrics: Mapping[str, float]
    duration_seconds: float
    case: str = ""
    combination: str = ""
    variants: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judgement:
    """An evaluator's word: a score within 0..1, or None for "nothing to say", and what it measured on the way."""

    score: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)


class CannotJudge(BatchyardError):
    """Something an evaluator needs is not there. The text says what, and what to do; the trial does not pass."""


class Evaluator(Protocol):
    """Scores one run."""

    def evaluate(self, observed: Observed) -> Judgement:
        """Return the judgement; must not change ``observed``. Raises ``CannotJudge`` if a field or metric is missing.

        Whatever else it raises is recorded as its failure with this trial, never as a score of 0.
        """
        ...


Function: TypeAlias = Callable[..., object]
"""A user's scoring function."""

Resolve: TypeAlias = Callable[[str], Function]
"""Imports ``module:function``; injected, so that the user's code is imported only where it may run."""
