"""Differences over the same cases: as in a textbook where nothing ties, wider where much does, by group not by case."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from batchyard.judge.cases import Pair
from batchyard.judge.paired import FEWEST_GROUPS, Difference, difference, holm, mcnemar

EVENLY = [-0.3, -0.1, -0.05, 0.02, 0.08, 0.11, 0.17, 0.2, 0.26, 0.33, 0.38, 0.58]
"""Without ties and skewness: each has its like on the other side of the mean."""
WITHOUT_TIES = [0.12, -0.05, 0.31, 0.08, 0.22, -0.11, 0.17, 0.05]
DIFFERENCES = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]) | st.floats(-1, 1), min_size=1, max_size=30)


def pairs(values: list[float], *, groups: list[str] | None = None, repeats: int = 1, weight: float = 1.0) -> list[Pair]:
    named = groups or [f"c{number}" for number in range(len(values))]
    return [Pair(f"c{number}", named[number], weight, value, repeats) for number, value in enumerate(values)]


def test_where_nothing_ties_or_is_skewed_it_is_the_textbook_s_paired_t() -> None:
    found = difference(pairs(EVENLY))

    error = statistics.stdev(EVENLY) / math.sqrt(len(EVENLY))
    assert found.estimate == pytest.approx(statistics.fmean(EVENLY))
    assert found.error == pytest.approx(error)
    # t of 0.95 with 11 degrees of freedom, from the tables
    assert found.low(0.95) == pytest.approx(found.estimate - 1.7959 * error, abs=1e-4)
    assert found.high(0.95) == pytest.approx(found.estimate + 1.7959 * error, abs=1e-4)


def test_where_a_few_are_much_worse_the_mean_may_be_lower_than_a_textbook_has_it() -> None:
    few_worse = [0.02, 0.03, 0.05, 0.01, 0.04, 0.06, 0.0, -0.01, -0.2, -0.3]

    found = difference(pairs(few_worse))

    error = statistics.stdev(few_worse) / math.sqrt(len(few_worse))
    assert found.low(0.95) < found.estimate - 1.8331 * error
    assert found.high(0.95) < found.estimate + 1.8331 * error


@pytest.mark.parametrize("cases", [10, 20])
def test_the_few_that_differ_need_not_be_the_worst(cases: int) -> None:
    # All but three are equal: the rest may hold a case that lost far more.
    found = difference(pairs([0.0] * (cases - 3) + [-0.01, 0.005, -0.02]))

    assert found.p_above(-0.02) > 0.05
    assert found.p_below(0.02) > 0.05


def test_all_alike_is_not_sure_to_be_no_difference() -> None:
    ten, hundred = difference(pairs([0.0] * 10)), difference(pairs([0.0] * 100))

    assert ten.estimate == hundred.estimate == 0.0
    # So large a share of cases that are lost is missed by ten of ten in 5 of 100.
    assert ten.high(0.95) == -ten.low(0.95) == pytest.approx(1 - 0.05 ** (1 / 10))
    assert hundred.high(0.95) == -hundred.low(0.95) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert ten.p_value == 1.0


def test_so_many_cases_that_are_alike_as_it_says_would_decide() -> None:
    needed = difference(pairs([0.0] * 10)).cases_needed(-0.02, 0.95)

    assert needed is not None
    assert difference(pairs([0.0] * needed)).p_above(-0.02) <= 0.05
    assert difference(pairs([0.0] * (needed - 1))).p_above(-0.02) > 0.05


def test_so_many_that_are_alike_would_decide_where_some_weigh_more() -> None:
    layout = [10.0] * 5 + [1.0] * 95

    def of_layouts(times: int) -> Difference:
        weights = layout * times
        return difference([Pair(str(at), str(at), weight, 0.0, 1) for at, weight in enumerate(weights)])

    needed = of_layouts(1).cases_needed(-0.02, 0.95)

    assert needed is not None
    assert of_layouts(math.ceil(needed / len(layout))).p_above(-0.02) <= 0.05
    assert of_layouts(needed // len(layout)).p_above(-0.02) > 0.05


@pytest.mark.parametrize(
    ("value", "than"), [(0.8 - 0.9, -0.1), (0.9 - 1.0, -0.1), (0.6 - 0.7, -0.1), (0.98 - 1.0, -0.02), (0.3, 0.1 + 0.2)]
)
def test_no_number_of_cases_shows_what_is_just_at_the_limit(value: float, than: float) -> None:
    alike = difference(pairs([value] * 5))
    nearly = difference(pairs([value + 1e-12, value, value - 1e-12, value, value]))

    assert (alike.cases_needed(than, 0.95), nearly.cases_needed(than, 0.95)) == (None, None)


@settings(max_examples=200)
@given(DIFFERENCES, st.floats(-1, 1), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_how_many_cases_are_needed_can_be_said_of_any_differences(
    values: list[float], than: float, confidence: float
) -> None:
    needed = difference(pairs(values)).cases_needed(than, confidence)

    assert needed is None or needed > len(values)


@pytest.mark.parametrize(("number", "shown"), [(2, False), (4, False), (5, True), (8, True)])
def test_that_every_case_is_won_shows_as_much_as_so_many_tosses_of_a_coin(number: int, shown: bool) -> None:
    # Five heads in five tosses: 1 in 32, less than 5%.
    assert (difference(pairs([1.0] * number)).p_above(0.0) <= 0.05) is shown


def test_the_more_cases_are_won_the_surer_it_is() -> None:
    won = [difference(pairs([1.0] * number + [0.0] * (10 - number))).p_above(0.0) for number in range(2, 11)]

    assert won == sorted(won, reverse=True)
    assert won[6 - 2] == pytest.approx(1 / 2**6, rel=0.1)


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], [0.9, 1.0]])
def test_one_case_or_two_show_nothing(values: list[float]) -> None:
    found = difference(pairs(values))

    assert len(values) < FEWEST_GROUPS
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


@settings(max_examples=40)
@given(DIFFERENCES)
def test_swapping_the_two_swaps_the_interval(values: list[float]) -> None:
    one, other = difference(pairs(values)), difference(pairs([-value for value in values]))

    assert one.low(0.95) == pytest.approx(-other.high(0.95))
    assert one.p_above(0.1) == pytest.approx(other.p_below(-0.1))


@settings(max_examples=40)
@given(DIFFERENCES, st.floats(0.5, 0.999))
def test_a_bound_and_its_p_value_say_the_same(values: list[float], confidence: float) -> None:
    found = difference(pairs(values))

    low, high = found.low(confidence), found.high(confidence)

    if low > -1:
        assert found.p_above(low) == pytest.approx(1 - confidence, rel=1e-4)
    if high < 1:
        assert found.p_below(high) == pytest.approx(1 - confidence, rel=1e-4)


@settings(max_examples=40)
@given(DIFFERENCES, st.floats(0.6, 0.999), st.floats(-0.9, 0.9))
def test_a_claim_is_shown_exactly_when_the_bound_holds_it(values: list[float], confidence: float, than: float) -> None:
    found = difference(pairs(values))

    low, high = found.low(confidence), found.high(confidence)

    assume(min(abs(low - than), abs(high - than)) > 1e-6)
    assert (found.p_above(than) <= 1 - confidence) is (low >= than)
    assert (found.p_below(than) <= 1 - confidence) is (high <= than)


@settings(max_examples=40)
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
