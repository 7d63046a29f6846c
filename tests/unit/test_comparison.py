"""The comparison matrix, the ranking and the best: what counts, in which order, and who cannot win."""

from __future__ import annotations

import math

import pytest

from batchyard.judge import Best, Measure, MetricMean
from batchyard.model.outcome import Outcome, Reason
from judge_builders import a_result, as_bytes, compare


@pytest.mark.proves("matrix")
def test_every_combination_has_a_row_even_without_results() -> None:
    comparison = compare([], ["a", "b"])

    assert [row.name for row in comparison.rows] == ["a", "b"]
    assert (comparison.rows[0].score, comparison.rows[0].success_rate, comparison.best) == (None, None, None)


def test_every_outcome_is_counted() -> None:
    row = compare([a_result(outcome=outcome) for outcome in Outcome], ["a"]).rows[0]

    assert row.counts == dict.fromkeys(Outcome, 1)


def test_the_success_rate_leaves_out_what_says_nothing_of_the_combination() -> None:
    outcomes = [Outcome.PASSED, Outcome.TIMED_OUT, Outcome.ERRORED, Outcome.CANCELLED, Outcome.NOT_RUN]

    row = compare([a_result(outcome=outcome) for outcome in outcomes], ["a"]).rows[0]

    assert row.success_rate == 0.5


def test_the_success_rate_and_the_score_are_weighted_by_case() -> None:
    results = [a_result(score=1.0, weight=3), a_result(outcome=Outcome.FAILED, score=0.2, weight=1)]

    row = compare(results, ["a"]).rows[0]

    assert (row.success_rate, row.score) == (0.75, 0.8)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMED_OUT, Outcome.NEEDS_INPUT])
def test_a_trial_that_failed_without_a_score_counts_as_zero_where_there_are_scores(outcome: Outcome) -> None:
    row = compare([a_result(score=1.0), a_result(outcome=outcome)], ["a"]).rows[0]

    assert row.score == 0.5


def test_a_trial_whose_evaluation_failed_counts_as_zero_whatever_the_others_gave_it() -> None:
    failed = a_result(outcome=Outcome.FAILED, score=1.0, reason=Reason.EVALUATION_FAILED)

    row = compare([a_result(score=1.0), failed], ["a"]).rows[0]

    assert row.score == 0.5


def test_a_trial_that_passed_without_a_score_is_not_taken_for_zero() -> None:
    row = compare([a_result(score=0.8), a_result()], ["a"]).rows[0]

    assert row.score == 0.8


def test_a_batch_without_any_score_has_none_even_where_trials_failed() -> None:
    comparison = compare([a_result("a"), a_result("b", Outcome.FAILED)])

    assert [row.score for row in comparison.rows] == [None, None]


def test_a_score_of_a_case_without_weight_makes_no_scores() -> None:
    comparison = compare([a_result("a", score=1.0, weight=0), a_result("b", Outcome.FAILED)])

    assert [row.score for row in comparison.rows] == [None, None]


def test_a_score_that_is_no_score_is_not_counted() -> None:
    row = compare([a_result(score=math.nan), a_result(score=2.0), a_result(score=0.5)], ["a"]).rows[0]

    assert row.score == 0.5


def test_seconds_and_metrics_are_means_over_the_trials_that_have_them() -> None:
    results = [
        a_result(seconds=1.0, metrics={"tokens": 10, "cost": 1}),
        a_result(seconds=2.0, metrics={"tokens": 20}),
        a_result(seconds=3.0, metrics={"tokens": math.nan}),
        a_result(outcome=Outcome.ERRORED, seconds=99.0, metrics={"tokens": 99}),
    ]

    comparison = compare(results, ["a"])

    assert comparison.rows[0].mean_seconds == 2.0
    assert comparison.rows[0].metrics == {"cost": MetricMean(1.0, 1), "tokens": MetricMean(15.0, 2)}
    assert comparison.metrics == ("cost", "tokens")


def test_a_result_of_another_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="combination 'z' is not in this batch"):
        compare([a_result("z")])


# -- ranking -----------------------------------------------------------------------------------------------------


def test_a_margin_is_the_difference_of_the_scores_as_they_are_written() -> None:
    comparison = compare([a_result("a", score=0.8), a_result("b", score=0.9)])

    assert comparison.best == Best("b", 0.9, 0.1, Measure.SCORE)


def test_the_higher_score_is_best_by_its_margin() -> None:
    comparison = compare([a_result("a", score=0.5), a_result("b", score=0.75)])

    assert [row.name for row in comparison.rows] == ["b", "a"]
    assert comparison.best == Best("b", 0.75, 0.25, Measure.SCORE)


@pytest.mark.proves("evaluation-engine")
def test_equal_scores_are_ordered_by_success_rate_then_name_and_never_by_time() -> None:
    results = [
        *(a_result("a-slow", score=0.5, seconds=2.0) for _ in range(2)),
        *(a_result("quick", score=0.5, seconds=1.0) for _ in range(2)),
        *(a_result("also-quick", score=0.5, seconds=1.0) for _ in range(2)),
        a_result("uneven", score=1.0, seconds=0.1),
        a_result("uneven", Outcome.FAILED, score=0.0, seconds=0.1),
    ]

    comparison = compare(results, ["uneven", "a-slow", "quick", "also-quick"])

    assert [row.name for row in comparison.rows] == ["a-slow", "also-quick", "quick", "uneven"]
    assert comparison.best == Best("a-slow", 0.5, 0.0, Measure.SCORE)


def test_a_combination_that_passed_nothing_is_never_best() -> None:
    results = [
        a_result("a", Outcome.FAILED, score=0.45),
        a_result("b", score=0.9),
        *(a_result("b", Outcome.TIMED_OUT) for _ in range(8)),
    ]

    comparison = compare(results)

    assert comparison.best == Best("b", 0.1, None, Measure.SCORE)
    assert [row.name for row in comparison.rows] == ["b", "a"]


def test_nothing_is_best_where_nothing_passed() -> None:
    comparison = compare([a_result("a", Outcome.FAILED, score=0.4), a_result("b", Outcome.TIMED_OUT)])

    assert comparison.best is None


def test_a_combination_without_a_score_is_not_best_where_another_has_one() -> None:
    comparison = compare([a_result("a", seconds=0.01), a_result("b", score=0.6, seconds=9.0)])

    assert comparison.best == Best("b", 0.6, None, Measure.SCORE)


def test_without_scores_the_highest_success_rate_is_best() -> None:
    results = [a_result("a", seconds=9.0), a_result("b", seconds=0.1), a_result("b", Outcome.FAILED, seconds=0.1)]

    assert compare(results).best == Best("a", None, 0.5, Measure.SUCCESS_RATE)


@pytest.mark.proves("missing-evaluation")
def test_without_scores_nothing_is_best_by_finishing_first() -> None:
    comparison = compare([a_result("a", seconds=9.0), a_result("b", seconds=0.1)])

    assert comparison.best is None


def test_without_scores_a_lone_combination_that_passed_is_best() -> None:
    assert compare([a_result("a")], ["a"]).best == Best("a", None, None, Measure.SUCCESS_RATE)


# -- as JSON -----------------------------------------------------------------------------------------------------


def test_the_json_is_the_contract_s() -> None:
    results = [a_result("a", score=1.0, metrics={"tokens": 10}), a_result("b", Outcome.TIMED_OUT)]

    written = compare(results).to_json()

    assert written["combinations"][0] == {
        "name": "a",
        "variants": {"reader": "a"},
        "passed": 1,
        "failed": 0,
        "timedOut": 0,
        "needsInput": 0,
        "errored": 0,
        "cancelled": 0,
        "notRun": 0,
        "successRate": 1.0,
        "score": 1.0,
        "meanSeconds": 1.0,
        "metrics": {"tokens": 10.0},
        "metricTrials": {"tokens": 1},
    }
    assert written["best"] == {"combination": "a", "score": 1.0, "margin": None, "by": "score"}
    assert written["metrics"] == ["tokens"]


@pytest.mark.proves("bug-09")
def test_results_in_reverse_give_the_same_bytes() -> None:
    results = [
        a_result("ab"[number % 2], score=(number % 7) / 7, weight=0.1 * (1 + number % 3), seconds=number / 3)
        for number in range(50)
    ]

    assert as_bytes(compare(results)) == as_bytes(compare(reversed(results)))


def test_numbers_too_great_to_add_up_still_have_a_mean() -> None:
    results = [a_result(metrics={"huge": 1.5e308}), a_result(metrics={"huge": 1.5e308})]

    assert compare(results, ["a"]).rows[0].metrics["huge"].mean == 1.5e308
