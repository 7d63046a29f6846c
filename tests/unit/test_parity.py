"""Two runs of the same trials are compared by combination, case and repeat; every difference has a type."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchyard.judge.parity import ParityChecker, ParityConfig, is_timing
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.trial import EvaluatorScore
from parity_builders import a_trial, check, kinds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.model.trial import AttemptResult


def test_two_runs_that_came_to_the_same_are_equivalent() -> None:
    trials = [a_trial("a/one/0", score=1.0), a_trial("a/two/0", score=0.5, outcome=Outcome.FAILED)]

    report = check(trials, trials)

    assert report.equivalent
    assert (report.compared, report.matching, report.total) == (2, 2, 0)
    assert report.sentence() == "2 trials compared, all equal"


# -- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["b/one/0", "a/two/0", "a/one/1"])
@pytest.mark.proves("parity-checker")
def test_trials_of_another_combination_case_or_repeat_are_never_taken_for_each_other(name: str) -> None:
    report = check([a_trial("a/one/0")], [a_trial(name)])

    assert sorted(kinds(report)) == ["MissingLeft", "MissingRight"]
    assert report.compared == 0


def test_several_cases_of_one_combination_are_each_compared() -> None:
    left = [a_trial("a/one/0"), a_trial("a/two/0")]
    right = [a_trial("a/one/0"), a_trial("a/two/0", outcome=Outcome.FAILED)]

    report = check(left, right)

    assert [(found.kind, found.trial) for found in report.discrepancies] == [("Outcome", "a/two/0")]


@pytest.mark.proves("bug-22")
def test_a_trial_that_only_one_run_has_is_named_with_the_side_that_lacks_it() -> None:
    left, right = [a_trial("a/one/0"), a_trial("a/two/0")], [a_trial("a/one/0"), a_trial("b/one/0")]

    report = check(left, right)

    assert [found.sentence("Ray", "threads") for found in report.discrepancies] == [
        "a/two/0: there is no result of threads",
        "b/one/0: there is no result of Ray",
    ]


def test_where_nothing_can_be_compared_nothing_is_equivalent() -> None:
    report = check([], [])

    assert not report.equivalent
    assert report.sentence() == "there was nothing to compare"


def test_results_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(ValueError, match="b/one/0 comes twice or out of order"):
        check([a_trial("b/one/0"), a_trial("b/one/0")], [])


# -- outcome and score -----------------------------------------------------------------------------------------------


def test_another_outcome_is_a_discrepancy_that_says_both() -> None:
    raised = a_trial(outcome=Outcome.FAILED, reason=Reason.NODE_RAISED, metrics={"words": 3})

    report = check([a_trial(metrics={"tokens": 9}, output={"x": 1})], [raised])

    assert kinds(report) == ["Outcome"]
    assert report.discrepancies[0].sentence() == (
        "a/one/0: the outcome is Passed on left and Failed (NodeRaised) on right"
    )


def test_the_same_outcome_for_another_reason_is_a_discrepancy() -> None:
    ends = [a_trial(outcome=Outcome.TIMED_OUT, reason=reason) for reason in ("TrialDeadlineExceeded", "Other")]

    assert kinds(check(ends[:1], ends[1:])) == ["Reason"]


def test_what_a_trial_left_behind_at_its_deadline_is_not_compared() -> None:
    left, right = (
        a_trial(outcome=Outcome.TIMED_OUT, reason=Reason.TRIAL_DEADLINE_EXCEEDED, output={"steps": steps})
        for steps in (3, 4)
    )

    assert check([left], [right]).equivalent


def test_messages_are_compared_only_if_asked() -> None:
    left, right = (a_trial(outcome=Outcome.FAILED, reason=Reason.NODE_RAISED, message=text) for text in ("a", "b"))

    assert check([left], [right]).equivalent
    assert kinds(check([left], [right], messages=True)) == ["Message"]


def test_a_score_beyond_the_tolerance_is_a_discrepancy() -> None:
    assert kinds(check([a_trial(score=0.9)], [a_trial(score=0.8)])) == ["Score"]
    assert check([a_trial(score=0.9)], [a_trial(score=0.899)]).equivalent
    assert kinds(check([a_trial(score=0.9)], [a_trial()])) == ["Score"]


def test_of_a_score_that_time_has_a_part_in_only_the_other_parts_are_compared() -> None:
    def timed(right: float, speed: float) -> AttemptResult:
        scores = (EvaluatorScore("contains", right), EvaluatorScore("latency", speed))
        return a_trial(score=(right + speed) / 2, scores=scores)

    assert check([timed(1.0, 0.9)], [timed(1.0, 0.1)]).equivalent
    assert kinds(check([timed(1.0, 0.9)], [timed(0.5, 0.9)])) == ["Score"]


# -- metrics ---------------------------------------------------------------------------------------------------------


def test_a_metric_may_differ_by_its_share_of_the_larger_value() -> None:
    left, within, beyond = (a_trial(metrics={"tokens": value}) for value in (100.0, 99.0, 98.9))

    assert check([left], [within], metric_tolerance=0.01).equivalent
    assert kinds(check([left], [beyond], metric_tolerance=0.01)) == ["Metric"]


def test_near_zero_the_absolute_tolerance_decides() -> None:
    left, right = a_trial(metrics={"loss": 0.0}), a_trial(metrics={"loss": 1e-7})

    assert check([left], [right]).equivalent
    assert kinds(check([left], [right], absolute_tolerance=0.0)) == ["Metric"]


@pytest.mark.proves("bug-22")
def test_tolerances_of_zero_ask_for_the_same_number() -> None:
    left, right = a_trial(metrics={"loss": 0.1 + 0.2}), a_trial(metrics={"loss": 0.3})

    assert kinds(check([left], [right], metric_tolerance=0.0, absolute_tolerance=0.0)) == ["Metric"]
    assert check([left], [left], metric_tolerance=0.0, absolute_tolerance=0.0).equivalent


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_equal_themselves_and_nothing_else(value: float) -> None:
    odd, even = a_trial(metrics={"loss": value}), a_trial(metrics={"loss": 1.0})

    assert check([odd], [odd]).equivalent
    assert [found.left for found in check([odd], [even]).discrepancies] == [str(value)]


def test_a_metric_that_one_run_lacks_is_a_discrepancy() -> None:
    report = check([a_trial(metrics={"tokens": 3})], [a_trial()])

    assert kinds(report) == ["MetricMissing"]
    assert report.discrepancies[0].sentence() == "a/one/0: metric tokens is 3 on left and absent on right"


def test_timing_metrics_are_ignored_unless_asked_for() -> None:
    left, right = a_trial(metrics={"latency_ms": 1.0}), a_trial(metrics={"latency_ms": 9.0})

    assert check([left], [right]).equivalent
    assert kinds(check([left], [right], ignore_timing_metrics=False)) == ["Metric"]


@pytest.mark.parametrize("name", ["latency_ms", "durationSeconds", "time", "elapsed", "TTFTSeconds", "wall-time"])
def test_a_name_with_a_word_for_time_is_a_timing_metric(name: str) -> None:
    assert is_timing(name)


@pytest.mark.parametrize("name", ["tokens", "timesAsked", "items", "customers", "wordsRead", "plus"])
def test_a_name_that_only_looks_like_time_is_none(name: str) -> None:
    assert not is_timing(name)


def test_ignored_metrics_are_neither_compared_nor_missed() -> None:
    left, right = a_trial(metrics={"cost": 1.0, "tokens": 3}), a_trial(metrics={"tokens": 3})

    report = check([left], [right], ignored_metrics=frozenset({"cost"}))

    assert report.equivalent
    assert report.metrics == 1


# -- final states ----------------------------------------------------------------------------------------------------


@pytest.mark.proves("bug-22")
def test_states_that_differ_are_named_by_the_place() -> None:
    left, right = (a_trial(output={"docs": [{"id": 1}, {"id": last, "the text": text}]}) for last, text in
                   ((2, "x"), (3, "y")))  # fmt: skip

    report = check([left], [right])

    assert [(found.subject, found.left, found.right) for found in report.discrepancies] == [
        ("$.docs[1].id", 2, 3),
        ('$.docs[1]["the text"]', "x", "y"),
    ]


def test_what_one_state_lacks_differs_from_null() -> None:
    report = check([a_trial(output={"a": None})], [a_trial(output={})])

    assert [(found.subject, found.left, found.right) for found in report.discrepancies] == [("$.a", "null", None)]


def test_numbers_in_states_have_the_tolerance_of_metrics() -> None:
    left, right = a_trial(output={"p": 0.5}), a_trial(output={"p": 0.501})

    assert check([left], [right]).equivalent
    assert kinds(check([left], [right], metric_tolerance=0.0)) == ["FinalState"]


def test_true_is_not_one_in_a_state() -> None:
    assert kinds(check([a_trial(output={"p": True})], [a_trial(output={"p": 1})])) == ["FinalState"]


def test_at_most_three_places_of_one_state_are_named() -> None:
    left, right = (a_trial(output={f"k{at}": value for at in range(9)}) for value in "xy")

    assert check([left], [right]).total == 3


def test_of_states_too_large_to_keep_the_digests_are_compared() -> None:
    cut = {"truncated": True, "bytes": 70000}
    left, right = (a_trial(output=cut, output_digest=digest) for digest in ("aa", "bb"))

    report = check([left], [right])

    assert [(found.subject, found.left, found.right) for found in report.discrepancies] == [("$", "aa", "bb")]
    assert check([left], [left]).equivalent


def test_a_state_that_has_a_key_of_that_name_was_not_cut() -> None:
    left, right = (a_trial(output={"truncated": True, "metrics": {"seconds": time}}) for time in (1, 2))

    assert check([left], [right]).equivalent


def test_long_values_are_shown_short() -> None:
    left, right = (a_trial(output={"text": letter * 5000}) for letter in "xy")

    (found,) = check([left], [right]).discrepancies

    assert len(found.left) == 120


def test_metrics_that_are_not_compared_are_not_compared_in_the_state_either() -> None:
    left, right = (a_trial(output={"metrics": {"latency_ms": time, "words": 2}}) for time in (1, 2))

    assert check([left], [right]).equivalent
    assert kinds(check([left], [right], ignore_timing_metrics=False)) == ["FinalState"]


def test_final_states_may_be_left_out() -> None:
    assert check([a_trial(output={"a": 1})], [a_trial(output={"a": 2})], final_state=False).equivalent


# -- the report ------------------------------------------------------------------------------------------------------


@pytest.mark.proves("bug-22")
def test_no_more_discrepancies_are_kept_than_asked_for_and_all_are_counted() -> None:
    names = [f"a/c{number:02}/0" for number in range(30)]
    left, right = ([a_trial(name, metrics={"tokens": n, "words": n}) for name in names] for n in (1, 2))

    report = check(left, right, max_discrepancies=5)

    assert len(report.discrepancies) == 5
    assert report.total == 60
    assert report.counts == {"Metric": 60}
    assert report.sentence() == "30 trials compared, 0 equal; 60 discrepancies: 60 Metric"


def test_the_report_says_how_long_both_took() -> None:
    report = check([a_trial(seconds=4.0)], [a_trial(seconds=2.0)])

    assert (report.left_seconds, report.right_seconds, report.speedup) == (4.0, 2.0, 2.0)
    assert check([a_trial()], [a_trial(seconds=0.0)]).speedup is None


def test_the_strict_comparison_forgives_no_number_and_the_lenient_one_some() -> None:
    left, right = a_trial(score=1.0), a_trial(score=0.96)

    assert ParityChecker(ParityConfig.lenient()).check([left], [right]).equivalent
    assert not ParityChecker(ParityConfig()).check([left], [right]).equivalent
    nearly = a_trial(score=0.9999999)
    assert not ParityChecker(ParityConfig.strict()).check([left], [nearly]).equivalent


def test_memory_does_not_grow_with_the_number_of_trials() -> None:
    few, many = _peak(300), _peak(3000)

    assert many < few + 20_000


def _peak(count: int) -> int:
    """The most memory that a comparison takes in which everything differs."""
    plain = a_trial()

    def trials(tokens: int) -> Iterator[AttemptResult]:
        for number in range(count):
            yield replace(plain, repeat=number, metrics={"tokens": tokens})

    tracemalloc.start()
    try:
        report = check(trials(1), trials(2), max_discrepancies=20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.total == count
    return peak
