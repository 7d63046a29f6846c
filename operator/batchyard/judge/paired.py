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

from batchyard.judge.skewed import reach, upper_tail
from batchyard.judge.uneven import left_over, worth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.judge.cases import Pair

POWER = 0.8
"""With this probability so many cases as ``cases_needed`` says would decide, if the difference is as it was seen."""

FEWEST_GROUPS = 3
"""Of two the skewness is 0 whatever they are, and chance alone has them on one side every other time."""

_MOST_CASES = 10_000_000
_ADDED = 2
_SAME_PLACES = 9
# What only doubles see: 0.9 less 0.8 is a bit less than 0.1.
_NO_DISTANCE = 10.0**-_SAME_PLACES


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean difference of cases, weighted, with its standard error over groups.

    ``centre`` is what its intervals lie about, and ``skew`` to which side more: the skewness of the mean. ``groups`` is
    how many independent ones there are, ``freedom`` the error's degrees of freedom with the imaginary ones, whose share
    of its square is ``imagined``. Without an error all are alike, and count for ``alike`` equal ones. Both are 0 if
    there are too few to say anything.
    """

    estimate: float
    centre: float
    error: float
    skew: float
    freedom: float
    alike: float
    imagined: float
    cases: int
    groups: int

    def low(self, confidence: float) -> float:
        """Return what the true difference is not below, with this one-sided confidence; at least -1."""
        return max(-1.0, self._bound(confidence, 1.0))

    def high(self, confidence: float) -> float:
        """Return what the true difference is not above, with this one-sided confidence; at most 1."""
        return min(1.0, -self._bound(confidence, -1.0))

    def p_above(self, than: float) -> float:
        """Return the one-sided p-value of the claim that the true difference is above ``than``."""
        return self._p_value(than, 1.0)

    def p_below(self, than: float) -> float:
        """Return the one-sided p-value of the claim that the true difference is below ``than``."""
        return self._p_value(-than, -1.0)

    @property
    def p_value(self) -> float:
        """Return the two-sided p-value of the claim that there is a difference."""
        return min(1.0, 2 * min(self.p_above(0.0), self.p_below(0.0)))

    def cases_needed(self, than: float, confidence: float) -> int | None:
        """Return how many cases would show on which side of ``than`` the difference is, None if none would.

        Taken that the estimate and the spread are the true ones: the n for which distance^2 is the squared error times
        (z_confidence + z_power)^2. The error of real groups falls with n, that of the imaginary ones with n^2.
        """
        distance = abs(self.estimate - than)
        if distance < _NO_DISTANCE or not (self.error or self.alike):
            return None
        if not self.error:
            side = 1.0 if self.estimate > than else -1.0
            share = _unseen(self.estimate * side, than * side)
            unequal = self.groups / self.alike
            groups = unequal * math.log(1.0 - confidence) / math.log1p(-share) if share < 1.0 else 1.0
        else:
            normal = NormalDist()
            reached = (self.error * (normal.inv_cdf(confidence) + normal.inv_cdf(POWER)) / distance) ** 2
            real, imagined = reached * (1.0 - self.imagined), reached * self.imagined
            groups = self.groups * (real + math.sqrt(real**2 + 4 * imagined)) / 2
        needed = math.ceil(max(self.groups + 1, math.ceil(groups)) * self.cases / self.groups)
        return needed if needed <= _MOST_CASES else None

    def _bound(self, confidence: float, side: float) -> float:
        """Return the lower bound of the difference, or with the other ``side`` that of the opposite difference."""
        centre = self.centre * side
        if self.error:
            return centre - self.error * reach(confidence, self.skew * side, self.freedom)
        if self.alike:
            return centre - (1.0 + centre) * (1.0 - math.pow(1.0 - confidence, 1.0 / self.alike))
        return -1.0

    def _p_value(self, than: float, side: float) -> float:
        centre = self.centre * side
        if self.error:
            return upper_tail((centre - than) / self.error, self.skew * side, self.freedom)
        return math.pow(1.0 - _unseen(centre, than), self.alike)


def difference(pairs: Sequence[Pair]) -> Difference:
    """Return the difference of the cases in ``pairs``, of which there must be one at least.

    The standard error is that of a ratio of sums over independent groups (cluster-robust; A. C. Cameron and
    D. L. Miller, J. Human Resources 50 (2015) 317), the skewness that of the same terms; ``uneven`` has what becomes of
    both where groups do not weigh alike. Where groups have one difference in common, as they do with pass or fail, such
    an error is too small. So imaginary groups of opposite differences are added, as D. G. Bonett and R. M. Price do for
    two proportions (J. Educ. Behav. Stat. 37 (2012) 479): two, times the share of those in common, with the greatest
    difference that was seen. The fewer groups differ from the rest, the less is known of how much they can: the
    greatest is taken to be nearer to 1.

    If all are alike, a group that is not and that no case showed is all there is to fear: with a share of x it is
    missed in (1 - x)^G, and it may be as different as can be. How often all this is right is measured:
    ``benchmarks/statistics.md``.
    """
    weights: dict[str, float] = {}
    sums: dict[str, float] = {}
    for pair in pairs:
        weights[pair.group] = weights.get(pair.group, 0.0) + pair.weight
        sums[pair.group] = sums.get(pair.group, 0.0) + pair.weight * pair.difference
    total, whole, groups = math.fsum(weights.values()), math.fsum(sums.values()), len(weights)
    means = [value / weights[group] for group, value in sums.items()]
    commonest = max(Counter(round(mean, _SAME_PLACES) for mean in means).values())
    shares = [weight / total for weight in weights.values()]
    equal, (factors, freedom) = worth(shares), left_over(shares)
    is_told = groups >= FEWEST_GROUPS and freedom > 0.0
    if commonest == groups or not is_told:
        counted = equal if is_told else 0.0
        return Difference(whole / total, whole / total, 0.0, 0.0, 0.0, counted, 0.0, len(pairs), groups)
    added = _ADDED * (commonest - 1) / (groups - 1)
    seen = min(1.0, max(abs(mean) for mean in means))
    greatest = seen + (1.0 - seen) / (1 + groups - commonest)
    number = equal + added
    centre = equal * whole / total / number
    # What is left over, as of so many equal groups as the imaginary ones are like.
    scale = math.sqrt(equal * (equal - 1.0))
    parts = [scale * factor * (mean - centre) for factor, mean in zip(factors, means, strict=True)]
    imaginary = added * (greatest**2 + centre**2)
    spread = math.fsum(part**2 for part in parts) + imaginary
    cubes = math.fsum(part**3 for part in parts) - added * (3 * centre * greatest**2 + centre**3)
    return Difference(
        estimate=whole / total,
        centre=centre,
        error=math.sqrt(spread / (number * (number - 1))),
        # The fewer the groups that make up the error, the less they can tell of its skewness.
        skew=cubes / spread**1.5 * math.sqrt((freedom + 1.0) / equal),
        freedom=freedom + added,
        alike=0.0,
        imagined=imaginary / spread,
        cases=len(pairs),
        groups=groups,
    )


def _unseen(alike: float, than: float) -> float:
    """Return what share of groups must be as low as can be, -1, for a mean of ``than``, the rest being ``alike``."""
    if than >= alike:
        return 0.0
    return min(1.0, (alike - than) / (alike + 1.0)) if alike > -1.0 else 1.0


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
    ways = tail = 1
    for k in range(min(better, worse)):
        ways = ways * (number - k) // (k + 1)
        tail += ways
    return float(min(1.0, 2 * tail / 2**number))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for their number, in the same order (S. Holm, Scand. J. Stat. 6 (1979) 65)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted
