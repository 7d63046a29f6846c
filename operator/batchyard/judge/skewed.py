"""Student's t where values are skewed: few much worse than the rest, and the mean is seen too high while none shows.

P. Hall's transformation (J. R. Stat. Soc. B 54 (1992) 221): a cubic of the mean that takes its skewness away and only
ever grows, so that it can be turned round, and a bound and its p-value say the same. It is made for means near to what
is claimed, and flat where they are not: nine cases won of ten would show less than six. So it goes on as steep as t.
"""

from __future__ import annotations

import math

from batchyard.judge.student import t_quantile, t_upper_tail

_NEAR = 2.0
"""So many standard errors from the claim, on either side, the cubic ends."""


def upper_tail(errors: float, skew: float, freedom: float) -> float:
    """Return the one-sided p-value of a mean so many standard errors above what is claimed, and of this skewness.

    The skewness of a mean is that of its values over the root of their number. ``freedom`` are the degrees of freedom
    of the standard error.
    """
    near = max(-_NEAR, min(_NEAR, errors))
    return t_upper_tail(_straight(near, skew) + errors - near, freedom)


def reach(confidence: float, skew: float, freedom: float) -> float:
    """Return how many standard errors below the mean its lower bound is: where ``upper_tail`` is what is left."""
    needed = t_quantile(confidence, freedom)
    for end in (_NEAR, -_NEAR):
        beyond = needed - _straight(end, skew)
        if beyond * end > 0:
            return end + beyond
    moved = needed - skew / 6
    # The root of the cubic, written so that no skewness is too small for it.
    root = math.cbrt(1 + skew * moved)
    return 3 * moved / (root * root + root + 1)


def _straight(errors: float, skew: float) -> float:
    return errors + skew * errors**2 / 3 + skew**2 * errors**3 / 27 + skew / 6
