"""Looks at a comparison while its batch runs: is it decided already, or will the rest of the cases not decide it?

The cases are run in an order that is random but always the same, and looked at when all trials of a share of them are
settled. A look sees those cases and no other, so that it says the same wherever, however and however often the batch
runs. What a claim needs to be shown is more than in a gate that looks once: see ``boundaries``. Pure.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.judge.boundaries import chance, levels
from batchyard.judge.paired import difference
from batchyard.judge.regression import MOST_UNPAIRED, GateDifference, Shown
from batchyard.model.outcome import GateOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchyard.judge.cases import CaseTable
    from batchyard.judge.paired import Difference
    from batchyard.model.spec_evaluation import Baseline
    from batchyard.model.trial import Case

FEWEST_GROUPS = 30
"""With fewer independent cases no look is taken but the last: a few that are equal by luck would decide it."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look of several. ``futile`` is whether the rest of the cases is unlikely to show either claim."""

    number: int
    of: int
    shown: Shown
    futile: bool = False

    @property
    def ends(self) -> bool:
        """Return whether there is nothing more to look for."""
        return self.number == self.of or self.futile or self.shown.outcome is not GateOutcome.INCONCLUSIVE

    def __str__(self) -> str:
        """Return what came of it, as a sentence has it."""
        found = "too unlike to be decided by the rest" if self.futile else f"{self.shown.outcome}"
        return f"look {self.number} of {self.of}: {found}"


class Looks:
    """The looks of one batch, in their order."""

    def __init__(self, baseline: Baseline, cases: Sequence[Case], combinations: Iterable[str]) -> None:
        """Plan the looks. ``baseline`` has ``sequential`` and a confidence; ``combinations`` are all names.

        Raises ``ValueError`` if it has not.
        """
        if baseline.sequential is None or baseline.confidence is None:
            raise ValueError("a gate without spec.gate.baseline.sequential or confidence is looked at once")
        self._baseline, self._futility = baseline, baseline.sequential.futility
        self._others = sorted(set(combinations) - {baseline.combination})
        self.order = _order(cases, baseline.sequential.seed)
        self._cases = [cases[index].name for index in self.order]
        self._ends, shares = _planned([cases[index] for index in self.order], baseline.sequential.looks)
        error = 1.0 - baseline.confidence
        # Each of the others may be the one that is called no worse; that all are worse is a single claim.
        self._to_pass = levels(shares, error / max(1, len(self._others)))
        self._to_fail = levels(shares, error)
        self._shares = shares
        self._settled = 0
        self._last: Look | None = None

    def go_on(self, table: CaseTable) -> Look | None:
        """Take every look that is due and return the newest one there was, None if none was due yet.

        After one that ends the comparison none is taken any more.
        """
        while self._last is None or not self._last.ends:
            number = 0 if self._last is None else self._last.number
            end = self._ends[number]
            while self._settled < end and table.is_settled(self._cases[self._settled]):
                self._settled += 1
            if self._settled < end:
                break
            self._last = self._look(table, number)
        return self._last

    def _look(self, table: CaseTable, number: int) -> Look:
        base, margin = self._baseline.combination, -self._baseline.max_regression
        seen = frozenset(self._cases[: self._ends[number]])
        measure = table.measure(seen)
        paired = {name: table.pairs(base, name, measure, seen) for name in self._others}
        found = {name: difference(one.pairs) for name, one in paired.items() if one.pairs}
        many = len(self._ends)
        if not found:
            nothing = Shown(GateOutcome.INCONCLUSIVE, -margin, len(self._others), None, "no case was judged for both")
            return Look(number + 1, many, nothing)
        best = min(found, key=lambda name: (-found[name].estimate, name))
        mine, unpaired = found[best], paired[best].unpaired
        lost = unpaired / (unpaired + mine.cases)
        outcome, futile, why = GateOutcome.INCONCLUSIVE, False, ""
        if lost > MOST_UNPAIRED:
            why = f": one of the two lost its trials of {unpaired} of {unpaired + mine.cases} cases with their place"
        elif mine.p_above(margin) <= self._to_pass[number]:
            outcome = GateOutcome.PASSED
        elif mine.p_below(margin) <= self._to_fail[number]:
            outcome = GateOutcome.FAILED
        elif number + 1 < many:
            futile = self._is_futile(mine, margin, self._shares[number])
        open_still = outcome is GateOutcome.INCONCLUSIVE and (futile or number + 1 == many)
        made = self._difference(best, mine, unpaired, number, ends_open=open_still and not why)
        if futile:
            why = ", and the rest of the cases was unlikely to show it"
        if made.cases_needed:
            why += f"; about {made.cases_needed:,} cases like these would show it"
        return Look(number + 1, many, Shown(outcome, -margin, len(self._others), made, why), futile)

    def _is_futile(self, mine: Difference, margin: float, share: float) -> bool:
        least = self._futility
        passes = chance(mine.p_above(margin), share, self._to_pass[-1])
        return passes < least and chance(mine.p_below(margin), share, self._to_fail[-1]) < least

    def _difference(
        self, name: str, mine: Difference, unpaired: int, number: int, *, ends_open: bool
    ) -> GateDifference:
        """Return the difference with bounds that hold at all looks together (Jennison and Turnbull, chapter 9)."""
        confidence = self._baseline.confidence or 0.0
        sure = 1.0 - self._to_fail[number]
        needed = None
        if ends_open:
            needed = mine.cases_needed(-self._baseline.max_regression, 1.0 - self._to_pass[-1])
        return GateDifference(
            combination=name,
            against=self._baseline.combination,
            estimate=mine.estimate,
            low=mine.low(sure),
            high=mine.high(sure),
            confidence=confidence,
            p_value=min(1.0, mine.p_above(-self._baseline.max_regression) * len(self._others)),
            cases=mine.cases,
            groups=mine.groups,
            unpaired=unpaired,
            cases_needed=needed,
            look=number + 1,
            looks=len(self._ends),
        )


def _order(cases: Sequence[Case], seed: int) -> tuple[int, ...]:
    """Return the cases' indices in the order they are run: groups stay together, what counts nothing comes last.

    A hash, not a generator: a case keeps its place beside the others whatever cases are added.
    """

    def place(index: int) -> tuple[bool, bytes, str, int]:
        case = cases[index]
        group = case.group or case.name
        return case.weight == 0, hashlib.sha256(f"{seed}/{group}".encode()).digest(), group, index

    return tuple(sorted(range(len(cases)), key=place))


def _planned(cases: Sequence[Case], looks: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return after how many cases each look is taken, and what share of all groups it sees; the last sees all."""
    firsts: list[int] = []  # where each group begins
    for index, case in enumerate(cases):
        if case.weight > 0 and (not firsts or _group(cases[index - 1]) != _group(case)):
            firsts.append(index)
    groups = len(firsts)
    ends: list[int] = []
    shares: list[float] = []
    for number in range(1, looks):
        seen = groups * number // looks
        if seen >= FEWEST_GROUPS and (not ends or firsts[seen] > ends[-1]):
            ends.append(firsts[seen])
            shares.append(seen / groups)
    return (*ends, len(cases)), (*shares, 1.0)


def _group(case: Case) -> str:
    return case.group or case.name
