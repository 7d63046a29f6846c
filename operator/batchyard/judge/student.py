"""Student's t distribution, for intervals and p-values of means of few values.

Plain arithmetic, so that the operator needs no numerical library. The tests hold it against closed forms and published
tables.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_ENOUGH = 1e-15
_TINY = 1e-300
_MOST_TERMS = 10_000
_MOST_STEPS = 100


def t_upper_tail(t: float, df: float) -> float:
    """Return the probability of more than ``t`` with ``df`` > 0 degrees of freedom.

    By the incomplete beta function: DLMF 8.17.1 and 26.5.27 of Abramowitz and Stegun.
    """
    whole = df + t * t
    tail = 0.5 * _incomplete_beta(df / 2, 0.5, df / whole, t * t / whole)
    return tail if t >= 0 else 1.0 - tail


@lru_cache(maxsize=1024)
def t_quantile(probability: float, df: float) -> float:
    """Return the value that is not exceeded with this probability, which is strictly between 0 and 1.

    By Newton's steps from the normal quantile, which is nearer to 0. The tail is convex there, so none goes too far.
    """
    if probability < 0.5:
        return -t_quantile(1.0 - probability, df)
    scale = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(df * math.pi)
    value = NormalDist().inv_cdf(probability)
    for _ in range(_MOST_STEPS):
        density = scale * math.pow(1.0 + value * value / df, -(df + 1) / 2)
        step = (t_upper_tail(value, df) - (1.0 - probability)) / density
        value += step
        if abs(step) <= _ENOUGH * value:
            break
    return value


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b); ``rest`` is 1 - x, whose digits x near 1 has not."""
    if x <= 0.0 or rest <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest))
    if x < (a + 1) / (a + b + 2):  # where the fraction converges quickly (DLMF 8.17.22)
        return front * _fraction(a, b, x) / a
    return 1.0 - front * _fraction(b, a, rest) / b


def _fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of DLMF 8.17.22, by Lentz's method as modified by Thompson and Barnett (1986)."""
    c, d = 1.0, 1.0 / _kept(1.0 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MOST_TERMS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _kept(1.0 + term * d)
            c = _kept(1.0 + term / c)
            value *= c * d
        if abs(c * d - 1.0) < _ENOUGH:
            break
    return value


def _kept(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
