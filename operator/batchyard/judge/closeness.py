"""When two numbers count as equal. Not for anything that is no number."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Closeness:
    """Two tolerances, of which one must be kept; both 0 ask for equality."""

    relative: float = 0.0
    absolute: float = 0.0

    def equal(self, left: float | None, right: float | None) -> bool:
        """Return whether the two count as equal, whichever comes first.

        NaN equals NaN and an infinity itself; nothing that is there equals None.
        """
        if left is None or right is None:
            return left is right
        if left == right:
            return True
        if not (_is_finite(left) and _is_finite(right)):
            return left != left and right != right
        if not (self.relative or self.absolute):
            return False
        try:
            return abs(left - right) <= max(self.absolute, self.relative * max(abs(left), abs(right)))
        except OverflowError:  # an integer that no float is near
            return False


def _is_finite(value: float) -> bool:
    # An integer always is, and may be too large to be made a float.
    return isinstance(value, int) or math.isfinite(value)
