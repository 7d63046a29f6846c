"""A batch with a budget: what all attempts used is added up, and when it is too much the rest is not run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batchyard.engine.attempts import Ended, Order, Used
from batchyard.model.outcome import Outcome, Reason, Verdict
from batchyard.model.usage import Usage
from batchyard.testing.fake_runner import ended
from session_bench import SessionBench, loaded

if TYPE_CHECKING:
    from collections.abc import Callable

EACH = 400.0


class Killed(BaseException):
    """The session's process is gone."""


def with_budget(cases: int = 4, tokens: int = 1000, **spec: Any) -> SessionBench:
    return SessionBench(loaded(cases, budgets={"batch": {"tokens": tokens}}, **spec))


def spending(
    bench: SessionBench, tokens: float = EACH, outcome: Outcome = Outcome.PASSED
) -> Callable[[Order], Ended | None]:
    return lambda order: ended(order, bench.clock, outcome, metrics={"tokens": tokens})


def test_a_batch_over_its_budget_leaves_the_rest_unrun() -> None:
    bench = with_budget(6)

    finished = bench.run(spending(bench))

    assert (finished.verdict, finished.reason) == (Verdict.FAILED, Reason.BATCH_BUDGET_EXCEEDED)
    assert bench.outcomes == {Outcome.PASSED: 3, Outcome.NOT_RUN: 3}
    assert {r.reason for r in bench.finals if r.outcome is Outcome.NOT_RUN} == {"BatchBudgetExceeded"}
    (told,) = [event for event in bench.events if event.type == "BudgetExceeded"]
    assert told.message == "the batch is over its budget: used 1,200 tokens of 1,000 allowed"
    assert told.details == {"scope": "batch", "kind": "tokens"}
    assert bench.audited().count("BudgetExceeded") == 1


def test_attempts_that_are_tried_again_cost_money_too() -> None:
    bench = with_budget(4)

    def answer(order: Order) -> Ended:
        outcome = Outcome.ERRORED if order.attempt == 1 else Outcome.PASSED
        return ended(order, bench.clock, outcome, metrics={"tokens": EACH})

    bench.run(answer)

    assert [(outcome, number) for _, number, outcome in bench.attempts if outcome is Outcome.ERRORED] == [
        (Outcome.ERRORED, 1)
    ] * 3
    assert bench.outcomes == {Outcome.NOT_RUN: 4}


def test_what_runs_counts_before_it_has_ended() -> None:
    bench = with_budget(3, parallelism=2)

    def answer(order: Order) -> Ended | None:
        if not bench.runner.stops and not bench.runner.extra:
            bench.runner.extra.append(Used(order, Usage(tokens=1001)))
        return None

    finished = bench.run(answer)

    assert finished.reason == Reason.BATCH_BUDGET_EXCEEDED
    assert bench.outcomes == {Outcome.CANCELLED: 2, Outcome.NOT_RUN: 1}


def test_a_batch_that_used_exactly_what_it_may_goes_on() -> None:
    bench = with_budget(2, tokens=800)

    assert bench.run(spending(bench)).verdict is Verdict.SUCCEEDED


def test_a_budget_that_runs_out_with_the_last_trial_cuts_nothing_short() -> None:
    bench = with_budget(3)

    finished = bench.run(spending(bench))

    assert (finished.verdict, finished.reason) == (Verdict.SUCCEEDED, Reason.NONE)
    assert bench.outcomes == {Outcome.PASSED: 3}


def test_trials_that_pass_after_the_stop_leave_the_verdict_to_the_results() -> None:
    bench = with_budget(2, parallelism=2)

    def answer(order: Order) -> Ended | None:
        if order.ordinal == 0:
            return ended(order, bench.clock, metrics={"tokens": 1001.0})
        return ended(order, bench.clock) if bench.runner.stops else None

    finished = bench.run(answer)

    assert bench.runner.stops[0].reason == Reason.BATCH_BUDGET_EXCEEDED
    assert finished.verdict is Verdict.SUCCEEDED


def test_what_earlier_sessions_used_is_counted_again_from_the_store() -> None:
    bench = with_budget(6)

    def interrupted(order: Order) -> Ended:
        if order.ordinal == 1:
            bench.session.interrupt()
        return ended(order, bench.clock, metrics={"tokens": EACH})

    bench.run(interrupted)
    finished = bench.run(spending(bench))

    assert finished.reason == Reason.BATCH_BUDGET_EXCEEDED
    assert bench.outcomes == {Outcome.PASSED: 3, Outcome.NOT_RUN: 3}


def test_a_session_that_resumes_a_batch_over_its_budget_begins_nothing() -> None:
    bench = with_budget(4)

    def die() -> None:
        if bench.finals:
            raise Killed

    with pytest.raises(Killed):
        bench.open(spending(bench, 1001.0), on_commit=die).run()
    finished = bench.run(spending(bench))

    assert finished.reason == Reason.BATCH_BUDGET_EXCEEDED
    assert bench.runner.submitted == []
    assert bench.outcomes == {Outcome.PASSED: 1, Outcome.NOT_RUN: 3}


def test_a_batch_without_a_budget_ends_for_none() -> None:
    bench = SessionBench(loaded(3, budgets={"trial": {"tokens": 5}}))

    assert bench.run(spending(bench, 1e9)).verdict is Verdict.SUCCEEDED
