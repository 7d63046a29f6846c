"""Which combination is best, decided here and nowhere else.

The order: combinations with a passed trial before those with none; then higher score, higher success rate, name.
Time has no say: it differs from run to run, and the same answers must give the same verdict everywhere. A combination
that passed nothing is never best, whatever its score. In a batch without any score the success rate decides, and only
if one combination has the highest alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from batchyard.judge.exact import as_written

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchyard.judge.row import CombinationRow
    from batchyard.model.trial import JSON


class Measure(StrEnum):
    """What combinations of a batch are compared by."""

    SCORE = "score"
    SUCCESS_RATE = "successRate"

    def of(self, row: CombinationRow) -> float | None:
        """Return this measure of ``row``, or None if the row has none."""
        return row.score if self is Measure.SCORE else row.success_rate


@dataclass(frozen=True, slots=True)
class Best:
    """The best combination. ``margin`` is its lead, in ``by``, over the next that passed anything; None if none did."""

    combination: str
    score: float | None
    margin: float | None
    by: Measure

    def to_json(self) -> dict[str, JSON]:
        """Return the contract's ``best``."""
        return {"combination": self.combination, "score": self.score, "margin": self.margin, "by": self.by.value}


def rank(rows: Iterable[CombinationRow]) -> tuple[CombinationRow, ...]:
    """Return the rows best first; the same rows in whatever order give the same ranking."""
    return tuple(sorted(rows, key=_place))


def measure_of(rows: Iterable[CombinationRow]) -> Measure:
    """Return what these rows are compared by: the score if any row has one, else the success rate."""
    return Measure.SCORE if any(row.score is not None for row in rows) else Measure.SUCCESS_RATE


def leader(ranked: Sequence[CombinationRow]) -> CombinationRow | None:
    """Return the first of the ranked rows, or None if not even that one passed a trial.

    Unlike ``best`` it is there when several rows tie: the gate asks how good the batch's best is, not who it is.
    """
    return ranked[0] if ranked and ranked[0].passed else None


def best(ranked: Sequence[CombinationRow]) -> Best | None:
    """Return the best of the ranked rows, or None if nobody earned it."""
    by = measure_of(ranked)
    contenders = [(row, value) for row in ranked if row.passed and (value := by.of(row)) is not None]
    if not contenders:
        return None
    first, value = contenders[0]
    margin = float(as_written(value) - as_written(contenders[1][1])) if len(contenders) > 1 else None
    if by is Measure.SUCCESS_RATE and margin == 0:
        return None
    return Best(combination=first.name, score=first.score, margin=margin, by=by)


def _place(row: CombinationRow) -> tuple[bool, float, float, str]:
    return (
        not row.passed,
        -_or(row.score, -math.inf),
        -_or(row.success_rate, -math.inf),
        row.name,
    )


def _or(value: float | None, missing: float) -> float:
    return missing if value is None else value
