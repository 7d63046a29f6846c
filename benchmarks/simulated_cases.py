"""Kinds of cases with a truth that is known, for simulations of gates: how the differences of two combinations lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from batchyard.judge.cases import Pair

# Arrays of NumPy, whose functions are typed too loosely for strict checks.
Numbers = Any
Shape = int | tuple[int, int]
Draw = Callable[[np.random.Generator, Shape, float], Numbers]

MARGIN = 0.02


class Kind(NamedTuple):
    """One kind of cases: ``draw`` gives so many differences, whose mean is ``lift``.

    ``groups`` are the sizes of its groups, over and over; one case in ten weighs ``heavy`` as much as the others.
    """

    name: str
    draw: Draw
    repeats: int = 1
    groups: tuple[int, ...] = (1,)
    heavy: float = 1.0


class Layout(NamedTuple):
    """Of each case its weight and the number of its group, and of each group its first case."""

    weights: Numbers
    group: Numbers
    first: Numbers


def layout_of(kind: Kind, cases: int) -> Layout:
    """Return how so many cases are grouped and weigh."""
    sizes = np.resize(kind.groups, cases)
    ends = np.cumsum(sizes)
    first = np.concatenate([[0], ends[ends < cases]])
    group = np.searchsorted(first, np.arange(cases), side="right") - 1
    return Layout(np.where(np.arange(cases) % 10 == 0, kind.heavy, 1.0), group, first)


def _passes(hard: float, easy: float, repeats: int) -> Draw:
    def draw(luck: np.random.Generator, cases: Shape, lift: float) -> Numbers:
        rate = luck.beta(easy, hard, cases) * (1 - lift)
        first, second = luck.binomial(repeats, rate), luck.binomial(repeats, rate + lift)
        return np.divide(second - first, repeats, dtype=np.float64)

    return draw


def _score(luck: np.random.Generator, cases: Shape, lift: float) -> Numbers:
    noise = np.clip(luck.normal(0, 0.08, (2, *np.atleast_1d(cases))), -0.2, 0.2)
    return noise[1] - noise[0] + lift


def _partly(share: float, others: Draw) -> Draw:
    """Return cases of which this share is not equal: they differ like ``others``."""

    def draw(luck: np.random.Generator, cases: Shape, lift: float) -> Numbers:
        return np.where(luck.random(cases) < share, others(luck, cases, lift / share), 0.0)

    return draw


def _uneven(luck: np.random.Generator, cases: Shape, lift: float) -> Numbers:
    return np.minimum(1.0, luck.exponential(lift, cases))


def _whole(luck: np.random.Generator, cases: Shape, lift: float) -> Numbers:
    return np.full(cases, lift)


def _skewed(luck: np.random.Generator, cases: Shape, lift: float) -> Numbers:
    return lift + 0.1 * (luck.exponential(1.0, cases) - 1.0)


def _some_against_most(luck: np.random.Generator, cases: Shape, lift: float) -> Numbers:
    most = luck.normal(lift + 0.03, 0.02, cases)
    return most - np.where(luck.random(cases) < 0.3, luck.normal(0.1, 0.03, cases), 0.0)


def _few_against_some(luck: np.random.Generator, cases: Shape, lift: float) -> Numbers:
    return np.where(luck.random(cases) < 0.2, 0.4, -0.1) + lift


KINDS = (
    Kind("pass or fail, once", _passes(1, 2, 1)),
    Kind("pass or fail, once, mostly easy", _passes(0.6, 6, 1)),
    Kind("pass or fail, 5 repeats", _passes(1, 2, 5), repeats=5),
    Kind("score", _score),
    Kind("score, 70% of cases equal", _partly(0.3, _score)),
    Kind("pass or fail, groups of 5 alike", _passes(1, 2, 1), groups=(5,)),
    Kind("score, 90% of cases equal", _partly(0.1, _score)),
)

UNEVEN = (
    Kind("score, groups of 1 to 8 alike", _score, groups=(1, 1, 2, 3, 5, 8)),
    Kind("pass or fail, groups of 1 to 8 alike", _passes(1, 2, 1), groups=(1, 1, 2, 3, 5, 8)),
    Kind("score, one case in ten weighs five", _score, heavy=5.0),
    Kind("pass or fail, one case in ten weighs five", _passes(1, 2, 1), heavy=5.0),
    Kind("score, one case in ten weighs a hundred", _score, heavy=100.0),
)
"""Groups, or cases, that do not weigh alike."""

EQUAL = (*KINDS, *UNEVEN)

AT_THE_MARGIN = (
    Kind("score", _score),
    Kind("score, 50% of cases equal", _partly(0.5, _score)),
    Kind("score, 70% of cases equal", _partly(0.3, _score)),
    Kind("score, 90% of cases equal", _partly(0.1, _score)),
    Kind("score, 70% of cases equal, groups of 5 alike", _partly(0.3, _score), groups=(5,)),
    Kind("98% of cases equal, the rest lost", _partly(MARGIN, _whole)),
    Kind("score, most a little worse, some much better", _some_against_most),
    Kind("pass or fail, once", _passes(1, 2, 1)),
    Kind("pass or fail, 5 repeats", _passes(1, 2, 5), repeats=5),
    Kind("score, 70% of cases equal, the rest unevenly worse", _partly(0.3, _uneven)),
    Kind("score, 90% of cases equal, the rest unevenly worse", _partly(0.1, _uneven)),
    Kind("score, all unevenly worse", _skewed),
    Kind("score, all unevenly worse, one case in ten weighs five", _skewed, heavy=5.0),
    Kind("score, most a little worse, some much better, one case in ten weighs five", _some_against_most, heavy=5.0),
)
ON_THE_AVERAGE = Kind("70% of cases equal, most of the rest better, a few much worse", _partly(0.3, _few_against_some))
"""Equal, but only on the average: the margin is 0."""


def differences_of(kind: Kind, shape: Shape, luck: np.random.Generator, lift: float = 0.0) -> Numbers:
    """Return so many cases, or rows of them; in a group 70% have the difference of its first."""
    made = kind.draw(luck, shape, lift)
    if kind.groups != (1,):
        layout = layout_of(kind, made.shape[-1])
        made = np.where(luck.random(shape) < 0.7, made[..., layout.first[layout.group]], made)
    return made


def pairs_of(kind: Kind, cases: int, luck: np.random.Generator, lift: float = 0.0) -> list[Pair]:
    """Return so many cases, as the gate has them."""
    return as_pairs(kind, differences_of(kind, cases, luck, lift))


def as_pairs(kind: Kind, differences: Numbers) -> list[Pair]:
    """Return these differences as the gate has cases of a kind."""
    weights, group, _ = layout_of(kind, len(differences))
    cases = zip(group.tolist(), weights.tolist(), differences.tolist(), strict=True)
    return [Pair("", str(number), weight, value, kind.repeats) for number, weight, value in cases]
