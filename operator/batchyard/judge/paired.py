"""The difference of two combinations over the same cases: estimate, interval, p-value, and how many cases would do.

The case is the unit, never the trial: repeats of a case are averaged first, and cases of one group count as one
(E. Miller, "Adding Error Bars to Evals", arXiv:2411.00640). Pure; what is random here has a seed.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from batchyard.judge.student import t_quantile, t_upper_tail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.judge.cases import Pair

POWER = 0.8
"""With this probability so many cases as ``cases_needed`` says would decide, if the difference is as it was seen."""

_MOST_CASES = 10_000_000
_ADDED = 2
_SAME_PLACES = 9


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean difference of cases, weighted, with its standard error over groups.

    ``centre`` is the middle of its intervals, ``groups`` how many independent ones there are. ``df`` are the degrees of
    freedom of Student's t, 0 if one group alone says nothing.
    """

    estimate: float
    centre: float
    error: float
    df: float
    cases: int
    groups: int

    def low(self, confidence: float) -> float:
        """Return what the true difference is not below, with this one-sided confidence; at least -1."""
        return max(-1.0, self.centre - self._reach(confidence)) if self.df else -1.0

    def high(self, confidence: float) -> float:
        """Return what the true difference is not above, with this one-sided confidence; at most 1."""
        return min(1.0, self.centre + self._reach(confidence)) if self.df else 1.0

    def p_above(self, than: float) -> float:
        """Return the one-sided p-value of the claim that the true difference is above ``than``."""
        return t_upper_tail((self.centre - than) / self.error, self.df) if self.df else 1.0

    def p_below(self, than: float) -> float:
        """Return the one-sided p-value of the claim that the true difference is below ``than``."""
        return t_upper_tail((than - self.centre) / self.error, self.df) if self.df else 1.0

    @property
    def p_value(self) -> float:
        """Return the two-sided p-value of the claim that there is a difference."""
        return min(1.0, 2 * min(self.p_above(0.0), self.p_below(0.0)))

    def cases_needed(self, than: float, confidence: float) -> int | None:
        """Return how many cases would show on which side of ``than`` the difference is, None if none would.

        Taken that the estimate and the spread are the true ones: n = s^2 (z_confidence + z_power)^2 / distance^2.
        """
        distance = abs(self.estimate - than)
        if distance == 0.0 or not self.df:
            return None
        normal = NormalDist()
        reach = normal.inv_cdf(confidence) + normal.inv_cdf(POWER)
        spread = self.error * math.sqrt(self.groups)
        groups = max(self.groups + 1, math.ceil((spread * reach / distance) ** 2))
        needed = math.ceil(groups * self.cases / self.groups)
        return needed if needed <= _MOST_CASES else None

    def _reach(self, confidence: float) -> float:
        return t_quantile(confidence, self.df) * self.error


def difference(pairs: Sequence[Pair]) -> Difference:
    """Return the difference of the cases in ``pairs``, of which there must be one at least.

    The standard error is that of a ratio of sums over independent groups (cluster-robust, G / (G - 1); A. C. Cameron
    and D. L. Miller, J. Human Resources 50 (2015) 317). Where groups have one difference in common, as they do with
    pass or fail, such an error is too small, and 0 if all have. So imaginary groups of opposite differences are added,
    as D. G. Bonett and R. M. Price do for two proportions (J. Educ. Behav. Stat. 37 (2012) 479): two, times the share
    of those in common, with the greatest difference that was seen; if none was, with that of one trial of a case. How
    often its intervals hold what they should is measured: ``benchmarks/statistics.md``.
    """
    weights: dict[str, float] = {}
    sums: dict[str, float] = {}
    for pair in pairs:
        weights[pair.group] = weights.get(pair.group, 0.0) + pair.weight
        sums[pair.group] = sums.get(pair.group, 0.0) + pair.weight * pair.difference
    total, whole, groups = math.fsum(weights.values()), math.fsum(sums.values()), len(weights)
    means = {group: value / weights[group] for group, value in sums.items()}
    commonest = max(Counter(round(mean, _SAME_PLACES) for mean in means.values()).values())
    repeats = min(pair.repeats for pair in pairs)
    usual = total / groups
    greatest = max(abs(mean) for mean in means.values()) or 1.0 / max(1, repeats)
    added = _ADDED * (commonest - 1) / (groups - 1) if groups > 1 else 0.0
    centre = whole / (total + added * usual)
    spread = math.fsum(((value - centre * weights[group]) / usual) ** 2 for group, value in sums.items())
    spread += added * (greatest**2 + centre**2)
    number = groups + added
    return Difference(
        estimate=whole / total,
        centre=centre,
        error=math.sqrt(spread / (number * (number - 1))) if groups > 1 else 0.0,
        df=number - 1 if groups > 1 else 0.0,
        cases=len(pairs),
        groups=groups,
    )


def mcnemar(pairs: Sequence[Pair]) -> float | None:
    """Return the exact two-sided p-value of McNemar's test, None if it is not for these pairs.

    It is for one trial a case that passed or failed, and for cases that count alike and stand alone (Q. McNemar,
    Psychometrika 12 (1947) 153; exact: twice the smaller tail of a binomial of the cases that differ).
    """
    if len({pair.weight for pair in pairs}) > 1 or len({pair.group for pair in pairs}) < len(pairs):
        return None
    if any(pair.repeats != 1 or pair.difference not in {-1.0, 0.0, 1.0} for pair in pairs):
        return None
    better = sum(pair.difference > 0 for pair in pairs)
    worse = sum(pair.difference < 0 for pair in pairs)
    number = better + worse
    tail = sum(math.comb(number, k) for k in range(min(better, worse) + 1))
    return float(min(1.0, 2 * tail / 2**number))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for their number, in the same order (S. Holm, Scand. J. Stat. 6 (1979) 65)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted
