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
from batchyard.judge.cases import group_of
from batchyard.judge.regression import (
    GateDifference,
    Shown,
    cases_that_would_do,
    differences,
    judged,
    measured,
    nothing_shown,
)
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
        self._baseline, self._confidence, self._futility = baseline, baseline.confidence, baseline.sequential.futility
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
        allowed, share = self._baseline.max_regression, self._shares[number]
        last, many, others = number + 1 == len(self._ends), len(self._ends), self._others
        seen = frozenset(self._cases[: self._ends[number]])
        paired, found = differences(table, self._baseline.combination, others, table.measure(seen), seen)
        if not found:
            return Look(number + 1, many, nothing_shown(allowed, len(others)))
        best = min(found, key=lambda name: (-found[name].estimate, name))
        mine, unpaired = found[best], paired[best].unpaired
        above, to_fail = mine.p_above(-allowed), self._to_fail[number]
        outcome, why = judged(mine, unpaired, -allowed, passes=above <= self._to_pass[number], to_fail=to_fail)
        is_open = outcome is GateOutcome.INCONCLUSIVE and not why
        futile = is_open and not last and self._is_futile(mine, share)
        needed = mine.cases_needed(-allowed, 1.0 - self._to_pass[-1]) if is_open and (futile or last) else None
        # Bounds that hold at all looks together: Jennison and Turnbull, chapter 9.
        made = GateDifference(
            combination=best,
            against=self._baseline.combination,
            confidence=self._confidence,
            p_value=min(1.0, above * len(others)),
            unpaired=unpaired,
            cases_needed=needed,
            look=number + 1,
            looks=many,
            **measured(mine, 1.0 - self._to_pass[number], 1.0 - to_fail),
        )
        if futile:
            why = ", and the rest of the cases was unlikely to show it"
        shown = Shown(outcome, allowed, len(others), made, why + cases_that_would_do(needed))
        return Look(number + 1, many, shown, futile)

    def _is_futile(self, mine: Difference, share: float) -> bool:
        least, margin = self._futility, -self._baseline.max_regression
        passes = chance(mine.p_above(margin), share, self._to_pass[-1])
        return passes < least and chance(mine.p_below(margin), share, self._to_fail[-1]) < least


def _order(cases: Sequence[Case], seed: int) -> tuple[int, ...]:
    """Return the cases' indices in the order they are run: groups stay together, what counts nothing comes last.

    A hash, not a generator: a case keeps its place beside the others whatever cases are added.
    """

    def place(index: int) -> tuple[bool, bytes, str, int]:
        case = cases[index]
        group = group_of(case)
        return case.weight == 0, hashlib.sha256(f"{seed}/{group}".encode()).digest(), group, index

    return tuple(sorted(range(len(cases)), key=place))


def _planned(cases: Sequence[Case], looks: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return after how many cases each look is taken, and what share of all groups it sees; the last sees all."""
    firsts: list[int] = []  # where each group begins
    for index, case in enumerate(cases):
        if case.weight > 0 and (not firsts or group_of(cases[index - 1]) != group_of(case)):
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
