"""The gate case by case: it opens on what is shown, shuts on what is shown, and else stays open and says so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchyard.judge import Check, check
from batchyard.judge.cases import CaseTable
from batchyard.model.outcome import GateOutcome, Outcome
from batchyard.model.spec_evaluation import Baseline, Gate
from batchyard.model.trial import Case
from judge_builders import a_result, compare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchyard.model.trial import AttemptResult


def judged(
    scores: Mapping[str, Sequence[float | None]], *, margin: float = 0.02, groups: Sequence[str] = (), repeats: int = 1
) -> Check:
    """Return the check of a batch in which combination ``base`` is the baseline; None is a lost trial."""
    number = len(scores["base"])
    cases = [Case(f"c{index}", {}, group=groups[index] if groups else "") for index in range(number)]
    table, results = CaseTable(cases), []
    for name, given in scores.items():
        for index, score in enumerate(given):
            for repeat in range(repeats):
                made = a_case(name, f"c{index}", score, repeat)
                table.add(made)
                results.append(made)
    gate = Gate(baseline=Baseline(combination="base", max_regression=margin))
    (made_check,) = check(compare(results, [*scores]), gate, table).checks
    return made_check


def a_case(combination: str, case: str, score: float | None, repeat: int) -> AttemptResult:
    outcome = Outcome.ERRORED if score is None else Outcome.PASSED if score >= 0.5 else Outcome.FAILED
    return replace(a_result(combination, outcome, score=score), case=case, repeat=repeat)


def test_many_cases_that_are_alike_pass() -> None:
    made = judged({"base": [1.0] * 200, "new": [1.0] * 200})

    assert made.outcome is GateOutcome.PASSED
    assert made.difference is not None
    assert (made.difference.estimate, made.difference.cases) == (0.0, 200)
    assert -0.02 < made.difference.low < 0 < made.difference.high


def test_few_cases_that_are_alike_show_nothing() -> None:
    made = judged({"base": [1.0] * 10, "new": [1.0] * 10})

    assert (made.outcome, made.passed) == (GateOutcome.INCONCLUSIVE, False)
    assert "cases like these would show it" in made.message


def test_a_lucky_lead_does_not_pass() -> None:
    made = judged({"base": [1, 0, 1, 1, 0, 1], "new": [1, 1, 1, 1, 0, 1]})

    assert made.outcome is GateOutcome.INCONCLUSIVE
    assert "may or may not be more than 0.02 below" in made.message


@pytest.mark.parametrize(("base", "new", "margin"), [(0.9, 0.8, 0.1), (1.0, 0.9, 0.1), (1.0, 0.98, 0.02)])
def test_a_loss_of_just_what_is_allowed_in_every_case_leaves_it_open(base: float, new: float, margin: float) -> None:
    made = judged({"base": [base] * 5, "new": [new] * 5}, margin=margin)

    assert made.outcome is GateOutcome.INCONCLUSIVE


def test_a_clear_loss_fails() -> None:
    made = judged({"base": [1.0] * 40, "new": [1.0] * 20 + [0.0] * 20})

    assert made.outcome is GateOutcome.FAILED
    assert made.message.startswith("score 0.5 of 'new' is more than 0.02 below the 1 of baseline 'base', 95% sure")


def test_a_clear_lead_passes() -> None:
    made = judged({"base": [1.0] * 20 + [0.0] * 20, "new": [1.0] * 40}, margin=0.0)

    assert made.outcome is GateOutcome.PASSED
    assert made.difference is not None
    assert made.difference.cases_needed is None


def test_repeats_are_no_more_cases() -> None:
    scores = {"base": [1, 0, 1, 1, 0, 1], "new": [1, 1, 1, 1, 0, 1]}

    once, often = judged(scores), judged(scores, repeats=50)

    assert often.outcome is GateOutcome.INCONCLUSIVE
    assert once.difference is not None
    assert often.difference is not None
    assert often.difference.low == pytest.approx(once.difference.low)


def test_cases_of_one_group_are_one_witness() -> None:
    scores = {"base": [1.0] * 20 + [0.0] * 20, "new": [1.0] * 40}

    made = judged(scores, margin=0.0, groups=["one"] * 20 + ["two"] * 20)

    assert made.outcome is GateOutcome.INCONCLUSIVE
    assert "40 cases in 2 groups" in made.message


def test_the_best_of_many_has_to_show_more() -> None:
    scores: dict[str, Sequence[float]] = {"base": [0.0] * 4 + [1.0] * 16, "new": [1.0] * 20}
    alone = judged(scores, margin=0.0)

    among = judged({**scores, **{f"x{number}": [0.0] * 4 + [1.0] * 16 for number in range(20)}}, margin=0.0)

    assert (alone.outcome, among.outcome) == (GateOutcome.PASSED, GateOutcome.INCONCLUSIVE)
    assert alone.difference is not None
    assert among.difference is not None
    assert among.difference.p_value == pytest.approx(21 * alone.difference.p_value)
    assert "the best of 21" in among.message
    # What it gains at least is said of the best, whichever that is.
    assert among.difference.low < 0.0 < alone.difference.low
    assert among.difference.high == alone.difference.high


def test_a_case_that_one_side_lost_is_left_out_and_many_leave_the_gate_open() -> None:
    base = [1.0] * 100

    few = judged({"base": base, "new": [*[None] * 5, *[1.0] * 95]}, margin=0.1)
    many = judged({"base": base, "new": [*[None] * 6, *[1.0] * 94]}, margin=0.1)

    assert few.outcome is GateOutcome.PASSED
    assert few.difference is not None
    assert (few.difference.cases, few.difference.unpaired) == (95, 5)
    assert many.outcome is GateOutcome.INCONCLUSIVE
    assert "lost its trials of 6 of 100 cases" in many.message


def test_without_a_case_that_both_have_the_gate_stays_open() -> None:
    made = judged({"base": [1.0, None], "new": [None, 1.0]})

    assert (made.outcome, made.difference) == (GateOutcome.INCONCLUSIVE, None)
    assert "no case was judged for both" in made.message


def test_a_gate_with_a_confidence_is_never_decided_by_the_means_alone() -> None:
    comparison = compare([a_result("base", score=0.5), a_result("new", score=1.0)], ["base", "new"])

    with pytest.raises(ValueError, match="table of cases"):
        check(comparison, Gate(baseline=Baseline(combination="base")))
