"""Looking at a comparison while it runs: what each look sees, and when there is nothing more to look for."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.judge import check
from batchyard.judge.cases import CaseTable
from batchyard.judge.sequential import FEWEST_GROUPS, Look, Looks
from batchyard.model.outcome import GateOutcome, Outcome
from batchyard.model.spec_evaluation import Baseline, Gate, Sequential
from batchyard.model.trial import Case
from judge_builders import a_result, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from batchyard.judge import Check
    from batchyard.model.trial import AttemptResult

NAMES = ("base", "new")


def a_baseline(margin: float = 0.02, futility: float = 0.1, seed: int = 0) -> Baseline:
    return Baseline(combination="base", max_regression=margin, sequential=Sequential(futility=futility, seed=seed))


def some_cases(number: int, group: int = 1) -> list[Case]:
    return [Case(f"c{index}", {}, group=f"g{index // group}" if group > 1 else "") for index in range(number)]


def looks(
    cases: Sequence[Case], names: Iterable[str] = NAMES, *, margin: float = 0.02, futility: float = 0.1, seed: int = 0
) -> Looks:
    return Looks(a_baseline(margin, futility, seed), cases, names)


def settle(table: CaseTable, case: Case, base: float, *others: float) -> None:
    """Settle one trial of each combination of a case with these scores."""
    for name, score in zip(("base", "new", "other"), (base, *others), strict=False):
        table.count(name, case.name, Outcome.PASSED if score >= 0.5 else Outcome.FAILED, score)


def run_until_it_ends(
    cases: Sequence[Case],
    score: Callable[[Case], tuple[float, ...]],
    names: Sequence[str] = NAMES,
    *,
    margin: float = 0.02,
    futility: float = 0.1,
) -> Look:
    """Settle case by case in the order that is wanted, as far as a look ends it."""
    made, table = looks(cases, names, margin=margin, futility=futility), CaseTable(cases, len(names))
    look = None
    for index in made.order:
        settle(table, cases[index], *score(cases[index]))
        look = made.go_on(table)
        if look is not None and look.ends:
            return look
    raise AssertionError(f"the last look ends it, and here is {look}")


def noisy(base: float, *others: float) -> Callable[[Case], tuple[float, ...]]:
    """Scores of these means, always the same for a case."""

    def score(case: Case) -> tuple[float, ...]:
        luck = random.Random(case.name)  # noqa: S311
        return tuple(min(1.0, max(0.0, mean + luck.uniform(-0.1, 0.1))) for mean in (base, *others))

    return score


def results_of(cases: Sequence[Case], score: Callable[[Case], tuple[float, ...]]) -> list[AttemptResult]:
    """Return a result of each combination for each case."""
    made = []
    for case in cases:
        for name, value in zip(NAMES, score(case), strict=True):
            outcome = Outcome.PASSED if value >= 0.5 else Outcome.FAILED
            made.append(replace(a_result(name, outcome, score=value), case=case.name))
    return made


def judged(results: Sequence[AttemptResult], cases: Sequence[Case], baseline: Baseline) -> Check:
    """Return the check that the gate makes of these results."""
    table = CaseTable(cases, 2)
    for result in results:
        table.add(result)
    (made,) = check(compare(results, [*NAMES]), Gate(baseline=baseline), table).checks
    return made


def test_what_is_clearly_worse_fails_at_the_first_look() -> None:
    look = run_until_it_ends(some_cases(500), noisy(0.8, 0.5))

    assert (look.number, look.of, look.shown.outcome) == (1, 10, GateOutcome.FAILED)
    assert look.shown.difference is not None
    assert look.shown.difference.cases == 50
    assert (look.shown.difference.look, look.shown.difference.looks) == (1, 10)
    assert str(look) == "look 1 of 10: Failed"


def test_what_is_clearly_no_worse_passes_at_the_first_look() -> None:
    look = run_until_it_ends(some_cases(500), noisy(0.7, 0.7), margin=0.1)

    assert (look.number, look.shown.outcome) == (1, GateOutcome.PASSED)


def test_what_the_rest_is_unlikely_to_show_ends_open() -> None:
    look = run_until_it_ends(some_cases(1000), noisy(0.7, 0.7), margin=0.0)

    assert look.number < 10
    assert (look.shown.outcome, look.futile) == (GateOutcome.INCONCLUSIVE, True)
    assert "the rest of the cases was unlikely to show it" in look.shown.text("the baseline")


def test_without_futility_it_goes_on_to_the_last_case() -> None:
    look = run_until_it_ends(some_cases(1000), noisy(0.7, 0.7), margin=0.0, futility=0)

    assert (look.number, look.futile) == (10, False)


def test_the_bounds_of_an_early_look_are_wider_than_those_of_a_single_one() -> None:
    cases = some_cases(100)
    look = run_until_it_ends(cases, noisy(0.8, 0.6))
    whole = judged(results_of(cases, noisy(0.8, 0.6)), cases, Baseline(combination="base"))

    early, once = look.shown.difference, whole.difference
    assert early is not None
    assert once is not None
    assert early.high - early.low > 1.5 * (once.high - once.low)


def test_the_order_is_random_and_always_the_same() -> None:
    cases = some_cases(50)

    assert looks(cases).order == looks(cases).order
    assert looks(cases).order != tuple(range(50))
    assert looks(cases, seed=1).order != looks(cases).order
    assert sorted(looks(cases).order) == list(range(50))


def test_a_case_keeps_its_place_beside_the_others_when_cases_are_added() -> None:
    few, many = some_cases(20), some_cases(60)

    kept = [index for index in looks(many).order if index < 20]

    assert tuple(kept) == looks(few).order


def test_the_cases_of_a_group_stay_together() -> None:
    cases = some_cases(60, group=3)

    groups = [cases[index].group for index in looks(cases).order]

    assert len([1 for here, there in pairwise(groups) if here != there]) == 19


def test_a_case_that_counts_nothing_comes_last() -> None:
    cases = [Case("idle", {}, weight=0.0), *some_cases(40)]

    assert looks(cases).order[-1] == 0


@pytest.mark.parametrize("number", [1, FEWEST_GROUPS - 1])
def test_few_cases_are_looked_at_once(number: int) -> None:
    look = run_until_it_ends(some_cases(number), noisy(0.9, 0.1))

    assert (look.number, look.of) == (1, 1)


def test_no_look_is_due_before_every_trial_of_its_cases_is_settled() -> None:
    cases = some_cases(100)
    made, table = looks(cases), CaseTable(cases, 2)
    first, *rest = made.order
    for index in rest:
        settle(table, cases[index], 0.9, 0.1)
    table.count("base", cases[first].name, Outcome.PASSED, 0.9)
    table.count("new", cases[first].name, Outcome.CANCELLED, None)

    assert made.go_on(table) is None


def test_of_several_that_might_be_the_best_more_is_asked() -> None:
    names = ("base", "new", "other")
    one = run_until_it_ends(some_cases(200), noisy(0.70, 0.71), futility=0)
    two = run_until_it_ends(some_cases(200), noisy(0.70, 0.71, 0.3), names, futility=0)

    assert (one.shown.outcome, two.shown.outcome) == (GateOutcome.PASSED, GateOutcome.PASSED)
    assert two.number >= one.number
    assert two.shown.compared == 2


def test_the_lower_bound_is_as_sure_as_the_claim_it_is_shown_with() -> None:
    names = ("base", "new", "other")
    looks = [run_until_it_ends(some_cases(200), noisy(0.70, 0.71, other), names, futility=0) for other in (0.3, 0.7)]

    for look in looks:
        assert look.shown.difference is not None
        assert (look.shown.difference.low >= -look.shown.margin) is (look.shown.outcome is GateOutcome.PASSED)


@settings(max_examples=25)
@given(st.randoms(use_true_random=False), st.sampled_from([0.5, 0.7, 0.72, 0.9]), st.integers(0, 40))
def test_whatever_comes_when_and_whatever_else_was_run_the_end_is_the_same(
    luck: random.Random, new: float, more: int
) -> None:
    cases, score = some_cases(120), noisy(0.7, new)
    expected = run_until_it_ends(cases, score)
    made = looks(cases)
    seen = expected.shown.difference
    assert seen is not None
    # Trials end in any order, and some beyond the look were running when it was due.
    ended = [*made.order[: seen.cases + more]]
    luck.shuffle(ended)
    table = CaseTable(cases, 2)

    for index in ended:
        settle(table, cases[index], *score(cases[index]))
        made.go_on(table)
    again = looks(cases).go_on(table)

    assert made.go_on(table) == again == expected


def test_a_gate_that_was_cut_short_before_the_first_look_stays_open() -> None:
    cases = some_cases(100)

    made = judged(results_of(cases[:1], noisy(0.9, 0.7)), cases, a_baseline())

    assert made.outcome is GateOutcome.INCONCLUSIVE
    assert "ended before the first look" in made.message


def test_a_gate_says_which_look_it_goes_by() -> None:
    cases = some_cases(200)

    made = judged(results_of(cases, noisy(0.8, 0.6)), cases, a_baseline())

    assert made.outcome is GateOutcome.FAILED
    assert " of 'new', by all trials that ran, is more than 0.02 below the " in made.message
    assert made.message.endswith("over 40 cases; look 1 of 9)")
    difference = made.to_json()["difference"]
    assert isinstance(difference, dict)
    assert (difference["look"], difference["looks"]) == (1, 9)


def test_a_look_at_cases_that_were_lost_with_their_place_shows_nothing() -> None:
    cases = some_cases(100)
    made, table = looks(cases), CaseTable(cases, 2)
    for position, index in enumerate(made.order):
        lost = position % 10 == 0
        table.count("base", cases[index].name, Outcome.PASSED, 0.9)
        table.count("new", cases[index].name, Outcome.ERRORED if lost else Outcome.PASSED, None if lost else 0.6)

    look = made.go_on(table)

    assert look is not None
    assert (look.number, look.shown.outcome) == (look.of, GateOutcome.INCONCLUSIVE)
    assert "lost its trials of 10 of 100 cases" in look.shown.text("the baseline")


def test_a_gate_that_looks_once_has_no_looks() -> None:
    with pytest.raises(ValueError, match="looked at once"):
        Looks(Baseline(combination="base"), some_cases(3), NAMES)
