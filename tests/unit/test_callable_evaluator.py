"""The callable evaluator: what a user's function is given, what it may return, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.judge import Judgement, Observed, built_in
from batchyard.judge.callables import CallableInvalid
from judge_builders import an_observation

if TYPE_CHECKING:
    from batchyard.judge.observation import Function
    from batchyard.model.trial import JSON


def call(function: Function, observed: Observed | None = None) -> Judgement:
    evaluator = built_in().get("callable")({"function": "scoring:score"}, lambda _: function)
    return evaluator.evaluate(observed or an_observation({"answer": "yes"}, expected={"answer": "yes"}))


def test_a_callable_of_two_parameters_is_given_output_and_expected() -> None:
    judgement = call(lambda output, expected: output == expected)

    assert judgement == Judgement(1.0)


def test_a_callable_of_three_parameters_is_given_the_context_too() -> None:
    def score(output: JSON, expected: JSON, context: Observed) -> float:
        return 0.25 if context.case == "case-1" and context.variants == {"reader": "best"} else 0.0

    assert call(score).score == 0.25


def test_a_third_parameter_with_a_default_is_left_alone_unless_it_is_the_context() -> None:
    def strict(output: JSON, expected: JSON, strict: bool = True) -> bool:
        return strict is True

    def contextual(output: JSON, expected: JSON, context: Observed | None = None) -> bool:
        return context is not None

    assert (call(strict).score, call(contextual).score) == (1.0, 1.0)


def test_a_callable_may_return_a_score_with_metrics() -> None:
    judgement = call(lambda output, expected: {"score": 0.5, "metrics": {"words": 3}})

    assert judgement == Judgement(0.5, {"words": 3})


def test_a_callable_may_measure_without_scoring() -> None:
    judgement = call(lambda output, expected: {"score": None, "metrics": {"words": 3}})

    assert judgement.score is None


@pytest.mark.parametrize("answer", [None, "0.5", [1], {"points": 1}, {"score": 1, "metrics": [1]}, {"score": "1"}, 1j])
def test_a_callable_that_returns_no_number_is_told_what_to_return(answer: object) -> None:
    with pytest.raises(TypeError, match="scoring:score returned"):
        call(lambda output, expected: answer)


def test_a_callable_cannot_change_what_was_observed() -> None:
    observed = an_observation({"docs": ["a"]}, expected={"docs": ["a"]})

    def vandal(output: dict[str, list[str]], expected: JSON, context: Observed) -> bool:
        output["docs"].clear()
        expected.clear()
        return True

    call(vandal, observed)

    assert (observed.output, observed.expected) == ({"docs": ["a"]}, {"docs": ["a"]})


def test_a_callable_with_other_parameters_is_refused_before_anything_runs() -> None:
    with pytest.raises(CallableInvalid, match=r"scoring:score\(output\): must accept \(output, expected\)"):
        call(lambda output: 1.0)


def test_an_async_callable_is_refused_before_anything_runs() -> None:
    async def score(output: JSON, expected: JSON) -> float:
        return 1.0

    with pytest.raises(CallableInvalid, match="is async"):
        call(score)


def test_a_callable_that_is_no_function_is_refused() -> None:
    evaluators = built_in()

    with pytest.raises(CallableInvalid, match="is a number, not a function"):
        evaluators.get("callable")({"function": "scoring:LIMIT"}, lambda _: 3)  # type: ignore[arg-type, return-value]


def test_a_callable_where_user_code_is_barred_is_refused() -> None:
    with pytest.raises(CallableInvalid, match="cannot be imported here"):
        built_in().get("callable")({"function": "scoring:score"}, None)


def test_a_function_that_hides_its_parameters_is_called_with_two() -> None:
    # type() has no signature to inspect; it complains about just these two arguments.
    with pytest.raises(TypeError, match="takes 1 or 3 arguments"):
        call(type)
