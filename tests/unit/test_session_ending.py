"""How a session ends early, and what is heard and kept besides results."""

from __future__ import annotations

import json

import pytest

from batchyard.engine.attempts import Ended, Order
from batchyard.engine.ports import Owner
from batchyard.model.errors import StaleSession, StoreError
from batchyard.model.events import EventType
from batchyard.model.outcome import Outcome, Reason, Verdict
from batchyard.model.trial import EvaluatorScore, NodeBoundary
from batchyard.testing.fake_runner import ended, late
from session_bench import BATCH, SessionBench, failing, loaded

# -- ending early ----------------------------------------------------------------------------------------------------


def test_fail_fast_ends_the_batch_at_the_first_failure() -> None:
    bench = SessionBench(loaded(6, failFast=True))

    def answer(order: Order) -> Ended:
        return ended(order, bench.clock, Outcome.FAILED if order.ordinal == 2 else Outcome.PASSED)

    finished = bench.run(answer)

    assert (finished.verdict, finished.reason) == (Verdict.FAILED, Reason.FAIL_FAST)
    assert bench.outcomes == {Outcome.PASSED: 2, Outcome.FAILED: 1, Outcome.NOT_RUN: 3}
    assert {(r.reason, r.attempt) for r in bench.finals if r.outcome is Outcome.NOT_RUN} == {("FailFast", 1)}
    assert "TrialsNotRun" in bench.audited()


def test_fail_fast_lets_a_broken_attempt_have_its_retry_first() -> None:
    bench = SessionBench(loaded(2, failFast=True))

    finished = bench.run(failing(bench, Outcome.ERRORED))

    assert finished.verdict is Verdict.SUCCEEDED


def test_without_fail_fast_a_failure_ends_nothing() -> None:
    bench = SessionBench(loaded(3))

    finished = bench.run(lambda order: ended(order, bench.clock, Outcome.FAILED))

    assert (finished.verdict, finished.reason) == (Verdict.FAILED, Reason.ALL_TRIALS_FAILED)
    assert bench.outcomes == {Outcome.FAILED: 3}


def test_trials_that_fail_fast_ended_are_cancelled_for_good() -> None:
    bench = SessionBench(loaded(4, failFast=True, parallelism=2))

    def answer(order: Order) -> Ended | None:
        return ended(order, bench.clock, Outcome.FAILED) if order.ordinal == 1 else None

    bench.run(answer)

    assert bench.outcomes == {Outcome.FAILED: 1, Outcome.CANCELLED: 1, Outcome.NOT_RUN: 2}


def test_the_batchs_deadline_ends_what_runs_and_leaves_the_rest_unrun() -> None:
    bench = SessionBench(loaded(5, parallelism=2, deadlines={"batchSeconds": 100, "trialSeconds": 60}))

    finished = bench.run(lambda order: ended(order, bench.clock) if order.ordinal == 0 else None)

    assert (finished.verdict, finished.reason) == (Verdict.FAILED, Reason.BATCH_DEADLINE_EXCEEDED)
    assert bench.outcomes == {Outcome.PASSED: 1, Outcome.TIMED_OUT: 2, Outcome.NOT_RUN: 2}
    assert {r.reason for r in bench.finals if r.outcome is not Outcome.PASSED} == {"BatchDeadlineExceeded"}
    assert {r.attempt for r in bench.finals} == {1}
    assert bench.audited().count("DeadlineExceeded") == 1
    assert (bench.record.deadline_at - bench.record.accepted_at).total_seconds() == 100


def test_the_batchs_deadline_is_noticed_to_the_tick() -> None:
    bench = SessionBench(loaded(1, deadlines={"batchSeconds": 100.25, "trialSeconds": 60}))

    bench.run(lambda _order: None)

    assert bench.finals[0].ended_at == bench.record.deadline_at


def test_the_deadline_counts_even_if_the_runner_saw_it_first_and_nothing_else_was_left() -> None:
    bench = SessionBench(loaded(1))

    finished = bench.run(
        lambda order: ended(order, bench.clock, Outcome.TIMED_OUT, reason=Reason.BATCH_DEADLINE_EXCEEDED)
    )

    assert (finished.verdict, finished.reason) == (Verdict.FAILED, Reason.BATCH_DEADLINE_EXCEEDED)


def test_an_order_taken_up_as_the_batch_ended_is_not_run_and_not_counted_as_an_attempt() -> None:
    bench = SessionBench(loaded(2))

    finished = bench.run(lambda order: ended(order, bench.clock, Outcome.NOT_RUN))

    assert finished.reason == Reason.BATCH_DEADLINE_EXCEEDED
    assert bench.attempts == [(0, 1, Outcome.NOT_RUN), (1, 1, Outcome.NOT_RUN)]


def test_a_broken_attempt_at_the_end_of_the_batch_is_final() -> None:
    bench = SessionBench(loaded(1, deadlines={"batchSeconds": 100, "trialSeconds": 60}))

    def answer(order: Order) -> Ended | None:
        return ended(order, bench.clock, Outcome.ERRORED) if bench.runner.stops else None

    bench.run(answer)

    assert bench.attempts == [(0, 1, Outcome.ERRORED)]
    assert bench.outcomes == {Outcome.ERRORED: 1}


def test_many_trials_that_were_not_run_are_all_written() -> None:
    bench = SessionBench(loaded(1, repeats=1234, deadlines={"batchSeconds": 10, "trialSeconds": 5}))

    bench.run(lambda _order: None)

    assert bench.outcomes == {Outcome.TIMED_OUT: 1, Outcome.NOT_RUN: 1233}


# -- what is heard besides -------------------------------------------------------------------------------------------


def test_a_late_result_is_audited_and_changes_nothing() -> None:
    bench = SessionBench(loaded(2))

    def answer(order: Order) -> Ended:
        if order.ordinal == 0:
            bench.runner.extra.append(late(order))
            return ended(order, bench.clock, Outcome.TIMED_OUT)
        return ended(order, bench.clock)

    bench.run(answer)

    assert [result.outcome for result in bench.finals] == [Outcome.TIMED_OUT, Outcome.PASSED]
    assert bench.audited().count("LateResult") == 1
    (told,) = [event for event in bench.events if event.type is EventType.LATE_RESULT]
    assert (told.trial_id, told.attempt, told.details) == ("left/case-0/0", 1, {"outcome": "Passed"})


def test_how_an_attempt_was_ended_is_in_its_audit_entry() -> None:
    bench = SessionBench(loaded(1))

    def answer(order: Order) -> Ended:
        plain = ended(order, bench.clock, Outcome.TIMED_OUT, reason="TrialDeadlineExceeded", worker="w")
        return Ended(plain.result, confirmed=False, signals=("TERM", "KILL"), overrun_seconds=1.5)

    bench.run(answer)

    (entry,) = [one.entry for one in bench.store.audit_entries(BATCH) if one.entry.type == "TrialTimedOut"]
    assert entry.details == {
        "outcome": "TimedOut",
        "combination": "left",
        "milliseconds": 1000,
        "worker": "w",
        "reason": "TrialDeadlineExceeded",
        "signals": ["TERM", "KILL"],
        "overrunMilliseconds": 1500,
        "confirmed": False,
    }


@pytest.mark.proves("bug-15")
def test_secrets_in_what_user_code_said_are_written_nowhere() -> None:
    hidden = "sk-0123456789"
    bench = SessionBench(loaded(2), secrets=(hidden,))

    def answer(order: Order) -> Ended:
        return ended(
            order,
            bench.clock,
            Outcome.FAILED,
            message=f"ValueError: the key is {hidden}",
            scores=(EvaluatorScore("callable", None, error=f"no {hidden}"),),
            boundaries=(NodeBoundary("ask", "failed", 0.1, error=f"with {hidden}"),),
        )

    bench.run(answer)

    written = [repr(bench.finals), json.dumps(bench.record.status), repr(list(bench.store.audit_entries(BATCH)))]
    assert [text for text in written if hidden in text] == []
    assert "the key is" in written[0]


@pytest.mark.proves("bug-15")
def test_secrets_in_the_errors_of_a_trial_that_passed_all_the_same_are_written_nowhere() -> None:
    hidden = "sk-0123456789"
    bench = SessionBench(loaded(1), secrets=(hidden,))
    boundary = NodeBoundary("ask", "failed", 0.1, error=f"401 for {hidden}")

    bench.run(lambda order: ended(order, bench.clock, boundaries=(boundary,)))

    (result,) = bench.finals
    assert (result.outcome, result.boundaries[0].error) == (Outcome.PASSED, "401 for [redacted]")


def test_a_subscriber_that_raises_does_not_stop_the_batch() -> None:
    bench = SessionBench(loaded(3))
    session = bench.open()

    def broken(_event: object) -> None:
        raise RuntimeError("a bad subscriber")

    bench.bus.subscribe(broken)
    finished = session.run()

    assert finished.verdict is Verdict.SUCCEEDED
    assert bench.audited().count("TrialPassed") == 3


# -- state and store -------------------------------------------------------------------------------------------------


def test_the_status_counts_what_is_pending_running_and_done_at_every_commit() -> None:
    bench = SessionBench(loaded(6, parallelism=2))
    sums: list[int] = []

    def look() -> None:
        trials = bench.record.status["trials"]
        sums.append(sum(trials[key] for key in ("pending", "running", "passed")) - trials["total"])

    bench.open(on_commit=look).run()

    assert set(sums) == {0}


@pytest.mark.proves("bug-21")
def test_a_long_session_says_every_five_seconds_that_it_lives() -> None:
    bench = SessionBench(loaded(1))

    bench.run(lambda order: ended(order, bench.clock) if bench.clock.monotonic() > 1100 else None)

    assert 18 <= bench.store.heartbeats <= 22


def test_a_session_that_was_taken_over_stops_with_an_error() -> None:
    bench = SessionBench(loaded(3))
    session = bench.open()
    bench.store.open_session(BATCH, Owner("elsewhere", 2, "2"), bench.clock.now())

    with pytest.raises(StaleSession):
        session.run()

    assert bench.finals == []


def test_a_store_that_fails_ends_the_session_with_its_error() -> None:
    bench = SessionBench(loaded(3))

    def answer(order: Order) -> Ended:
        bench.store.fail_next = StoreError("the disk is full")
        return ended(order, bench.clock)

    with pytest.raises(StoreError, match="the disk is full"):
        bench.run(answer)

    assert bench.finals == []


def test_the_gate_decides_and_is_told() -> None:
    bench = SessionBench(loaded(4, gate={"minSuccessRate": 0.75}))

    finished = bench.run(lambda o: ended(o, bench.clock, Outcome.PASSED if o.ordinal < 2 else Outcome.FAILED))

    assert (finished.verdict, finished.reason) == (Verdict.FAILED, Reason.GATE_FAILED)
    assert finished.gate is not None
    assert not finished.gate.passed
    assert "GateFailed" in bench.audited()


def test_a_begin_names_the_worker() -> None:
    bench = SessionBench(loaded(1))
    session = bench.open()

    session.run()

    (begun,) = [event for event in bench.events if event.type is EventType.TRIAL_STARTED]
    assert begun.message == "worker-1"
