"""Student's t for skewed values: the plain one without skewness, and each function the other's inverse."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.judge.skewed import reach, upper_tail
from batchyard.judge.student import t_quantile, t_upper_tail

SKEWS = st.floats(-2, 2)
FREEDOM = st.floats(1, 5000)


@settings(max_examples=40)
@given(st.floats(-20, 20), FREEDOM)
def test_without_skewness_it_is_student_s(errors: float, freedom: float) -> None:
    assert upper_tail(errors, 0.0, freedom) == pytest.approx(t_upper_tail(errors, freedom))
    assert reach(0.95, 0.0, freedom) == pytest.approx(t_quantile(0.95, freedom))


@settings(max_examples=40)
@given(st.floats(0.001, 0.999), SKEWS, FREEDOM)
def test_what_is_reached_has_the_tail_that_is_left(confidence: float, skew: float, freedom: float) -> None:
    assert upper_tail(reach(confidence, skew, freedom), skew, freedom) == pytest.approx(1 - confidence, rel=1e-5)


@settings(max_examples=40)
@given(st.floats(-20, 20), st.floats(0, 10), SKEWS, FREEDOM)
def test_the_further_above_the_surer(errors: float, more: float, skew: float, freedom: float) -> None:
    assert upper_tail(errors + more, skew, freedom) <= upper_tail(errors, skew, freedom) + 1e-12


@pytest.mark.parametrize("errors", [2.0, -2.0])
def test_far_from_the_claim_it_goes_on_as_steep_as_t(errors: float) -> None:
    # The cubic alone would be level here.
    beyond, skew = errors + 3.0 * (errors / 2.0), -3.0 / errors

    near, far = (upper_tail(one, skew, 15) for one in (errors, beyond))

    assert abs(math.log(near / (1 - near)) - math.log(far / (1 - far))) > 3


def test_it_is_hall_s_cubic() -> None:
    # Counted by hand: 25 values of skewness -1.5, so that of their mean is -0.3: 2 - 0.4 + 0.0266667 - 0.05.
    assert upper_tail(2.0, -0.3, 24) == pytest.approx(t_upper_tail(1.5766667, 24), rel=1e-6)
