"""What holds of every judgement: no order matters, no bound is left, no weight's unit counts, no failure wins."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from batchyard.judge import ConfiguredEvaluator, EvaluationEngine, check
from batchyard.judge.exact import ExactMean
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.spec_evaluation import Baseline, Gate
from judge_builders import a_result, an_observation, as_bytes, compare

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from batchyard.judge import Judged
    from batchyard.judge.observation import Function
    from batchyard.model.trial import AttemptResult

NAMES = ("a", "b", "c")
FINITE = st.floats(allow_nan=False, allow_infinity=False)
SCORES = st.floats(0, 1)
WEIGHTS = st.just(0.0) | st.floats(1e-6, 1_000_000)
REASONS = st.sampled_from([Reason.NONE, Reason.BELOW_THRESHOLD, Reason.EVALUATION_FAILED, Reason.NODE_RAISED])
RESULTS = st.builds(
    a_result,
    st.sampled_from(NAMES),
    st.sampled_from(Outcome),
    score=st.none() | SCORES,
    weight=WEIGHTS,
    seconds=st.floats(0, 1e6),
    metrics=st.dictionaries(st.sampled_from(["cost", "tokens"]), st.floats()),
    reason=REASONS,
)
BATCHES = st.lists(RESULTS, max_size=12)


def judge(answers: Sequence[tuple[object, float]]) -> Judged:
    """Judge a run by functions that return these answers, with these weights."""
    entries = [
        ConfiguredEvaluator("callable", weight, {"function": f"scoring:f{number}"})
        for number, (_, weight) in enumerate(answers)
    ]

    def resolve(path: str) -> Function:
        answer, _ = answers[int(path.removeprefix("scoring:f"))]
        return lambda output, expected: answer

    return EvaluationEngine(entries, 0.5, resolve=resolve).judge(an_observation())


@given(st.lists(st.tuples(FINITE, st.floats(0, 1e6)), min_size=1, max_size=20).filter(lambda v: any(w for _, w in v)))
def test_a_mean_is_the_exact_one_rounded_once(values: list[tuple[float, float]]) -> None:
    mean = ExactMean()
    for value, weight in values:
        mean.add(value, weight)

    total = sum((Fraction(value) * Fraction(weight) for value, weight in values), Fraction(0))
    assert mean.mean() == float(total / sum((Fraction(weight) for _, weight in values), Fraction(0)))


@given(BATCHES, st.randoms(use_true_random=False))
def test_the_order_of_the_results_changes_not_a_byte(results: list[AttemptResult], random: Random) -> None:
    shuffled = list(results)
    random.shuffle(shuffled)

    assert as_bytes(compare(shuffled, NAMES)) == as_bytes(compare(results, NAMES))


@given(BATCHES, st.permutations(NAMES))
def test_the_order_of_the_combinations_changes_not_a_byte(results: list[AttemptResult], names: list[str]) -> None:
    assert as_bytes(compare(results, names)) == as_bytes(compare(results, NAMES))


@given(BATCHES)
def test_scores_and_rates_stay_within_0_and_1_and_margins_are_leads(results: list[AttemptResult]) -> None:
    comparison = compare(results, NAMES)

    numbers = [value for row in comparison.rows for value in (row.score, row.success_rate) if value is not None]
    assert all(0 <= value <= 1 for value in numbers)
    assert comparison.best is None or comparison.best.margin is None or 0 <= comparison.best.margin <= 1


@given(BATCHES, st.integers(-20, 20))
def test_the_unit_of_the_case_weights_does_not_count(results: list[AttemptResult], power: int) -> None:
    # Powers of two: the only factors by which a double can be multiplied without rounding.
    scaled = [replace(result, weight=math.ldexp(result.weight, power)) for result in results]

    assert as_bytes(compare(scaled, NAMES)) == as_bytes(compare(results, NAMES))


@given(BATCHES)
def test_a_combination_that_passed_nothing_never_wins(results: list[AttemptResult]) -> None:
    comparison = compare(results, NAMES)

    rows = {row.name: row for row in comparison.rows}
    assert comparison.best is None or rows[comparison.best.combination].passed > 0


@given(
    st.lists(SCORES, min_size=1, max_size=5),
    st.lists(st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.PASSED]), max_size=5),
)
def test_a_failure_never_raises_a_score(scores: list[float], failures: list[Outcome]) -> None:
    passed = [a_result("a", score=score) for score in scores]
    failed = [a_result("a", outcome) for outcome in failures]

    without, with_failures = compare(passed, ["a"]).rows[0].score, compare(passed + failed, ["a"]).rows[0].score

    assert without is not None
    assert with_failures is not None
    assert with_failures <= without


@given(BATCHES, st.floats(0.001, 1e3))
def test_being_quicker_makes_nothing_best_in_a_batch_without_scores(
    results: list[AttemptResult], seconds: float
) -> None:
    unscored = [a_result(result.combination, result.outcome) for result in results]
    quicker = [
        a_result(result.combination, result.outcome, seconds=seconds / ord(result.combination)) for result in results
    ]

    assert compare(quicker, NAMES).best == compare(unscored, NAMES).best


@given(st.lists(st.tuples(SCORES, WEIGHTS), min_size=1, max_size=6))
def test_a_run_s_score_lies_between_its_evaluators_and_does_not_depend_on_their_order(
    answers: list[tuple[float, float]],
) -> None:
    judged, reverse = judge(answers), judge(answers[::-1])

    counted = [score for score, weight in answers if weight]
    assert judged.score == reverse.score
    assert (judged.score is None) is (not counted)
    assert judged.score is None or min(counted) <= judged.score <= max(counted)


@given(st.lists(st.tuples(SCORES, st.integers(1, 1000)), min_size=1, max_size=6), st.integers(1, 1000))
def test_the_unit_of_the_evaluators_weights_does_not_count(answers: list[tuple[float, int]], factor: int) -> None:
    scaled = [(score, weight * factor) for score, weight in answers]

    assert judge(scaled).score == judge(answers).score


@given(st.lists(st.tuples(st.floats() | st.none() | st.text() | st.booleans(), WEIGHTS), max_size=5))
def test_whatever_evaluators_answer_a_score_is_within_0_and_1_or_absent(answers: list[tuple[object, float]]) -> None:
    judged = judge(answers)

    assert judged.score is None or 0 <= judged.score <= 1
    assert judged.passed is (judged.reason is Reason.NONE)
    assert all((given.score is None) or not given.error for given in judged.scores)


@given(BATCHES, SCORES, SCORES)
def test_a_gate_opens_only_on_numbers_that_reach_it(
    results: list[AttemptResult], minimum: float, regression: float
) -> None:
    baseline = Baseline(combination="a", max_regression=regression, confidence=None)
    gate = Gate(min_score=minimum, min_success_rate=minimum, baseline=baseline)

    result = check(compare(results, NAMES), gate)

    assert len(result.checks) == 3
    for made in result.checks:
        reached = made.actual is not None and made.threshold is not None and made.actual >= made.threshold
        assert made.passed is reached
