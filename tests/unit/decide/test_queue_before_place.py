"""What is done next while a queue holds the place of a batch back, and once it takes the place back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from batchyard.decide.lifecycle import Admit, Attempt, Conclude, EndAttempt, Facts, Queue, Seen, Wait, next_step
from batchyard.model.outcome import Phase, Reason

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def facts(attempt: Attempt, **changes: object) -> Facts:
    usual = Facts(
        now=NOW,
        phase=Phase.PROVISIONING,
        deadline_at=NOW + timedelta(hours=1),
        open_trials=3,
        environment_seconds=600,
        grace_seconds=5,
        attempt=attempt,
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


RUNNING = Attempt(1, ago(30), started=True, heard_at=ago(1), seen=Seen.RUNNING)
WAITING = Attempt(1, ago(9000), queued=True, seen=Seen.QUEUED, seen_reason="Queued", seen_message="no quota")


def test_a_place_that_a_queue_holds_back_is_told_once_and_waited_for() -> None:
    held = replace(WAITING, queued=False)

    assert next_step(facts(held)) == Queue()
    assert isinstance(next_step(facts(WAITING)), Wait)


def test_time_in_a_queue_does_not_count_against_the_environments_deadline() -> None:
    unseen = replace(WAITING, seen=None)

    assert isinstance(next_step(facts(WAITING)), Wait)
    assert isinstance(next_step(facts(unseen)), Wait)


def test_the_environments_deadline_counts_from_the_admission() -> None:
    let_in = replace(WAITING, queued=False, ensured=True, seen=Seen.PENDING)

    early = next_step(facts(replace(let_in, admitted_at=ago(599))))
    late = next_step(facts(replace(let_in, admitted_at=ago(601))))

    assert isinstance(early, Wait)
    assert late == Conclude(Reason.ENVIRONMENT_DEADLINE_EXCEEDED, "Queued: no quota")


def test_a_place_that_is_let_in_is_told_before_it_is_started() -> None:
    for seen in (Seen.PENDING, Seen.READY, Seen.RUNNING):
        let_in = replace(WAITING, seen=seen)

        assert next_step(facts(let_in)) == Admit()
        assert next_step(facts(replace(let_in, queued=False, admitted_at=NOW))) != Admit()


def test_a_place_that_a_queue_takes_back_before_its_worker_began_is_kept_and_queued_again() -> None:
    again = replace(WAITING, queued=False, admitted_at=ago(100))

    assert next_step(facts(again)) == Queue()


def test_a_place_that_a_queue_takes_back_from_its_worker_is_ended_as_preempted() -> None:
    told = replace(RUNNING, seen=Seen.QUEUED, seen_message="Kueue took it back")
    only_heard = replace(told, started=False)

    assert next_step(facts(told)) == EndAttempt(Reason.PREEMPTED, "Kueue took it back")
    assert next_step(facts(only_heard)) == EndAttempt(Reason.PREEMPTED, "Kueue took it back")


def test_a_worker_that_was_told_to_end_because_a_queue_took_its_place_back_says_so() -> None:
    going = replace(RUNNING, done=Reason.INTERRUPTED, seen_reason=Reason.PREEMPTED, seen_message="taken back")
    gone = replace(going, seen=Seen.QUEUED, seen_reason="")
    node_lost = replace(going, seen_reason="NodeLost")

    assert next_step(facts(going)) == EndAttempt(Reason.PREEMPTED, "taken back")
    assert next_step(facts(gone)) == EndAttempt(Reason.PREEMPTED, "taken back")
    assert next_step(facts(node_lost)).reason == Reason.INTERRUPTED  # type: ignore[union-attr]


def test_the_batchs_own_deadline_cancel_and_suspend_go_before_the_queue() -> None:
    over = next_step(facts(WAITING, deadline_at=ago(1)))
    assert over == Conclude(Reason.BATCH_DEADLINE_EXCEEDED, "Queued: no quota")
    assert next_step(facts(WAITING, cancel=True)) == Conclude(Reason.CANCELLED, "spec.cancel is true")
    assert next_step(facts(WAITING, suspend=True)) == EndAttempt(Reason.SUSPENDED, "spec.suspend is true")
