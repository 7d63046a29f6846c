"""Combinations against one of them, and what repeats say: as the formulas have it, counted by hand."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchyard.judge.cases import CaseTable
from batchyard.judge.contrasts import contrasts, reliability
from batchyard.judge.ranking import Measure
from batchyard.model.outcome import Outcome
from batchyard.model.trial import Case
from judge_builders import a_result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PASSED, FAILED, LOST = Outcome.PASSED, Outcome.FAILED, Outcome.ERRORED


def a_table(
    outcomes: Mapping[str, Mapping[str, Sequence[Outcome]]], weights: Mapping[str, float] | None = None
) -> CaseTable:
    """Return the table of a batch: for each combination and case how its trials ended."""
    names = {case for cases in outcomes.values() for case in cases}
    table = CaseTable([Case(name, {}, weight=(weights or {}).get(name, 1.0)) for name in sorted(names)])
    for combination, cases in outcomes.items():
        for case, ended in cases.items():
            for outcome in ended:
                table.add(replace(a_result(combination, outcome), case=case))
    return table


def test_each_is_held_against_the_one_case_by_case() -> None:
    table = a_table(
        {
            "base": {f"c{number}": [FAILED if number < 8 else PASSED] for number in range(10)},
            "better": {f"c{number}": [PASSED] for number in range(10)},
            "same": {f"c{number}": [FAILED if number < 8 else PASSED] for number in range(10)},
        }
    )

    better, same = contrasts(table, "base", ["better", "same"], Measure.SUCCESS_RATE)

    assert (better.combination, better.estimate, better.cases, better.exact) == ("better", 0.8, 10, 2 / 2**8)
    assert 0 < better.low < 0.8 < better.high
    assert (same.estimate, same.p_value, same.exact) == (0.0, 1.0, 1.0)


def test_p_values_are_adjusted_for_the_number_of_combinations() -> None:
    outcomes = {"base": {f"c{number}": [FAILED] for number in range(8)}}
    won = {f"c{number}": [PASSED if number < 4 else FAILED] for number in range(8)}
    alone = contrasts(a_table({**outcomes, "a": won}), "base", ["a"], Measure.SUCCESS_RATE)

    three = contrasts(
        a_table({**outcomes, "a": won, "b": won, "c": won}), "base", ["a", "b", "c"], Measure.SUCCESS_RATE
    )

    assert [one.p_value for one in three] == [pytest.approx(3 * alone[0].p_value)] * 3


def test_of_equal_combinations_none_is_said_to_differ_from_the_one_that_luck_made_best() -> None:
    luck = random.Random(20)  # noqa: S311 - no secret
    names, wrong, batches = [f"c{number}" for number in range(6)], 0, 300
    for _ in range(batches):
        table = CaseTable([Case(f"c{number}", {}) for number in range(30)])
        sums = dict.fromkeys(names, 0.0)
        for name in names:
            for case in range(30):
                score = luck.random()
                table.count(name, f"c{case}", PASSED, score)
                sums[name] += score
        best = max(names, key=sums.__getitem__)

        found = contrasts(table, best, [name for name in names if name != best], Measure.SCORE, chosen=True)

        assert all((one.low > 0 or one.high < 0) is (one.p_value < 0.05) for one in found)
        wrong += any(one.p_value <= 0.05 for one in found)
    # At most 5 in 100, but for three standard errors.
    assert wrong <= 0.05 * batches + 3 * math.sqrt(0.05 * 0.95 * batches)


def test_a_combination_without_a_case_in_common_is_left_out() -> None:
    table = a_table({"base": {"c0": [PASSED]}, "other": {"c0": [LOST]}})

    assert contrasts(table, "base", ["other"], Measure.SUCCESS_RATE) == ()


def test_pass_at_k_and_pass_to_the_k_are_the_unbiased_estimates() -> None:
    table = a_table({"a": {"c0": [PASSED, FAILED, FAILED], "c1": [PASSED] * 3}})

    found = reliability(table, "a", 2)

    # c0: 1 - C(2,2)/C(3,2) = 2/3 and C(1,2)/C(3,2) = 0; c1: 1 and 1
    assert found.pass_at_k == pytest.approx((2 / 3 + 1) / 2)
    assert found.pass_all_k == pytest.approx(1 / 2)
    assert found.flaky == 1


def test_a_trial_that_was_lost_makes_nothing_flaky_and_too_few_trials_say_nothing() -> None:
    table = a_table({"a": {"c0": [PASSED, PASSED, LOST], "c1": [PASSED, FAILED, FAILED]}})

    found = reliability(table, "a", 3)

    assert (found.pass_at_k, found.pass_all_k, found.flaky) == (1.0, 0.0, 1)


def test_cases_count_by_their_weight() -> None:
    table = a_table({"a": {"c0": [PASSED], "c1": [FAILED]}}, {"c0": 3.0})

    assert reliability(table, "a", 1).pass_at_k == 0.75


def test_of_nothing_nothing_is_said() -> None:
    found = reliability(a_table({"a": {}}), "a", 2)

    assert (found.pass_at_k, found.pass_all_k, found.flaky) == (None, None, 0)
