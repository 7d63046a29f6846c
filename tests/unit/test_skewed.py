"""Student's t for skewed values: the plain one without skewness, and each function the other's inverse."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.judge.skewed import reach, upper_tail
from batchyard.judge.student import t_quantile, t_upper_tail

SKEWS = st.floats(-8, 8)
NUMBERS = st.floats(3, 5000)


@settings(max_examples=40)
@given(st.floats(-20, 20), NUMBERS)
def test_without_skewness_it_is_student_s(errors: float, number: float) -> None:
    assert upper_tail(errors, 0.0, number) == pytest.approx(t_upper_tail(errors, number - 1))
    assert reach(0.95, 0.0, number) == pytest.approx(t_quantile(0.95, number - 1))


@settings(max_examples=40)
@given(st.floats(0.001, 0.999), SKEWS, NUMBERS)
def test_what_is_reached_has_the_tail_that_is_left(confidence: float, skew: float, number: float) -> None:
    assert upper_tail(reach(confidence, skew, number), skew, number) == pytest.approx(1 - confidence, rel=1e-5)


@settings(max_examples=40)
@given(st.floats(-20, 20), st.floats(0, 10), SKEWS, NUMBERS)
def test_the_further_above_the_surer(errors: float, more: float, skew: float, number: float) -> None:
    assert upper_tail(errors + more, skew, number) <= upper_tail(errors, skew, number) + 1e-12


@pytest.mark.parametrize("errors", [2.0, -2.0])
def test_far_from_the_claim_it_goes_on_as_steep_as_t(errors: float) -> None:
    # The cubic alone would be level here.
    beyond, skew = errors + 3.0 * (errors / 2.0), -3.0 * 4.0 / errors

    near, far = (upper_tail(one, skew, 16) for one in (errors, beyond))

    assert abs(math.log(near / (1 - near)) - math.log(far / (1 - far))) > 3


def test_it_is_hall_s_cubic() -> None:
    # Counted by hand: W = 0.4, skewness -1.5, n = 25: W - 0.08 + 0.0053333 - 0.01 = 0.3153333, times 5.
    assert upper_tail(2.0, -1.5, 25) == pytest.approx(t_upper_tail(1.5766667, 24), rel=1e-6)
