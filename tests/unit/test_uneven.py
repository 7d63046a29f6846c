"""Groups that do not weigh alike: without each the mean is another, and how much the differences of that tell."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.judge.cases import Pair
from batchyard.judge.paired import difference
from batchyard.judge.uneven import left_over, worth

WEIGHTS = st.lists(st.floats(1, 400), min_size=3, max_size=20)
VALUES = [0.12, -0.05, 0.31, 0.08, 0.22, -0.11, 0.17, 0.05]


def shares_of(weights: list[float]) -> list[float]:
    return [weight / math.fsum(weights) for weight in weights]


@pytest.mark.parametrize("number", [3, 10, 1000])
def test_of_groups_that_weigh_alike_there_is_nothing_to_make_up_for(number: int) -> None:
    factors, freedom = left_over([1 / number] * number)

    assert worth([1 / number] * number) == pytest.approx(number)
    assert freedom == pytest.approx(number - 1)
    # The squared error of a mean is the sum of squares over n (n - 1).
    assert factors == pytest.approx([1 / math.sqrt(number * (number - 1))] * number)


@given(WEIGHTS)
def test_the_degrees_of_freedom_are_satterthwaite_s(weights: list[float]) -> None:
    shares = shares_of(weights)

    factors, freedom = left_over(shares)

    left = np.eye(len(shares)) - np.ones((len(shares), 1)) @ np.array([shares])
    form = np.diag(factors) @ left @ left.T @ np.diag(factors)
    assert freedom == pytest.approx(np.trace(form) ** 2 / np.trace(form @ form), rel=1e-3)
    assert 1 - 1e-4 <= freedom <= len(weights) - 1 + 1e-9


@given(WEIGHTS)
def test_equal_groups_are_worth_their_number_and_others_less(weights: list[float]) -> None:
    assert 1 - 1e-9 <= worth(shares_of(weights)) <= len(weights) + 1e-9


def test_the_error_is_that_of_the_means_without_each_group() -> None:
    weights = [1.0, 2.0, 1.0, 8.0, 3.0, 1.0, 5.0, 2.0]
    pairs = [Pair(str(at), str(at), *one, 1) for at, one in enumerate(zip(weights, VALUES, strict=True))]

    found = difference(pairs)

    without = [
        np.average(np.delete(VALUES, at), weights=np.delete(weights, at)) - found.estimate for at in range(len(VALUES))
    ]
    assert found.estimate == pytest.approx(np.average(VALUES, weights=weights))
    assert found.error**2 == pytest.approx((1 - 1 / len(VALUES)) * np.sum(np.square(without)))


def test_a_group_of_most_cases_leaves_open_what_equal_ones_show() -> None:
    better = [0.1 + 0.01 * at for at in range(-4, 5)]

    alike = difference([Pair(str(at), str(at), 1.0, value, 1) for at, value in enumerate(better)])
    one_large = difference([Pair(str(at), str(at), 1.0 if at else 16.0, value, 1) for at, value in enumerate(better)])

    assert (alike.p_above(0.05) <= 0.05, one_large.p_above(0.05) <= 0.05) == (True, False)
    assert one_large.estimate > 0.05


def test_one_group_that_is_all_there_is_shows_nothing() -> None:
    found = difference([Pair(str(at), str(at), 1e12 if not at else 1.0, 0.1 * at, 1) for at in range(5)])

    assert (found.low(0.95), found.high(0.95), found.cases_needed(0.05, 0.95)) == (-1.0, 1.0, None)
