"""What each combination's trials of each case come to: what comparisons by case are made from.

Memory is cases x combinations. Which trials count, and with which score, is as in ``comparison``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from batchyard.judge.comparison import JUDGED, earned
from batchyard.judge.ranking import Measure
from batchyard.model.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from batchyard.model.trial import AttemptResult, Case


@dataclass(slots=True)
class CaseCell:
    """One combination's trials of one case, but for those that say something of the place only."""

    judged: int = 0
    passed: int = 0
    scores: list[float] = field(default_factory=list)

    def add(self, result: AttemptResult) -> None:
        """Count one final result."""
        if result.outcome not in JUDGED:
            return
        self.judged += 1
        self.passed += result.outcome is Outcome.PASSED
        score = earned(result)
        if score is not None or result.outcome is not Outcome.PASSED:
            self.scores.append(score or 0.0)

    def mean(self, measure: Measure) -> float | None:
        """Return the mean of the trials that have this measure, None if none has."""
        if measure is Measure.SCORE:
            # Summed exactly, so that the order in which results come changes nothing.
            return math.fsum(self.scores) / len(self.scores) if self.scores else None
        return self.passed / self.judged if self.judged else None

    def count(self, measure: Measure) -> int:
        """Return how many trials have this measure."""
        return len(self.scores) if measure is Measure.SCORE else self.judged


class Pair(NamedTuple):
    """One case under two combinations: the second one's mean less the first one's, of ``repeats`` trials each."""

    case: str
    group: str
    weight: float
    difference: float
    repeats: int


@dataclass(frozen=True, slots=True)
class Pairs:
    """All cases that both combinations have, and how many only one has: it lost all its trials of the other."""

    pairs: tuple[Pair, ...]
    unpaired: int


class CaseTable:
    """Takes final results one at a time, in any order."""

    def __init__(self, cases: Iterable[Case]) -> None:
        """Name the cases of the batch: a case counts by its weight, and those of one group together."""
        self._cases: Mapping[str, Case] = {case.name: case for case in cases}
        self._cells: dict[str, dict[str, CaseCell]] = {}

    def add(self, result: AttemptResult) -> None:
        """Count a trial's final result, each trial once."""
        self._cells.setdefault(result.combination, {}).setdefault(result.case, CaseCell()).add(result)

    def cells(self, combination: str) -> Iterator[tuple[Case, CaseCell]]:
        """Yield what there is of a combination, in the order of the cases."""
        found = self._cells.get(combination, {})
        for name, case in self._cases.items():
            if name in found:
                yield case, found[name]

    def pairs(self, first: str, second: str, measure: Measure) -> Pairs:
        """Return the cases of two combinations side by side, as ``second - first``; those of weight 0 are left out."""
        others = {case.name: cell for case, cell in self.cells(second)}
        made, unpaired = [], 0
        for case, cell in self.cells(first):
            other = others.get(case.name)
            if case.weight == 0 or other is None:
                continue
            left, right = cell.mean(measure), other.mean(measure)
            if left is None and right is None:
                continue
            if left is None or right is None:
                unpaired += 1
                continue
            repeats = min(cell.count(measure), other.count(measure))
            made.append(Pair(case.name, case.group or case.name, case.weight, right - left, repeats))
        return Pairs(tuple(made), unpaired)
