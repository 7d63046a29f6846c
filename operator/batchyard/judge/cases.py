"""What each combination's trials of each case come to: what comparisons by case are made from.

Memory is cases x combinations. Which trials count, and with which score, is as in ``comparison``.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from batchyard.judge.comparison import JUDGED, counted, earned
from batchyard.judge.ranking import Measure
from batchyard.model.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from batchyard.model.trial import AttemptResult, Case

_NOT_SETTLED = frozenset({Outcome.NOT_RUN, Outcome.CANCELLED})


def group_of(case: Case) -> str:
    """Return what a case is counted with: the cases of a group are one witness, another case is its own."""
    return case.group or case.name


@dataclass(slots=True)
class CaseCell:
    """One combination's trials of one case, but for those that say something of the place only."""

    judged: int = 0
    passed: int = 0
    earned: bool = False
    scores: list[float] = field(default_factory=list)

    def add(self, outcome: Outcome, score: float | None) -> None:
        """Count one final outcome with the score that was earned."""
        if outcome not in JUDGED:
            return
        self.judged += 1
        self.passed += outcome is Outcome.PASSED
        self.earned |= score is not None
        worth = counted(outcome, score)
        if worth is not None:
            self.scores.append(worth)

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

    def __init__(self, cases: Iterable[Case], trials_per_case: int = 0) -> None:
        """Name the cases of the batch: a case counts by its weight, and those of one group together.

        ``trials_per_case`` is how many a case has over all combinations, for who asks what is settled.
        """
        self._cases: Mapping[str, Case] = {case.name: case for case in cases}
        self._trials_per_case = trials_per_case
        self._settled: Counter[str] = Counter()
        self._cells: dict[str, dict[str, CaseCell]] = {}

    @property
    def cases(self) -> tuple[Case, ...]:
        """Return the cases of the batch."""
        return tuple(self._cases.values())

    def add(self, result: AttemptResult) -> None:
        """Count a trial's final result, each trial once."""
        self.count(result.combination, result.case, result.outcome, earned(result))

    def count(self, combination: str, case: str, outcome: Outcome, score: float | None) -> None:
        """Count a trial by its final outcome and the score that it earned (``comparison.earned``)."""
        self._cells.setdefault(combination, {}).setdefault(case, CaseCell()).add(outcome, score)
        self._settled[case] += outcome not in _NOT_SETTLED

    def is_settled(self, case: str) -> bool:
        """Return whether every trial of a case has come to an end of its own."""
        return self._settled[case] >= self._trials_per_case

    def measure(self, among: Container[str]) -> Measure:
        """Return what cases of these names are compared by: the score if any trial earned one, else the pass rate."""
        cells = (cell for found in self._cells.values() for case, cell in found.items() if case in among)
        return Measure.SCORE if any(cell.earned for cell in cells) else Measure.SUCCESS_RATE

    def cells(self, combination: str) -> Iterator[tuple[Case, CaseCell]]:
        """Yield what there is of a combination, in the order of the cases."""
        found = self._cells.get(combination, {})
        for name, case in self._cases.items():
            if name in found:
                yield case, found[name]

    def pairs(self, first: str, second: str, measure: Measure, among: Container[str] | None = None) -> Pairs:
        """Return the cases of two combinations side by side, as ``second - first``; those of weight 0 are left out.

        With ``among``, of the cases of these names only.
        """
        others = {case.name: cell for case, cell in self.cells(second)}
        made, unpaired = [], 0
        for case, cell in self.cells(first):
            other = others.get(case.name)
            if case.weight == 0 or other is None or (among is not None and case.name not in among):
                continue
            left, right = cell.mean(measure), other.mean(measure)
            if left is None and right is None:
                continue
            if left is None or right is None:
                unpaired += 1
                continue
            repeats = min(cell.count(measure), other.count(measure))
            made.append(Pair(case.name, group_of(case), case.weight, right - left, repeats))
        return Pairs(tuple(made), unpaired)
