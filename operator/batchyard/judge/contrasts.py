"""Every combination against one of them, over the same cases: how far apart, how sure, and how reliable each is.

For people who compare; the gate's own question is in ``regression``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.judge.paired import difference, holm, mcnemar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.judge.cases import CaseTable, Pairs
    from batchyard.judge.paired import Difference
    from batchyard.judge.ranking import Measure
    from batchyard.model.trial import JSON

CONFIDENCE = 0.95
"""Of the intervals, two-sided."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """One combination less another. ``p_value`` is two-sided and adjusted for how many were compared.

    ``exact`` is the p-value of McNemar's exact test, unadjusted, where that is for these cases.
    """

    combination: str
    estimate: float
    low: float
    high: float
    p_value: float
    exact: float | None
    cases: int
    groups: int
    unpaired: int

    def to_json(self) -> dict[str, JSON]:
        """Return it as ``compare --output json`` prints it."""
        return {
            "combination": self.combination,
            "estimate": self.estimate,
            "low": self.low,
            "high": self.high,
            "confidence": CONFIDENCE,
            "pValue": self.p_value,
            "mcnemar": self.exact,
            "cases": self.cases,
            "groups": self.groups,
            "unpaired": self.unpaired,
        }


@dataclass(frozen=True, slots=True)
class Reliability:
    """What repeats of a case say of a combination, as means over the cases with ``k`` judged trials, by weight.

    ``pass_at_k``: at least one of k trials passes (M. Chen and others, arXiv:2107.03374). ``pass_all_k``, written
    pass^k: all k do (S. Yao and others, arXiv:2406.12045). ``flaky`` counts the cases that both passed and did not.
    """

    combination: str
    k: int
    pass_at_k: float | None
    pass_all_k: float | None
    flaky: int

    def to_json(self) -> dict[str, JSON]:
        """Return it as ``compare --output json`` prints it."""
        return {
            "combination": self.combination,
            "k": self.k,
            "passAtK": self.pass_at_k,
            "passAllK": self.pass_all_k,
            "flaky": self.flaky,
        }


def contrasts(
    table: CaseTable, against: str, others: Sequence[str], measure: Measure, *, chosen: bool = False
) -> tuple[Contrast, ...]:
    """Return how ``others`` differ from ``against``; those without a case in common are left out.

    All intervals together hold with ``CONFIDENCE`` (Bonferroni), and p-values are adjusted for how many there are
    (Holm). If ``against`` was ``chosen`` for being the best of the same cases, each pair might have been compared: both
    are then as of all pairs.
    """
    found: list[tuple[str, Pairs, Difference]] = []
    for name in others:
        pairs = table.pairs(against, name, measure)
        if pairs.pairs:
            found.append((name, pairs, difference(pairs.pairs)))
    pairs_of_all = len(found) * (len(found) + 1) // 2
    many = pairs_of_all if chosen else len(found)
    p_values = [one.p_value for _, _, one in found]
    adjusted = [min(1.0, many * p_value) for p_value in p_values] if chosen else holm(p_values)
    one_sided = 1 - (1 - CONFIDENCE) / (2 * max(1, many))
    return tuple(
        Contrast(
            combination=name,
            estimate=one.estimate,
            low=one.low(one_sided),
            high=one.high(one_sided),
            p_value=p_value,
            exact=mcnemar(pairs.pairs),
            cases=one.cases,
            groups=one.groups,
            unpaired=pairs.unpaired,
        )
        for (name, pairs, one), p_value in zip(found, adjusted, strict=True)
    )


def reliability(table: CaseTable, combination: str, k: int) -> Reliability:
    """Return what ``k`` trials of a case say: with n of them judged and c passed, the unbiased estimates.

    pass@k = 1 - C(n - c, k) / C(n, k) and pass^k = C(c, k) / C(n, k).
    """
    weights: list[float] = []
    any_passed: list[float] = []
    all_passed: list[float] = []
    flaky = 0
    for case, cell in table.cells(combination):
        flaky += 0 < cell.passed < cell.judged
        if cell.judged >= k and case.weight > 0:
            ways = math.comb(cell.judged, k)
            weights.append(case.weight)
            any_passed.append(case.weight * (1 - math.comb(cell.judged - cell.passed, k) / ways))
            all_passed.append(case.weight * math.comb(cell.passed, k) / ways)
    whole = math.fsum(weights)
    return Reliability(
        combination=combination,
        k=k,
        pass_at_k=math.fsum(any_passed) / whole if whole else None,
        pass_all_k=math.fsum(all_passed) / whole if whole else None,
        flaky=flaky,
    )
