"""A session from begin to end: dispatch, retries, fail-fast, deadlines, and what is written and told."""

from __future__ import annotations

import itertools

import pytest

from batchyard.engine.attempts import Ended, Order
from batchyard.model.events import EventType
from batchyard.model.outcome import Outcome, Phase, Reason, Verdict
from batchyard.testing.fake_runner import ended
from session_bench import BATCH, SessionBench, failing, loaded


@pytest.mark.proves("bug-03")
def test_every_trial_is_run_once_and_the_batch_succeeds() -> None:
    bench = SessionBench(loaded(5, repeats=2))

    finished = bench.run()

    assert (finished.verdict, finished.reason) == (Verdict.SUCCEEDED, Reason.NONE)
    assert [order.ordinal for order in bench.runner.submitted] == list(range(10))
    assert bench.outcomes == {Outcome.PASSED: 10}
    assert (bench.record.phase, bench.record.reason) == (Phase.SUCCEEDED, "")
    assert bench.record.started_at is not None
    assert bench.record.completed_at == bench.clock.now()
    assert bench.store.live_owner(BATCH) is None


def test_an_order_has_all_that_its_trial_says() -> None:
    case = {"name": "one", "input": {"q": {"b": 2}}, "expected": {"a": 1}, "weight": 3, "deadlineSeconds": 7}
    bench = SessionBench(loaded([case], initialState={"q": {"a": 1}, "z": []}))

    bench.run()

    assert bench.runner.submitted == [
        Order(
            trial_id="left/one/0",
            ordinal=0,
            combination="left",
            variants={"side": "left"},
            case="one",
            repeat=0,
            attempt=1,
            epoch=1,
            thread_id=f"{BATCH}/left/one/0#1@1",
            state={"q": {"a": 1, "b": 2}, "z": []},
            expected={"a": 1},
            weight=3.0,
            deadline_seconds=7.0,
        )
    ]


@pytest.mark.proves("backpressure")
def test_each_slot_has_one_order_running_and_one_waiting() -> None:
    bench = SessionBench(loaded(50, parallelism=3))

    bench.run()

    assert bench.runner.most_in_flight == 6


def test_events_tell_the_whole_course_and_the_trail_keeps_all_but_begins() -> None:
    bench = SessionBench(loaded(2))

    bench.run()

    assert [event.type for event in bench.events] == [
        EventType.BATCH_STARTED,
        EventType.TRIAL_STARTED,
        EventType.TRIAL_PASSED,
        EventType.TRIAL_STARTED,
        EventType.TRIAL_PASSED,
        EventType.BATCH_FINISHED,
    ]
    assert bench.audited() == ["BatchStarted", "TrialPassed", "TrialPassed", "BatchFinished"]


def test_a_result_and_its_audit_entry_are_committed_together() -> None:
    bench = SessionBench(loaded(3))
    seen: list[tuple[int, int]] = []

    def look() -> None:
        seen.append((len(bench.finals), bench.audited().count("TrialPassed")))

    bench.open(on_commit=look).run()

    assert [results for results, _ in seen] == [entries for _, entries in seen]
    assert (1, 1) in seen
    assert (2, 2) in seen


# -- retries ---------------------------------------------------------------------------------------------------------


def test_a_broken_attempt_is_made_again_and_counts_once() -> None:
    bench = SessionBench(loaded(2))

    finished = bench.run(failing(bench, Outcome.ERRORED))

    assert finished.verdict is Verdict.SUCCEEDED
    assert bench.attempts == [
        (0, 1, Outcome.ERRORED),
        (0, 2, Outcome.PASSED),
        (1, 1, Outcome.ERRORED),
        (1, 2, Outcome.PASSED),
    ]
    assert bench.outcomes == {Outcome.PASSED: 2}
    assert bench.record.status["trials"]["retried"] == 2
    assert bench.audited().count("TrialRetried") == 2


@pytest.mark.proves("retry-exhaustion")
def test_each_further_try_comes_after_twice_the_wait_and_the_last_one_settles_it() -> None:
    bench = SessionBench(loaded(1, retry={"maxAttempts": 4, "backoffSeconds": 10, "backoffMaxSeconds": 25}))
    begun: list[float] = []

    def answer(order: Order) -> Ended:
        begun.append(bench.clock.monotonic())
        return ended(order, bench.clock, Outcome.ERRORED)

    finished = bench.run(answer, seconds=0.0)

    waits = [later - earlier for earlier, later in itertools.pairwise(begun)]
    assert waits == [pytest.approx(10), pytest.approx(20), pytest.approx(25)]
    assert (finished.verdict, finished.reason) == (Verdict.FAILED, Reason.ALL_TRIALS_FAILED)
    assert bench.outcomes == {Outcome.ERRORED: 1}


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMED_OUT, Outcome.NEEDS_INPUT])
def test_an_answer_is_never_asked_for_twice(outcome: Outcome) -> None:
    bench = SessionBench(loaded(1))

    bench.run(failing(bench, outcome))

    assert bench.attempts == [(0, 1, outcome)]


def test_others_run_while_a_retry_waits() -> None:
    bench = SessionBench(loaded(3))

    def answer(order: Order) -> Ended:
        broken = order.ordinal == 0 and order.attempt == 1
        return ended(order, bench.clock, Outcome.ERRORED if broken else Outcome.PASSED)

    bench.run(answer)

    assert [(order.ordinal, order.attempt) for order in bench.runner.submitted] == [(0, 1), (1, 1), (2, 1), (0, 2)]


def test_a_retry_that_is_due_while_every_slot_is_busy_is_not_polled_for() -> None:
    bench = SessionBench(loaded(4, retry={"maxAttempts": 2, "backoffSeconds": 0.1}))

    def answer(order: Order) -> Ended | None:
        if order.ordinal == 0 and order.attempt == 1:
            return ended(order, bench.clock, Outcome.ERRORED)
        busy = bench.clock.monotonic() < 1100
        return None if busy else ended(order, bench.clock)

    bench.run(answer)

    assert bench.outcomes == {Outcome.PASSED: 4}
    assert [wait for wait in bench.runner.waits if wait == 0.0] == []
