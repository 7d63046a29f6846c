"""Student's t where values are skewed: few much worse than the rest, and the mean is seen too high while none shows.

P. Hall's transformation (J. R. Stat. Soc. B 54 (1992) 221): a cubic of the mean that takes its skewness away and only
ever grows, so that it can be turned round, and a bound and its p-value say the same.
"""

from __future__ import annotations

import math

from batchyard.judge.student import t_quantile, t_upper_tail


def upper_tail(errors: float, skew: float, number: float) -> float:
    """Return the one-sided p-value of a mean of ``number`` values, so many standard errors above what is claimed."""
    mean = errors / math.sqrt(number)
    straight = mean + skew * mean**2 / 3 + skew**2 * mean**3 / 27 + skew / (6 * number)
    return t_upper_tail(math.sqrt(number) * straight, number - 1)


def reach(confidence: float, skew: float, number: float) -> float:
    """Return how many standard errors below the mean its lower bound is: where ``upper_tail`` is what is left."""
    straight = t_quantile(confidence, number - 1) / math.sqrt(number) - skew / (6 * number)
    # The root of the cubic, written so that no skewness is too small for it.
    root = math.cbrt(1 + skew * straight)
    return math.sqrt(number) * 3 * straight / (root * root + root + 1)
