"""The gate: what opens it, what shuts it, and that missing data never opens it."""

from __future__ import annotations

import json
import math

import pytest

from batchyard.judge import Check, CombinationRow, Comparison, check
from batchyard.model.outcome import Outcome
from batchyard.model.spec_evaluation import Baseline, Gate
from judge_builders import a_result, compare


def a_baseline(max_regression: float = 0.02, name: str = "base") -> Gate:
    return Gate(baseline=Baseline(combination=name, max_regression=max_regression, confidence=None))


def only_check(comparison: Comparison, gate: Gate) -> Check:
    result = check(comparison, gate)

    assert result.passed is result.checks[0].passed
    assert len(result.checks) == 1
    return result.checks[0]


@pytest.mark.parametrize("gate", [None, Gate()])
def test_a_gate_without_rules_passes_without_checks(gate: Gate | None) -> None:
    result = check(compare([]), gate)

    assert (result.passed, result.checks) == (True, ())


@pytest.mark.parametrize(("minimum", "passed"), [(0.75, True), (0.5, True), (0.76, False)])
def test_min_success_rate_asks_it_of_the_best_combination(minimum: float, passed: bool) -> None:
    results = [
        *(a_result("a", score=1.0) for _ in range(3)),
        a_result("a", Outcome.TIMED_OUT),
        a_result("b", Outcome.FAILED, score=0.0),
    ]

    made = only_check(compare(results), Gate(min_success_rate=minimum))

    assert (made.name, made.passed, made.actual, made.threshold) == ("minSuccessRate", passed, 0.75, minimum)


@pytest.mark.parametrize(("minimum", "passed"), [(0.9, True), (0.91, False)])
def test_min_score_asks_it_of_the_best_combination(minimum: float, passed: bool) -> None:
    comparison = compare([a_result("a", score=0.9), a_result("b", score=0.1)])

    made = only_check(comparison, Gate(min_score=minimum))

    assert (made.name, made.passed, made.actual) == ("minScore", passed, 0.9)


def test_min_success_rate_passes_though_two_combinations_tie_and_none_is_best() -> None:
    comparison = compare([a_result("a"), a_result("b")])

    assert comparison.best is None
    assert only_check(comparison, Gate(min_success_rate=1.0)).passed


def test_min_score_without_scores_fails_and_says_what_to_do() -> None:
    made = only_check(compare([a_result("a")]), Gate(min_score=0.0))

    assert (made.passed, made.actual) == (False, None)
    assert made.message == ("combination 'a' has no score; configure spec.evaluation.evaluators or drop gate.minScore")


@pytest.mark.parametrize("gate", [Gate(min_score=0.0), Gate(min_success_rate=0.0)])
def test_a_minimum_of_zero_fails_where_nothing_passed(gate: Gate) -> None:
    made = only_check(compare([a_result("a", Outcome.FAILED, score=0.4)]), gate)

    assert (made.passed, made.actual) == (False, None)
    assert made.message.startswith("no combination passed a trial")


def test_a_score_just_below_is_not_shown_as_reaching() -> None:
    results = [a_result("a", score=0.89999)]

    made = only_check(compare(results), Gate(min_score=0.9))

    assert made.message == "score 0.8999 of 'a' is below 0.9"


# -- baseline ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("score", "passed"), [(1.0, True), (0.9, True), (0.88, True), (0.8799, False)])
def test_the_best_other_combination_may_fall_behind_the_baseline_by_max_regression(score: float, passed: bool) -> None:
    comparison = compare([a_result("base", score=0.9), a_result("b", score=score)], ["base", "b"])

    made = only_check(comparison, a_baseline(0.02))

    assert (made.name, made.passed, made.actual, made.threshold) == ("baseline", passed, score, 0.88)


def test_max_regression_counts_as_it_is_written() -> None:
    # In doubles, 0.8 - 0.1 is a little more than 0.7.
    comparison = compare([a_result("base", score=0.8), a_result("b", score=0.7)], ["base", "b"])

    assert only_check(comparison, a_baseline(0.1)).passed


def test_the_baseline_itself_is_not_its_own_rival() -> None:
    comparison = compare([a_result("base", score=0.9), a_result("b", score=0.1)], ["base", "b"])

    made = only_check(comparison, a_baseline())

    assert made.message == "score 0.1 of 'b' is more than 0.02 below the 0.9 of baseline 'base'"


def test_without_scores_the_baseline_is_held_against_by_success_rate() -> None:
    results = [a_result("base"), a_result("b"), a_result("b", Outcome.FAILED)]

    made = only_check(compare(results, ["base", "b"]), a_baseline())

    assert (made.passed, made.actual, made.threshold) == (False, 0.5, 0.98)
    assert made.message.startswith("success rate 0.5 of 'b'")


def test_a_baseline_that_failed_throughout_is_easily_beaten() -> None:
    comparison = compare([a_result("base", Outcome.FAILED), a_result("b", score=0.6)], ["base", "b"])

    assert only_check(comparison, a_baseline()).passed


def test_an_unknown_baseline_fails_and_names_the_combinations() -> None:
    made = only_check(compare([a_result("a", score=1.0)]), a_baseline(name="old"))

    assert made.message == "baseline 'old' is not a combination of this batch (a, b)"
    assert not made.passed


def test_an_unknown_baseline_among_many_combinations_names_the_first() -> None:
    names = [f"c{number:02}" for number in range(256)]

    made = only_check(compare([], names), a_baseline(name="old"))

    assert made.message.endswith("(c00, c01, c02, c03, c04, c05, c06, c07, ...)")


def test_a_baseline_of_which_no_trial_was_judged_fails() -> None:
    comparison = compare([a_result("base", Outcome.ERRORED), a_result("b", score=1.0)], ["base", "b"])

    made = only_check(comparison, a_baseline())

    assert (made.passed, made.message) == (False, "baseline 'base' has no score: none of its trials has one")


def test_a_baseline_without_rivals_fails() -> None:
    comparison = compare([a_result("base", score=1.0), a_result("b", Outcome.TIMED_OUT)], ["base", "b"])

    made = only_check(comparison, a_baseline())

    assert (made.passed, made.message) == (False, "no combination other than the baseline passed a trial")


def test_a_rival_without_a_score_fails_where_the_baseline_has_one() -> None:
    comparison = compare([a_result("base", score=1.0), a_result("b")], ["base", "b"])

    made = only_check(comparison, a_baseline())

    assert (made.passed, made.message) == (False, "combination 'b' has no score to hold against the baseline")


# -- all of it ---------------------------------------------------------------------------------------------------


def test_a_score_that_is_not_a_number_never_passes() -> None:
    row = CombinationRow("a", {}, dict.fromkeys(Outcome, 1), math.nan, math.nan, 1.0, {})
    gate = Gate(min_success_rate=0.0, min_score=0.0, baseline=Baseline(combination="a", confidence=None))

    result = check(Comparison((row,), None, ()), gate)

    assert [made.passed for made in result.checks] == [False, False, False]


def test_the_gate_passes_only_if_every_check_does() -> None:
    comparison = compare([a_result("a", score=0.6)])

    result = check(comparison, Gate(min_success_rate=1.0, min_score=0.7))

    assert (result.passed, [made.passed for made in result.checks]) == (False, [True, False])


def test_the_json_is_the_contract_s() -> None:
    result = check(compare([a_result("a", score=0.5)]), Gate(min_score=0.5))

    assert json.loads(json.dumps(result.to_json())) == {
        "passed": True,
        "outcome": "Passed",
        "checks": [
            {
                "name": "minScore",
                "passed": True,
                "outcome": "Passed",
                "actual": 0.5,
                "threshold": 0.5,
                "message": "score 0.5 of 'a' reaches 0.5",
            }
        ],
    }
