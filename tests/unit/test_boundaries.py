"""How sure each of several looks must be: together they err as often as one look would."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from batchyard.judge.boundaries import SPENDING_POWER, chance, levels

NORMAL = NormalDist()
EVENLY = tuple(number / 10 for number in range(1, 11))
SIMULATED = 400_000


def crossed(shares: tuple[float, ...], made: tuple[float, ...]) -> list[float]:
    """Return how often a comparison without a difference has crossed by each look."""
    luck = np.random.default_rng(7)
    steps = np.sqrt(np.diff([0.0, *shares]))
    sums = np.cumsum(luck.normal(size=(SIMULATED, len(shares))) * steps, axis=1)
    bounds = np.array([-NORMAL.inv_cdf(level) for level in made]) * np.sqrt(shares)
    return [float(np.mean((sums > bounds)[:, : number + 1].any(axis=1))) for number in range(len(shares))]


def test_a_single_look_may_err_as_often_as_was_asked_for() -> None:
    assert levels((1.0,), 0.05) == pytest.approx((0.05,))


@pytest.mark.parametrize("shares", [EVENLY, (0.2, 1.0), (0.31, 0.5, 0.55, 1.0)], ids=["ten", "two", "uneven"])
@pytest.mark.parametrize("error", [0.05, 0.2])
def test_by_each_look_the_error_that_its_share_of_the_cases_allows_is_spent(
    shares: tuple[float, ...], error: float
) -> None:
    made = levels(shares, error)

    allowed = [error * share**SPENDING_POWER for share in shares]
    # Four standard errors of what was simulated.
    assert crossed(shares, made) == pytest.approx(allowed, abs=4 * (error / SIMULATED) ** 0.5)


def test_later_looks_need_less() -> None:
    made = levels(EVENLY, 0.05)

    assert list(made) == sorted(made)
    assert made[0] < 0.0005 < 0.03 < made[-1] < 0.05


def test_smaller_errors_need_more_at_every_look() -> None:
    strict, lenient = levels(EVENLY, 0.05 / 99), levels(EVENLY, 0.05)

    assert all(one < other for one, other in zip(strict, lenient, strict=True))


def test_the_chance_to_show_a_claim_goes_with_what_was_seen() -> None:
    hopeless, open_still, near = (chance(p_value, 0.5, 0.03) for p_value in (0.99, 0.3, 0.001))

    assert hopeless < 0.001 < open_still < 0.5 < 0.95 < near


def test_with_nothing_seen_against_it_the_chance_is_that_of_half_the_way() -> None:
    # An estimate of nothing, half of the cases to come: their mean must reach twice the bound.
    assert chance(0.5, 0.5, 0.05) == pytest.approx(1 - NORMAL.cdf(-NORMAL.inv_cdf(0.05)), abs=1e-9)


@pytest.mark.parametrize(("p_value", "expected"), [(0.04, 1.0), (0.06, 0.0)])
def test_at_the_last_look_it_is_shown_or_not(p_value: float, expected: float) -> None:
    assert chance(p_value, 1.0, 0.05) == expected


@pytest.mark.parametrize("p_value", [0.0, 1.0])
def test_certainty_either_way_has_a_chance_too(p_value: float) -> None:
    assert chance(p_value, 0.1, 0.05) == pytest.approx(1.0 - p_value, abs=0.02)
