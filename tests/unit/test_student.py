"""Student's t: as in closed forms, as in published tables, and each function the other's inverse."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchyard.judge.student import t_quantile, t_upper_tail

VALUES = st.floats(-50, 50)
# NIST/SEMATECH e-Handbook of Statistical Methods, table 1.3.6.7.2: upper critical values.
TABLE = [
    (0.95, 1, 6.314), (0.975, 1, 12.706), (0.95, 2, 2.920), (0.975, 4, 2.776), (0.95, 9, 1.833), (0.975, 9, 2.262),
    (0.99, 15, 2.602), (0.95, 30, 1.697), (0.975, 60, 2.000), (0.999, 100, 3.174),
]  # fmt: skip


@given(VALUES)
def test_with_one_degree_of_freedom_it_is_cauchy_s(t: float) -> None:
    assert t_upper_tail(t, 1) == pytest.approx(0.5 - math.atan(t) / math.pi, abs=1e-8)


@given(VALUES)
def test_with_two_it_has_a_closed_form(t: float) -> None:
    assert t_upper_tail(t, 2) == pytest.approx(0.5 - t / (2 * math.sqrt(2 + t * t)), abs=1e-8)


@given(VALUES)
@example(6.163016801746844e-06)  # df / (df + t * t) is 1 in floats
def test_with_very_many_it_is_normal(t: float) -> None:
    assert t_upper_tail(t, 1e6) == pytest.approx(0.5 * math.erfc(t / math.sqrt(2)), abs=1e-6)


@pytest.mark.parametrize(("probability", "df", "value"), TABLE)
def test_quantiles_are_those_of_the_tables(probability: float, df: int, value: float) -> None:
    assert t_quantile(probability, df) == pytest.approx(value, abs=5e-4)


@given(st.floats(0.001, 0.999), st.floats(0.5, 10_000))
def test_a_quantile_is_exceeded_with_what_is_left(probability: float, df: float) -> None:
    assert t_upper_tail(t_quantile(probability, df), df) == pytest.approx(1 - probability, rel=1e-6)
