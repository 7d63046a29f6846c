"""The engine's weighing, its verdict on one run, and what it makes of evaluators that fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from batchyard.judge import (
    ConfiguredEvaluator,
    EvaluationEngine,
    Judged,
    Judgement,
    Observed,
    Registry,
    UnknownEvaluator,
    built_in,
)
from batchyard.model.outcome import Reason
from judge_builders import an_observation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.judge.registry import Maker
    from batchyard.model.trial import JSON


@dataclass
class Says:
    """An evaluator that says what it was told to say, and keeps what it was shown."""

    score: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    shown: list[Observed] = field(default_factory=list)

    def evaluate(self, observed: Observed) -> Judgement:
        self.shown.append(observed)
        return Judgement(self.score, self.metrics)


class Raises:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def evaluate(self, observed: Observed) -> Judgement:
        raise self._error


def judge(
    *evaluators: tuple[Says | Raises, float], threshold: float = 0.5, metrics: Mapping[str, float] | None = None
) -> Judged:
    registry = Registry()
    entries = []
    for number, (evaluator, weight) in enumerate(evaluators):
        registry.register(f"e{number}", _always(evaluator))
        entries.append(ConfiguredEvaluator(f"e{number}", weight))
    engine = EvaluationEngine(entries, threshold, registry=registry)
    return engine.judge(an_observation({"answer": 1}, metrics=metrics))


def _always(evaluator: Says | Raises) -> Maker:
    return lambda config, resolve: evaluator


def judge_callable(answer: JSON) -> Judged:
    entries = [ConfiguredEvaluator("callable", 1.0, {"function": "scoring:score"})]
    engine = EvaluationEngine(entries, 0.5, resolve=lambda _: lambda output, expected: answer)
    return engine.judge(an_observation())


@pytest.mark.proves("evaluation-engine")
def test_the_score_is_the_weighted_mean() -> None:
    judged = judge((Says(1.0), 3), (Says(0.0), 1))

    assert (judged.score, judged.passed, judged.reason, judged.message) == (0.75, True, Reason.NONE, "")


def test_an_evaluator_with_nothing_to_say_does_not_count() -> None:
    judged = judge((Says(0.8), 1), (Says(None), 100))

    assert (judged.score, judged.passed) == (0.8, True)


def test_weights_count_as_they_are_written() -> None:
    # In doubles, (0.3 + 0.6) / (0.3 + 0.6 + 0.1) and many like it miss their decimal result.
    judged = judge((Says(1.0), 0.1), (Says(1.0), 0.2), (Says(0.0), 0.7), threshold=0.3)

    assert (judged.score, judged.passed) == (0.3, True)


def test_a_score_at_the_threshold_passes_and_one_below_does_not() -> None:
    at, below = judge((Says(0.7), 0.1), (Says(0.7), 0.3), threshold=0.7), judge((Says(0.69), 1), threshold=0.7)

    assert (at.passed, below.passed) == (True, False)


def test_a_run_below_the_threshold_says_by_whose_scores() -> None:
    judged = judge((Says(0.0), 1), (Says(0.5), 1))

    assert judged.reason is Reason.BELOW_THRESHOLD
    assert judged.message == "score 0.25 is below passThreshold 0.5 (e0 0, e1 0.5)"


def test_a_run_without_evaluators_passes_without_a_score() -> None:
    judged = judge()

    assert judged == Judged(None, True, (), {}, "no score", Reason.NONE)


def test_a_run_on_which_no_evaluator_has_anything_to_say_has_no_score() -> None:
    judged = judge((Says(None), 1))

    assert (judged.score, judged.passed, judged.message) == (None, True, "no score")


def test_an_evaluator_of_no_weight_is_shown_and_does_not_count() -> None:
    judged = judge((Says(0.0), 0), (Says(1.0), 1))

    assert judged.score == 1.0
    assert [given.score for given in judged.scores] == [0.0, 1.0]


def test_weights_of_zero_throughout_give_no_score() -> None:
    assert judge((Says(1.0), 0)).score is None


@pytest.mark.parametrize(
    ("score", "error"),
    [
        (float("nan"), "its score is nan, not a finite number"),
        (float("inf"), "its score is inf, not a finite number"),
        (-0.1, "its score -0.1 is outside 0..1"),
        (1.1, "its score 1.1 is outside 0..1"),
        ("1", "its score is a str, not a number"),
    ],
)
def test_a_score_that_is_none_is_recorded_and_fails_the_run(score: float, error: str) -> None:
    judged = judge((Says(1.0), 1), (Says(score), 1))

    assert (judged.scores[1].score, judged.scores[1].error) == (None, error)
    assert (judged.passed, judged.score, judged.reason) == (False, 1.0, Reason.EVALUATION_FAILED)
    assert judged.message == f"e1: {error}"


@pytest.mark.proves("bug-23")
def test_a_metric_that_is_not_finite_is_recorded_and_fails_the_run() -> None:
    judged = judge((Says(1.0, {"words": float("nan")}), 1))

    assert judged.scores[0].error == "its metric 'words' is nan, not a finite number"
    assert (judged.metrics, judged.passed) == ({}, False)


@pytest.mark.proves("bug-23")
def test_an_exception_is_recorded_with_its_place_and_fails_the_run() -> None:
    judged = judge((Raises(ZeroDivisionError("division by zero")), 1), (Says(1.0), 1))

    assert judged.scores[0].error.startswith("ZeroDivisionError: division by zero (test_evaluation_engine.py:")
    assert (judged.scores[0].score, judged.passed, judged.reason) == (None, False, Reason.EVALUATION_FAILED)


def test_a_long_exception_is_cut() -> None:
    judged = judge((Raises(ValueError("x" * 10_000)), 1))

    assert len(judged.scores[0].error) == 500


def test_an_order_to_stop_is_not_taken_for_a_failing_evaluator() -> None:
    with pytest.raises(KeyboardInterrupt):
        judge((Raises(KeyboardInterrupt()), 1))


def test_a_missing_metric_fails_the_run_and_is_not_a_score_of_zero() -> None:
    entries = [ConfiguredEvaluator("metric", 1.0, {"name": "tokens", "max": 100})]

    judged = EvaluationEngine(entries, 0.0).judge(an_observation())

    assert (judged.score, judged.passed) == (None, False)
    assert judged.message == "metric: the trial has no metric 'tokens'; it has: none"


@pytest.mark.parametrize(("answer", "score"), [(True, 1.0), (False, 0.0), (1, 1.0), ({"score": 0.25}, 0.25)])
def test_what_a_callable_returns_becomes_its_score(answer: JSON, score: float) -> None:
    assert judge_callable(answer).score == score


@pytest.mark.parametrize("answer", [float("nan"), 7, "good", None, {"score": float("inf")}])
def test_what_a_callable_may_not_return_is_recorded(answer: JSON) -> None:
    judged = judge_callable(answer)

    assert (judged.score, judged.reason) == (None, Reason.EVALUATION_FAILED)
    assert judged.scores[0].error


def test_an_evaluator_sees_what_those_before_it_measured() -> None:
    second = Says(1.0)

    judged = judge((Says(1.0, {"words": 3}), 1), (second, 1), metrics={"tokens": 9})

    assert second.shown[0].metrics == {"tokens": 9, "words": 3}
    assert judged.metrics == {"words": 3.0}


def test_the_spec_of_the_contract_is_what_the_engine_takes() -> None:
    entry: dict[str, JSON] = {"name": "exactMatch", "weight": 1, "config": {"field": "topic"}}

    judged = EvaluationEngine([ConfiguredEvaluator(**entry)], 0.5).judge(
        an_observation({"topic": "with"}, expected={"topic": "with"})
    )

    assert judged.score == 1.0


def test_a_function_that_cannot_be_imported_is_told_before_anything_runs() -> None:
    def resolve(path: str) -> object:
        raise ModuleNotFoundError(path)

    entries = [ConfiguredEvaluator("callable", 1.0, {"function": "scoring:score"})]

    with pytest.raises(ModuleNotFoundError, match="scoring:score"):
        EvaluationEngine(entries, 0.5, resolve=resolve)  # type: ignore[arg-type]


@pytest.mark.proves("evaluation-engine")
def test_an_unknown_evaluator_is_told_before_anything_runs() -> None:
    with pytest.raises(UnknownEvaluator, match="unknown evaluator 'exact'"):
        EvaluationEngine([ConfiguredEvaluator("exact")], 0.5)


def test_an_evaluator_of_ones_own_stands_beside_the_built_in_ones() -> None:
    registry = built_in()
    registry.register("mine", lambda config, resolve: Says(float(config["says"])))
    entries = [ConfiguredEvaluator("mine", 1.0, {"says": 0.5}), ConfiguredEvaluator("exactMatch")]

    judged = EvaluationEngine(entries, 0.5, registry=registry).judge(an_observation({"n": 1}, expected={"n": 1}))

    assert judged.score == 0.75
