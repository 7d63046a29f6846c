"""Groups that do not weigh alike: how many equal ones they are worth, and how much of each is in the mean itself.

One group of thirty cases beside ten of two has more than half of the mean, and so hardly differs from it: squares of
what is left over say that little differs. Each is made up for by what the mean would be without it (the jackknife, or
CR3: J. G. MacKinnon and H. White, J. Econometrics 29 (1985) 305), and such a sum of squares has as many degrees of
freedom as its mean and variance say (Satterthwaite's; R. M. Bell and D. F. McCaffrey, Survey Methodology 28 (2002)
169), for groups whose cases have what they have in common. Where all weigh alike both change nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_WHOLE = 1e-3
"""With so little beside it a group is all there is, and sums of fourth powers lose what they are to show."""


def worth(shares: Sequence[float]) -> float:
    """Return how many equal groups have as much of the mean each as these (L. Kish, Survey Sampling, 1965, 11.7)."""
    return 1.0 / math.fsum(share**2 for share in shares)


def left_over(shares: Sequence[float]) -> tuple[list[float], float]:
    """Return what to multiply the residual of each group by, and the degrees of freedom of their squares.

    ``shares`` are positive and add up to 1. The squares then add up to the squared error of the mean. There are no
    degrees of freedom if one group is all there is.
    """
    if max(shares) > 1.0 - _WHOLE:
        return [0.0] * len(shares), 0.0
    lost = math.sqrt(1.0 - 1.0 / len(shares))
    factors = [lost * share / (1.0 - share) for share in shares]
    squares = [factor**2 for factor in factors]
    # Residuals are of a quadratic form with the matrix 1 if g = h, less p_g + p_h, plus the sum of all p^2: its trace,
    # and that of its square.
    together = math.fsum(share**2 for share in shares)
    own = [1.0 - 2.0 * share + together for share in shares]
    trace = math.fsum(square * each for square, each in zip(squares, own, strict=True))
    sums = [
        math.fsum(square * share**power for square, share in zip(squares, shares, strict=True)) for power in (0, 1, 2)
    ]
    crossed = (
        (together * sums[0]) ** 2 + 2.0 * sums[0] * sums[2] + 2.0 * sums[1] ** 2 - 4.0 * together * sums[0] * sums[1]
    )
    alone = math.fsum(square**2 * (2.0 * each - 1.0) for square, each in zip(squares, own, strict=True))
    return factors, trace**2 / (crossed + alone)
