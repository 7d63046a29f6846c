"""A session that is interrupted or dies, and the one that goes on: nothing lost, nothing run twice."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.model.errors import StaleSession
from batchyard.model.events import EventType
from batchyard.model.outcome import Outcome, Phase, Reason, Verdict
from batchyard.testing.fake_runner import ended
from session_bench import BATCH, SessionBench, loaded

if TYPE_CHECKING:
    from batchyard.engine.attempts import Ended, Order
    from batchyard.testing.fake_runner import Answer


class Killed(BaseException):
    """The whole process is gone."""


def interrupting_at(bench: SessionBench, ordinal: int) -> Answer:
    """Pass, but have the session interrupted while this trial runs, which then never ends by itself."""

    def answer(order: Order) -> Ended | None:
        if order.ordinal == ordinal:
            bench.session.interrupt()
            return None
        return ended(order, bench.clock)

    return answer


@pytest.mark.proves("bug-07")
def test_an_interrupted_session_keeps_what_is_finished_and_leaves_the_rest_open() -> None:
    bench = SessionBench(loaded(5))
    session = bench.open()
    bench.runner.answer = interrupting_at(bench, 2)

    finished = session.run()

    assert (finished.verdict, finished.reason) == (None, Reason.INTERRUPTED)
    assert bench.outcomes == {Outcome.PASSED: 2}
    assert (bench.record.phase, bench.record.reason) == (Phase.RUNNING, "Interrupted")
    assert bench.record.completed_at is None
    assert bench.store.live_owner(BATCH) is None
    assert bench.audited()[-1] == "BatchInterrupted"


def test_the_session_that_resumes_runs_only_what_is_open_and_attempt_numbers_rise() -> None:
    bench = SessionBench(loaded(5))
    session = bench.open()
    bench.runner.answer = interrupting_at(bench, 2)
    session.run()

    finished = bench.run()

    assert finished.verdict is Verdict.SUCCEEDED
    assert [(order.ordinal, order.attempt, order.epoch) for order in bench.runner.submitted] == [
        (2, 2, 2),
        (3, 1, 2),
        (4, 1, 2),
    ]
    assert bench.attempts[2:4] == [(2, 1, Outcome.CANCELLED), (2, 2, Outcome.PASSED)]
    assert bench.outcomes == {Outcome.PASSED: 5}
    assert bench.audited().count("BatchResumed") == 1


def test_a_trial_that_completes_while_the_session_is_interrupted_is_not_run_again() -> None:
    bench = SessionBench(loaded(3))
    session = bench.open()

    def answer(order: Order) -> Ended:
        session.interrupt()
        return ended(order, bench.clock)

    bench.runner.answer = answer
    session.run()

    bench.run()

    assert [order.ordinal for order in bench.runner.submitted] == [1, 2]


def test_a_broken_attempt_of_an_interrupted_session_still_has_its_retry() -> None:
    bench = SessionBench(loaded(1))
    session = bench.open()

    def answer(order: Order) -> Ended | None:
        session.interrupt()
        return ended(order, bench.clock, Outcome.ERRORED) if bench.runner.stops else None

    bench.runner.answer = answer
    session.run()

    finished = bench.run()

    assert finished.verdict is Verdict.SUCCEEDED
    assert bench.attempts == [(0, 1, Outcome.ERRORED), (0, 2, Outcome.PASSED)]
    assert bench.record.status["trials"]["retried"] == 1


def test_a_retry_that_was_still_waiting_is_made_by_the_next_session() -> None:
    bench = SessionBench(loaded(1))
    session = bench.open(lambda order: ended(order, bench.clock, Outcome.ERRORED))

    def stop_waiting(_event: object) -> None:
        session.interrupt()

    bench.bus.subscribe(stop_waiting, [EventType.TRIAL_RETRIED])
    assert session.run().verdict is None

    finished = bench.run()

    assert finished.verdict is Verdict.SUCCEEDED
    assert bench.attempts == [(0, 1, Outcome.ERRORED), (0, 2, Outcome.PASSED)]


def test_a_batch_resumed_after_its_deadline_runs_nothing_and_fails() -> None:
    bench = SessionBench(loaded(4))
    session = bench.open()
    bench.runner.answer = interrupting_at(bench, 2)
    session.run()
    bench.clock.advance(3600)

    finished = bench.run()

    assert (finished.verdict, finished.reason) == (Verdict.FAILED, Reason.BATCH_DEADLINE_EXCEEDED)
    assert bench.runner.submitted == []
    assert bench.outcomes == {Outcome.PASSED: 2, Outcome.NOT_RUN: 2}


def test_a_batch_whose_trials_were_all_over_in_time_succeeds_whenever_it_is_concluded() -> None:
    bench = SessionBench(loaded(2))

    def die_after_the_last_result() -> None:
        if len(bench.finals) == 2:
            raise Killed

    with pytest.raises(Killed):
        bench.open(on_commit=die_after_the_last_result).run()
    bench.clock.advance(10_000)

    finished = bench.run()

    assert finished.verdict is Verdict.SUCCEEDED
    assert bench.runner.submitted == []


def test_counts_and_comparison_include_what_earlier_sessions_finished() -> None:
    bench = SessionBench(loaded(4))
    session = bench.open()
    bench.runner.answer = interrupting_at(bench, 3)
    session.run()

    bench.run()

    trials = bench.record.status["trials"]
    assert (trials["passed"], trials["pending"], trials["running"]) == (4, 0, 0)
    assert bench.record.status["combinations"][0]["passed"] == 4


def test_the_deadline_is_decided_once_and_survives_sessions() -> None:
    bench = SessionBench(loaded(4))
    before = bench.record.deadline_at
    session = bench.open()
    bench.runner.answer = interrupting_at(bench, 1)
    session.run()
    bench.clock.advance(100)

    bench.run()

    assert bench.record.deadline_at == before


def course(order: Order, bench: SessionBench) -> Ended:
    """One fixed course of things: trial 1 needs a second try, trial 3 is wrong, trial 4 is too slow."""
    if order.ordinal == 1 and order.attempt == 1:
        return ended(order, bench.clock, Outcome.ERRORED)
    special = {3: Outcome.FAILED, 4: Outcome.TIMED_OUT}
    return ended(order, bench.clock, special.get(order.ordinal, Outcome.PASSED))


UNDISTURBED = {Outcome.PASSED: 5, Outcome.FAILED: 1, Outcome.TIMED_OUT: 1}


@settings(max_examples=60)
@given(st.lists(st.integers(1, 14), min_size=1, max_size=4))
def test_wherever_sessions_die_no_finished_trial_is_lost_or_run_twice(deaths: list[int]) -> None:
    bench = SessionBench(loaded(7, parallelism=2))
    finished_before: set[int] = set()
    for commits in deaths:
        left = commits

        def die() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed

        with contextlib.suppress(Killed):
            bench.open(lambda order: course(order, bench), on_commit=die).run()
        rerun = {order.ordinal for order in bench.runner.submitted} & finished_before
        assert rerun == set()
        finished_before = {result.ordinal for result in bench.finals}

    bench.run(lambda order: course(order, bench))

    assert bench.outcomes == UNDISTURBED
    assert finished_before.isdisjoint({order.ordinal for order in bench.runner.submitted})
    assert bench.record.status["trials"]["passed"] == 5
    assert bench.audited()[-1] == "BatchFinished"


def test_a_session_that_another_took_over_from_writes_nothing_more() -> None:
    bench = SessionBench(loaded(4))
    old = bench.open()
    bench.run()
    before = (bench.attempts, bench.record)

    with pytest.raises(StaleSession):
        old.run()

    assert (bench.attempts, bench.record) == before
