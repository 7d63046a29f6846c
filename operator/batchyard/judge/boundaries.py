"""How sure each look at a comparison must be that is looked at several times, so that all together err no more often.

Group sequential tests with an error-spending function: K. K. G. Lan and D. L. DeMets, Biometrika 70 (1983) 659; the
power family is of K. Kim and D. L. DeMets, Biometrika 74 (1987) 149; the recursion is P. Armitage, C. K. McPherson and
B. C. Rowe's, J. R. Stat. Soc. A 132 (1969) 235, as in C. Jennison and B. W. Turnbull, "Group Sequential Methods with
Applications to Clinical Trials" (2000), chapters 7 and 19. Plain arithmetic, as in ``student``.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

SPENDING_POWER = 3.0
"""The error spent up to a share t of the cases is t^3 of it: little early, when the spread is hardly known."""

_NORMAL = NormalDist()
_HALVINGS = 60
_STRIPS = 128
_FAR = 8.0
_SUREST = 1e-12
_ROOT_2 = math.sqrt(2.0)


@lru_cache(maxsize=64)
def levels(shares: tuple[float, ...], error: float) -> tuple[float, ...]:
    """Return the one-sided p-value that each look must not exceed, so that all err with a probability of ``error``.

    ``shares`` are the shares of all cases that are seen at each look, ascending up to 1. The density of the sum of
    what was seen, where no earlier look ended it, is carried from look to look by Simpson's rule.
    """
    made: list[float] = []
    before, spent = 0.0, 0.0
    points: list[float] = []
    masses: list[float] = []  # of the density at the points, weighted for the integral
    for share in shares:
        spend = error * share**SPENDING_POWER - spent
        spent += spend
        bound = _bound(points, masses, share - before, spend)
        made.append(_upper_tail(bound / math.sqrt(share)))
        points, masses = _carried(points, masses, share - before, bound, share)
        before = share
    return tuple(made)


def chance(p_value: float, share: float, last_level: float) -> float:
    """Return the chance that a claim with this one-sided p-value now is shown at the last look.

    The predictive probability with a flat prior (D. J. Spiegelhalter, L. S. Freedman and P. R. Blackburn, Controlled
    Clinical Trials 7 (1986) 8): what the cases say so far, with all the doubt that is left about it.
    """
    if share >= 1.0:
        return 1.0 if p_value <= last_level else 0.0
    now = -_NORMAL.inv_cdf(min(1.0 - _SUREST, max(_SUREST, p_value)))
    needed = -_NORMAL.inv_cdf(last_level)
    return _upper_tail((needed * math.sqrt(share) - now) / math.sqrt(1.0 - share))


def _bound(points: list[float], masses: list[float], step: float, spend: float) -> float:
    """Return what the sum exceeds at this look, and did at none before, with a probability of ``spend``."""
    low, high = -_FAR, _FAR
    deviation = math.sqrt(step)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if points:
            over = math.fsum(
                mass * _upper_tail((middle - point) / deviation) for point, mass in zip(points, masses, strict=True)
            )
        else:
            over = _upper_tail(middle / deviation)
        if over > spend:
            low = middle
        else:
            high = middle
    return high


def _carried(
    points: list[float], masses: list[float], step: float, bound: float, share: float
) -> tuple[list[float], list[float]]:
    """Return the density of the sum after another look that did not end it."""
    first = -_FAR * math.sqrt(share)
    width = (bound - first) / _STRIPS
    there = [first + width * number for number in range(_STRIPS + 1)]
    front = 1.0 / math.sqrt(2.0 * math.pi * step)
    carried = []
    for number, point in enumerate(there):
        if points:
            density = math.fsum(
                mass * math.exp(-((point - other) ** 2) / (2.0 * step))
                for other, mass in zip(points, masses, strict=True)
            )
        else:
            density = math.exp(-(point**2) / (2.0 * step))
        weight = 1.0 if number in {0, _STRIPS} else 4.0 if number % 2 else 2.0
        carried.append(front * density * weight * width / 3.0)
    return there, carried


def _upper_tail(z: float) -> float:
    return 0.5 * math.erfc(z / _ROOT_2)
