"""Many gates at once, by the rule of ``batchyard.judge.paired`` in arrays: for simulations, where each is quick enough.

Who uses it has the gate's own code judge some of the same and compare.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from batchyard.judge.paired import FEWEST_GROUPS
from batchyard.judge.student import t_quantile
from batchyard.judge.uneven import left_over, worth

# Arrays of NumPy, whose functions are typed too loosely for strict checks.
Numbers = Any

_PLACES = 9


def judged(differences: Numbers, shares: Numbers, than: float, confidence: float) -> tuple[Numbers, Numbers]:
    """Return which gates (rows, of groups that have these shares) are shown to be above ``than``, and which below."""
    gates, groups = differences.shape
    equal, (factors, freedom) = worth(shares.tolist()), left_over(shares.tolist())
    if groups < FEWEST_GROUPS or not freedom:
        nothing = np.zeros(gates, dtype=bool)
        return nothing, nothing
    commonest = _commonest(np.round(differences, _PLACES))
    added = 2 * (commonest - 1) / (groups - 1)
    seen = np.minimum(1.0, np.abs(differences).max(axis=1))
    greatest = seen + (1 - seen) / (1 + groups - commonest)
    number = equal + added
    alike = (differences * shares).sum(axis=1)
    centre = alike * equal / number
    parts = np.array(factors) * np.sqrt(equal * (equal - 1)) * (differences - centre[:, None])
    spread = (parts**2).sum(axis=1) + added * (greatest**2 + centre**2)
    cubes = (parts**3).sum(axis=1) - added * (3 * centre * greatest**2 + centre**3)
    errors = (centre - than) / np.sqrt(spread / number / (number - 1))
    near = np.clip(errors, -2, 2)
    skew = cubes / spread**1.5 * np.sqrt((freedom + 1) / equal)
    t = near + skew * near**2 / 3 + skew**2 * near**3 / 27 + skew / 6 + errors - near
    critical = np.array([_critical(float(one), confidence) for one in freedom + added])
    all_of_them = commonest == groups
    above, below = (
        np.where(all_of_them, missed <= 1 - confidence, sign * t >= critical)
        for sign, missed in ((1, _missed(alike, than, equal)), (-1, _missed(-alike, -than, equal)))
    )
    return above, below


def _missed(alike: Numbers, than: float, groups: float) -> Numbers:
    return np.where(than >= alike, 1.0, np.maximum(0.0, 1 - (alike - than) / np.maximum(1e-12, alike + 1)) ** groups)


def _commonest(rounded: Numbers) -> Numbers:
    """Return how many values of each row are the same, at the most."""
    ordered = np.sort(rounded, axis=1)
    run = np.ones(len(ordered))
    most = run
    for here, there in zip(ordered.T[1:], ordered.T[:-1], strict=True):
        run = np.where(here == there, run + 1, 1)
        most = np.maximum(most, run)
    return most


@lru_cache(maxsize=16_384)
def _critical(freedom: float, confidence: float) -> float:
    return t_quantile(confidence, freedom)
