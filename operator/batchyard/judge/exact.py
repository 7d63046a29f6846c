"""Numbers without rounding: a weighted mean in any order of its values, and doubles as they are written.

Not for statistics beyond the mean.
"""

from __future__ import annotations

import math
from decimal import Decimal

# Every finite double is an integer over at most 2**1074, so every product of two is an integer over 2**2148.
_PRODUCT_SHIFT = 2148
_WEIGHT_SHIFT = 1074


class ExactMean:
    """Add values one at a time, in any order; the mean is the correctly rounded exact one.

    Sums are held as integers: a few hundred bytes however many values come, no rounding and no overflow on the
    way, so two runs that saw the same values say the same to the last bit.
    """

    __slots__ = ("_count", "_sum", "_weight")

    def __init__(self) -> None:
        self._sum = 0
        self._weight = 0
        self._count = 0

    @property
    def count(self) -> int:
        """Return how many values were added."""
        return self._count

    def add(self, value: float, weight: float = 1.0) -> None:
        """Add one finite value; ``weight`` is finite and not negative."""
        value_top, value_bottom = value.as_integer_ratio()
        weight_top, weight_bottom = weight.as_integer_ratio()
        # The bottoms are powers of two: a shift replaces the division.
        value_power, weight_power = value_bottom.bit_length() - 1, weight_bottom.bit_length() - 1
        self._sum += (value_top * weight_top) << (_PRODUCT_SHIFT - value_power - weight_power)
        self._weight += weight_top << (_WEIGHT_SHIFT - weight_power)
        self._count += 1

    def mean(self) -> float | None:
        """Return the weighted mean, or None if nothing of any weight was added."""
        if not self._weight:
            return None
        return self._sum / (self._weight << (_PRODUCT_SHIFT - _WEIGHT_SHIFT))


def as_written(value: float) -> Decimal:
    """Return a double as people write it: 0.9 less 0.02 is 0.88, which doubles' own difference may miss by a bit."""
    return Decimal(repr(value))


def finite(value: float | None) -> bool:
    """Return whether ``value`` is there and is neither NaN nor infinite."""
    return value is not None and math.isfinite(value)
