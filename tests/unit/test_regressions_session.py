"""Faults once found in sessions: each test failed before its fault was mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.decide.finish import EXIT_BATCH_DEADLINE, EXIT_FAILED, EXIT_PLACE_FAILED, exit_code
from batchyard.engine.ports import Owner
from batchyard.model.errors import StaleSession
from batchyard.model.outcome import Outcome, Phase, Reason, Verdict
from batchyard.store.faults import StoreBusy
from batchyard.testing.fake_runner import ended
from batchyard.testing.fake_store import FakeStore
from session_bench import BATCH, SessionBench, loaded

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from batchyard.engine.attempts import Ended, Order
    from batchyard.engine.ports import Session
    from batchyard.engine.session import Finished
    from batchyard.model.errors import StoreError
    from batchyard.testing.fake_runner import Answer


class Killed(BaseException):
    """The whole process is gone."""


def ending(bench: SessionBench, **outcomes: Outcome) -> Answer:
    """Let the trials of these cases (``case_0`` and so on) end like this, and all others pass."""

    def answer(order: Order) -> Ended:
        return ended(order, bench.clock, outcomes.get(order.case.replace("-", "_"), Outcome.PASSED))

    return answer


def run_until_killed(bench: SessionBench, answer: Answer, when: Callable[[], bool]) -> None:
    """Run a session that is killed right after the first commit at which ``when`` holds."""

    def look() -> None:
        if when():
            raise Killed

    with pytest.raises(Killed):
        bench.open(answer, on_commit=look).run()


def has(bench: SessionBench, outcome: Outcome) -> Callable[[], bool]:
    """Return what tells whether a trial has ended like this."""
    return lambda: any(result.outcome is outcome for result in bench.finals)


def ended_as(finished: Finished) -> tuple[Verdict | None, str]:
    return finished.verdict, finished.reason


# -- failFast over sessions --------------------------------------------------------------------------------------------

FAILED_FAST = (Verdict.FAILED, Reason.FAIL_FAST)


def test_a_session_killed_while_it_failed_fast_is_resumed_to_the_same_verdict() -> None:
    bench = SessionBench(loaded(4, failFast=True))
    run_until_killed(bench, ending(bench, case_1=Outcome.FAILED), has(bench, Outcome.FAILED))

    finished = bench.run()

    assert ended_as(finished) == FAILED_FAST
    assert bench.runner.submitted == []
    assert bench.outcomes == {Outcome.PASSED: 1, Outcome.FAILED: 1, Outcome.NOT_RUN: 2}
    assert {result.reason for result in bench.finals if result.outcome is Outcome.NOT_RUN} == {"FailFast"}


def test_a_trial_that_fails_while_the_session_is_interrupted_ends_the_batch_when_it_is_resumed() -> None:
    bench = SessionBench(loaded(4, failFast=True))
    session = bench.open(ending(bench, case_1=Outcome.FAILED))
    bench.runner.answer = interrupting(bench, session.interrupt, "case-1")
    assert session.run().verdict is None

    finished = bench.run()

    assert ended_as(finished) == FAILED_FAST
    assert bench.runner.submitted == []


def test_an_interruption_after_everything_else_does_not_hide_that_the_last_trial_failed_fast() -> None:
    bench = SessionBench(loaded(2, failFast=True))
    session = bench.open(ending(bench, case_1=Outcome.FAILED))
    bench.runner.answer = interrupting(bench, session.interrupt, "case-1")

    finished = session.run()

    assert ended_as(finished) == FAILED_FAST
    assert bench.record.phase is Phase.FAILED


def interrupting(bench: SessionBench, interrupt: Callable[[], None], case: str) -> Answer:
    """Answer as before, but have the session interrupted just before this case's answer."""
    before = bench.runner.answer

    def answer(order: Order) -> Ended | None:
        if order.case == case and not bench.runner.stops:
            interrupt()
            return None
        return before(order)

    return answer


# -- the batch's deadline over sessions --------------------------------------------------------------------------------


@pytest.mark.parametrize("fail_fast", [False, True])
def test_a_session_killed_after_the_batchs_deadline_ended_its_last_trial_is_resumed_to_the_same_verdict(
    fail_fast: bool,
) -> None:
    bench = SessionBench(loaded(2, failFast=fail_fast))

    def answer(order: Order) -> Ended:
        timed_out = order.ordinal == 1
        reason = Reason.BATCH_DEADLINE_EXCEEDED if timed_out else ""
        return ended(order, bench.clock, Outcome.TIMED_OUT if timed_out else Outcome.PASSED, reason=reason)

    run_until_killed(bench, answer, has(bench, Outcome.TIMED_OUT))

    finished = bench.run()

    assert ended_as(finished) == (Verdict.FAILED, Reason.BATCH_DEADLINE_EXCEEDED)
    assert exit_code(Verdict.FAILED, finished.reason) == EXIT_BATCH_DEADLINE


# -- interruptions and retries -----------------------------------------------------------------------------------------


def test_interruptions_use_up_no_retry() -> None:
    bench = SessionBench(loaded(1, retry={"maxAttempts": 2, "backoffSeconds": 1}))
    for _ in range(3):
        session = bench.open(lambda _order: None)
        bench.runner.answer = interrupting(bench, session.interrupt, "case-0")
        assert session.run().verdict is None

    finished = bench.run(
        lambda order: ended(order, bench.clock, Outcome.ERRORED if order.attempt < 5 else Outcome.PASSED)
    )

    assert finished.verdict is Verdict.SUCCEEDED
    assert [outcome for _, _, outcome in bench.attempts] == [
        Outcome.CANCELLED,
        Outcome.CANCELLED,
        Outcome.CANCELLED,
        Outcome.ERRORED,
        Outcome.PASSED,
    ]


def test_what_the_place_broke_in_an_earlier_session_does_use_up_a_retry() -> None:
    bench = SessionBench(loaded(1, retry={"maxAttempts": 2, "backoffSeconds": 1}))
    broken = ending(bench, case_0=Outcome.ERRORED)
    run_until_killed(bench, broken, lambda: bool(bench.attempts))

    finished = bench.run(broken)

    assert ended_as(finished) == (Verdict.FAILED, Reason.ALL_TRIALS_FAILED)
    assert bench.attempts == [(0, 1, Outcome.ERRORED), (0, 2, Outcome.ERRORED)]


# -- heartbeats --------------------------------------------------------------------------------------------------------


class DeafStore(FakeStore):
    """Raises the given errors from the next heartbeats, in turn."""

    def __init__(self, *errors: StoreError) -> None:
        super().__init__()
        self._errors = list(errors)

    def heartbeat(self, session: Session, now: datetime) -> None:
        if self._errors:
            raise self._errors.pop(0)
        super().heartbeat(session, now)


def test_a_heartbeat_that_cannot_be_written_ends_nothing_and_the_next_one_is_made() -> None:
    store = DeafStore(StoreBusy("the database is locked"), StoreBusy("the database is locked"))
    bench = SessionBench(loaded(30), store=store)

    finished = bench.run()

    assert finished.verdict is Verdict.SUCCEEDED
    assert store.heartbeats >= 3


def test_a_heartbeat_that_another_session_refuses_ends_this_one() -> None:
    bench = SessionBench(loaded(3), store=DeafStore(StaleSession("session 2 has the batch")))

    with pytest.raises(StaleSession):
        bench.run()

    assert bench.finals == []


# -- what the batch says of itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fail_fast", [False, True])
def test_a_batch_none_of_whose_trials_had_an_environment_says_so_and_tells_the_script(fail_fast: bool) -> None:
    bench = SessionBench(loaded(3, failFast=fail_fast))

    finished = bench.run(
        lambda order: ended(order, bench.clock, Outcome.ERRORED, reason=Reason.ENVIRONMENT_FAILED, message="no place")
    )

    assert ended_as(finished) == (Verdict.FAILED, Reason.ENVIRONMENT_FAILED)
    assert bench.record.reason == "EnvironmentFailed"
    assert exit_code(Verdict.FAILED, bench.record.reason) == EXIT_PLACE_FAILED


def test_one_trial_that_had_an_environment_makes_it_no_failure_of_the_environment() -> None:
    bench = SessionBench(loaded(3))

    def answer(order: Order) -> Ended:
        placed = order.ordinal == 1
        reason = "" if placed else Reason.ENVIRONMENT_FAILED
        return ended(order, bench.clock, Outcome.FAILED if placed else Outcome.ERRORED, reason=reason)

    finished = bench.run(answer)

    assert ended_as(finished) == (Verdict.FAILED, Reason.ALL_TRIALS_FAILED)
    assert exit_code(Verdict.FAILED, finished.reason) == EXIT_FAILED


def test_a_batch_whose_first_session_died_before_its_first_commit_has_a_start_time() -> None:
    bench = SessionBench(loaded(2))
    bench.store.open_session(BATCH, Owner("here", 1, "1"), bench.clock.now())
    bench.clock.advance(7)
    begun = bench.clock.now()

    bench.run()

    assert bench.record.epoch == 2
    assert bench.record.started_at == begun


def test_the_start_time_of_a_resumed_batch_stays_what_it_was() -> None:
    bench = SessionBench(loaded(2))
    begun = bench.clock.now()
    run_until_killed(bench, ending(bench), lambda: bool(bench.finals))
    bench.clock.advance(7)

    bench.run()

    assert bench.record.started_at == begun


def test_no_more_trials_are_said_to_run_than_may_run_at_once() -> None:
    bench = SessionBench(loaded(9, parallelism=2))
    running: list[int] = []

    bench.open(on_commit=lambda: running.append(bench.record.status["trials"]["running"]), seconds=3.0).run()

    assert max(running) == 2
    assert running[-1] == 0


def test_an_attempt_that_died_unrecorded_leaves_its_number_but_not_its_thread() -> None:
    bench = SessionBench(loaded(1))
    run_until_killed(bench, ending(bench), lambda: bench.record.started_at is not None)

    bench.run()

    assert bench.runner.submitted[0].thread_id == f"{BATCH}/left/case-0/0#1@2"
