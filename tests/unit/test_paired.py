"""Differences over the same cases: as in a textbook where nothing ties, wider where much does, by group not by case."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.judge.cases import Pair
from batchyard.judge.paired import difference, holm, mcnemar

WITHOUT_TIES = [0.12, -0.05, 0.31, 0.08, 0.22, -0.11, 0.17, 0.05]
DIFFERENCES = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=2, max_size=30)


def pairs(values: list[float], *, groups: list[str] | None = None, repeats: int = 1, weight: float = 1.0) -> list[Pair]:
    named = groups or [f"c{number}" for number in range(len(values))]
    return [Pair(f"c{number}", named[number], weight, value, repeats) for number, value in enumerate(values)]


def test_where_nothing_ties_it_is_the_textbook_s_paired_t() -> None:
    found = difference(pairs(WITHOUT_TIES))

    error = statistics.stdev(WITHOUT_TIES) / math.sqrt(len(WITHOUT_TIES))
    assert found.estimate == pytest.approx(statistics.fmean(WITHOUT_TIES))
    assert found.error == pytest.approx(error)
    # t of 0.95 with 7 degrees of freedom, from the tables
    assert found.low(0.95) == pytest.approx(found.estimate - 1.8946 * error, abs=1e-4)
    assert found.high(0.95) == pytest.approx(found.estimate + 1.8946 * error, abs=1e-4)


def test_all_alike_is_not_sure_to_be_no_difference() -> None:
    ten, hundred = difference(pairs([0.0] * 10)), difference(pairs([0.0] * 100))

    assert ten.estimate == hundred.estimate == 0.0
    assert ten.high(0.95) > 0.15  # three cases in ten that no case showed are not excluded by ten
    assert 0.02 < hundred.high(0.95) < 0.05
    assert ten.p_value == 1.0


@pytest.mark.parametrize(("number", "shown"), [(2, False), (4, False), (5, True), (8, True)])
def test_that_every_case_is_won_shows_as_much_as_so_many_tosses_of_a_coin(number: int, shown: bool) -> None:
    # Five heads in five tosses: 1 in 32, less than 5%.
    assert (difference(pairs([1.0] * number)).p_above(0.0) <= 0.05) is shown


def test_one_case_shows_nothing() -> None:
    found = difference(pairs([1.0]))

    assert (found.low(0.95), found.high(0.95)) == (-1.0, 1.0)
    assert (found.p_above(-0.5), found.p_below(0.5), found.cases_needed(0.0, 0.95)) == (1.0, 1.0, None)


def test_cases_of_a_group_are_one_witness() -> None:
    values = [0.4, -0.1, 0.3, 0.2]

    alone = difference(pairs(values))
    copied = difference(
        pairs([value for value in values for _ in range(5)], groups=[c for c in "abcd" for _ in "12345"])
    )

    assert (copied.cases, copied.groups) == (20, 4)
    assert copied.estimate == pytest.approx(alone.estimate)
    assert copied.error == pytest.approx(alone.error)


def test_a_case_of_more_weight_counts_more() -> None:
    light, heavy = Pair("a", "a", 1.0, 0.0, 1), Pair("b", "b", 3.0, 1.0, 1)

    assert difference([light, heavy]).estimate == 0.75


@given(DIFFERENCES)
def test_swapping_the_two_swaps_the_interval(values: list[float]) -> None:
    one, other = difference(pairs(values)), difference(pairs([-value for value in values]))

    assert one.low(0.95) == pytest.approx(-other.high(0.95))
    assert one.p_above(0.1) == pytest.approx(other.p_below(-0.1))


@given(DIFFERENCES, st.floats(0.5, 0.999))
def test_a_bound_and_its_p_value_say_the_same(values: list[float], confidence: float) -> None:
    found = difference(pairs(values))

    bound = found.low(confidence)
    if bound > -1:
        assert found.p_above(bound) == pytest.approx(1 - confidence, rel=1e-4)


@given(DIFFERENCES, st.floats(0.1, 100))
def test_the_unit_of_the_weights_does_not_count(values: list[float], unit: float) -> None:
    one, scaled = difference(pairs(values)), difference(pairs(values, weight=unit))

    assert scaled.estimate == pytest.approx(one.estimate)
    assert scaled.error == pytest.approx(one.error)


def test_so_many_cases_as_it_says_would_decide() -> None:
    found = difference(pairs(WITHOUT_TIES))

    needed = found.cases_needed(0.0, 0.95)

    # z(0.95) + z(0.8) = 1.6449 + 0.8416
    distances = 2.4865 * statistics.stdev(WITHOUT_TIES) / statistics.fmean(WITHOUT_TIES)
    assert needed == math.ceil(distances**2)


# -- tests of their own ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("better", "worse", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (8, 2, 0.109375), (2, 8, 0.109375), (5, 5, 1.0)],
)
def test_mcnemar_s_exact_p_value_is_that_of_a_fair_coin(better: int, worse: int, p: float) -> None:
    values = [1.0] * better + [-1.0] * worse + [0.0] * 7

    assert mcnemar(pairs(values)) == pytest.approx(p)


def test_mcnemar_s_test_is_not_for_scores_repeats_or_groups() -> None:
    assert mcnemar(pairs([0.5, 1.0])) is None
    assert mcnemar(pairs([1.0, -1.0], repeats=3)) is None
    assert mcnemar(pairs([1.0, -1.0], groups=["g", "g"])) is None


def test_holm_s_p_values_are_the_textbook_s() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []
