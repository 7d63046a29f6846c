"""What is done next about a BatchTest in a cluster."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from batchyard.decide.lifecycle import (
    PATIENCE_SECONDS,
    Attempt,
    CarryOver,
    Conclude,
    EndAttempt,
    Ensure,
    Facts,
    Hold,
    Provision,
    Release,
    Rest,
    Seen,
    Start,
    Wait,
    hold_seconds,
    next_step,
)
from batchyard.model.outcome import Phase, Reason

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def facts(**changes: object) -> Facts:
    usual = Facts(
        now=NOW,
        phase=Phase.RUNNING,
        deadline_at=NOW + timedelta(hours=1),
        open_trials=3,
        environment_seconds=600,
        grace_seconds=5,
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


def attempt(**changes: object) -> Attempt:
    return replace(Attempt(1, ago(30)), **changes)  # type: ignore[arg-type]


RUNNING = attempt(started=True, heard_at=ago(1), seen=Seen.RUNNING)
ENDED = attempt(started=True, ended_at=ago(60), seen_message="the head pod is gone")


def test_what_is_carried_over_comes_before_the_first_place() -> None:
    assert next_step(facts(phase=Phase.PENDING, amends=True)) == CarryOver()
    assert next_step(facts(phase=Phase.PENDING, amends=True, suspend=True)) == Hold()


def test_a_batch_that_was_all_carried_over_says_so_before_it_ends() -> None:
    assert next_step(facts(open_trials=0, amends=True)) == CarryOver()
    assert next_step(facts(open_trials=0)) == Conclude("")


def test_a_batch_that_its_results_end_gets_no_place() -> None:
    assert next_step(facts(ended_by=Reason.FAIL_FAST)) == Conclude(Reason.FAIL_FAST)
    assert next_step(facts(ended_by=Reason.FAIL_FAST, attempt=replace(ENDED, released=True))) == Conclude(
        Reason.FAIL_FAST
    )


def test_an_accepted_batch_gets_its_first_place() -> None:
    assert next_step(facts(phase=Phase.PENDING)) == Provision(1)


def test_a_place_that_was_written_down_but_never_made_is_made() -> None:
    assert next_step(facts(attempt=attempt(seen=Seen.ABSENT))) == Ensure()


def test_a_place_that_is_being_made_is_waited_for() -> None:
    assert isinstance(next_step(facts(attempt=attempt(ensured=True, seen=Seen.PENDING))), Wait)


def test_a_place_that_another_operator_made_is_made_whole_before_it_is_waited_for() -> None:
    assert next_step(facts(attempt=attempt(seen=Seen.PENDING))) == Ensure()


def test_a_place_that_cannot_be_made_is_tried_more_seldom_the_longer_it_cannot() -> None:
    refused = attempt(seen=Seen.ABSENT, refused_at=NOW)

    early, late = (facts(attempt=replace(refused, requested_at=ago(seconds))) for seconds in (1, 100))

    assert next_step(early) == Wait(2)
    assert next_step(late) == Wait(50)
    assert next_step(replace(late, now=NOW + timedelta(seconds=60))) == Ensure()


def test_a_place_that_cannot_be_made_runs_into_the_environments_deadline_in_time() -> None:
    refused = attempt(
        requested_at=ago(595), seen=Seen.ABSENT, refused_at=NOW, seen_reason="Forbidden", seen_message="quota"
    )

    assert next_step(facts(attempt=refused)) == Wait(5)
    assert next_step(facts(attempt=refused, now=NOW + timedelta(seconds=5))) == Conclude(
        Reason.ENVIRONMENT_DEADLINE_EXCEEDED, "Forbidden: quota"
    )


def test_a_place_that_is_not_ready_in_time_ends_the_batch_with_what_was_seen() -> None:
    late = attempt(
        requested_at=ago(600), seen=Seen.PENDING, seen_reason="ImagePullBackOff", seen_message="no such image"
    )

    step = next_step(facts(attempt=late))

    assert step == Conclude(Reason.ENVIRONMENT_DEADLINE_EXCEEDED, "ImagePullBackOff: no such image")


def test_a_worker_that_never_says_anything_runs_into_the_environments_deadline_too() -> None:
    mute = attempt(requested_at=ago(601), started=True, seen=Seen.RUNNING)

    step = next_step(facts(attempt=mute))

    assert isinstance(step, Conclude)
    assert step.reason == Reason.ENVIRONMENT_DEADLINE_EXCEEDED


def test_a_worker_that_had_nobody_to_speak_to_is_given_time_beyond_the_environments_deadline() -> None:
    there = attempt(requested_at=ago(5000), started=True, seen=Seen.RUNNING)
    back = facts(attempt=there, listening_since=ago(1))

    assert isinstance(next_step(back), Wait)
    assert isinstance(next_step(replace(back, listening_since=ago(PATIENCE_SECONDS))), Conclude)
    assert isinstance(next_step(replace(back, attempt=replace(there, seen=Seen.PENDING))), Conclude)


def test_a_ready_place_is_started_once() -> None:
    ready = attempt(seen=Seen.READY)

    assert next_step(facts(attempt=ready)) == Start()
    assert isinstance(next_step(facts(attempt=replace(ready, started=True))), Wait)


def test_a_worker_that_is_silent_is_left_alone_until_the_batchs_deadline() -> None:
    silent = replace(RUNNING, heard_at=ago(500), requested_at=ago(2000))

    assert isinstance(next_step(facts(attempt=silent)), Wait)


def test_a_lost_place_is_ended_given_back_and_replaced() -> None:
    lost = replace(RUNNING, seen=Seen.LOST, seen_message="the head was restarted")

    assert next_step(facts(attempt=lost)) == EndAttempt(Reason.ENVIRONMENT_FAILED, "the head was restarted")
    assert next_step(facts(attempt=ENDED, barren=1)) == Release()
    assert next_step(facts(attempt=replace(ENDED, released=True), barren=1)) == Provision(2)


def test_a_place_on_a_node_that_died_is_ended_once_its_worker_is_silent_too() -> None:
    stranded = replace(RUNNING, seen=Seen.STRANDED, seen_reason="PodStranded", seen_message="no word of its node")

    assert next_step(facts(attempt=stranded)) == Wait(10.0)
    assert next_step(facts(attempt=replace(stranded, heard_at=ago(20)))) == EndAttempt(
        Reason.ENVIRONMENT_FAILED, "PodStranded: no word of its node"
    )
    # It may have had nobody to speak to.
    assert next_step(facts(attempt=replace(stranded, heard_at=ago(90)), listening_since=ago(5))) == Wait(10.0)


def test_the_next_place_is_waited_for_longer_after_each_that_came_to_nothing() -> None:
    just = replace(ENDED, ended_at=NOW, released=True)

    assert next_step(facts(attempt=just, barren=1, max_barren=9)) == Wait(1)
    assert next_step(facts(attempt=just, barren=3, max_barren=9)) == Wait(4)
    assert next_step(facts(attempt=just, barren=0, max_barren=9)) == Provision(2)


def test_a_batch_that_is_resumed_does_not_wait_for_its_next_place() -> None:
    just = replace(ENDED, ended_at=NOW, released=True)

    assert next_step(facts(phase=Phase.SUSPENDED, attempt=just, barren=1)) == Provision(2)


def test_the_wait_for_the_next_place_has_a_longest_one() -> None:
    just = replace(ENDED, ended_at=NOW, released=True)

    assert next_step(facts(attempt=just, barren=7, max_barren=9, longest_retry_seconds=20)) == Wait(20)


def test_no_wait_reaches_beyond_the_batchs_deadline() -> None:
    just = replace(ENDED, ended_at=NOW, released=True)

    step = next_step(facts(attempt=just, barren=5, max_barren=9, deadline_at=NOW + timedelta(seconds=3)))

    assert step == Wait(3)


def test_places_that_come_to_nothing_again_and_again_end_the_batch() -> None:
    step = next_step(facts(attempt=replace(ENDED, released=True), barren=2))

    assert step == Conclude(Reason.ENVIRONMENT_FAILED, "the head pod is gone")


def test_a_batch_whose_trials_are_all_final_is_concluded_by_its_results() -> None:
    assert next_step(facts(attempt=RUNNING, open_trials=0)) == Conclude("")


def test_a_batch_whose_last_trials_were_all_cut_short_ends_for_the_reason_that_cut_them_short() -> None:
    stopped = replace(RUNNING, done=Reason.CANCELLED)

    assert next_step(facts(attempt=stopped, open_trials=0, cancel=True)) == Conclude(
        Reason.CANCELLED, "spec.cancel is true"
    )
    assert next_step(facts(attempt=replace(RUNNING, done=""), open_trials=0)) == Conclude("")


def test_a_batch_that_was_being_ended_when_a_crash_came_is_ended_for_the_same_reason() -> None:
    ending = facts(phase=Phase.EVALUATING, attempt=ENDED, reason=Reason.FAIL_FAST, message="one failed")

    for known in (ending, replace(ending, exists=False), replace(ending, cancel=True), replace(ending, open_trials=0)):
        assert next_step(known) == Conclude(Reason.FAIL_FAST, "one failed")


def test_what_a_worker_said_last_says_more_of_the_batchs_end() -> None:
    stopped = replace(RUNNING, done=Reason.WORKFLOW_INVALID, done_message="no function of that name")
    broken = replace(RUNNING, done=Reason.ENVIRONMENT_FAILED, done_message="Ray does not start")

    assert next_step(facts(attempt=stopped)) == Conclude(Reason.WORKFLOW_INVALID, "no function of that name")
    assert next_step(facts(attempt=broken)) == EndAttempt(Reason.ENVIRONMENT_FAILED, "Ray does not start")


def test_a_place_whose_worker_speaks_is_looked_at_less_often() -> None:
    silent = replace(RUNNING, heard_at=ago(21))

    assert next_step(facts(attempt=RUNNING)) == Wait(10)
    assert next_step(facts(attempt=silent)) == Wait(2)


def test_a_batch_that_is_held_is_looked_at_again_at_its_deadline() -> None:
    assert hold_seconds(facts(deadline_at=NOW + timedelta(seconds=40))) == 40
    assert hold_seconds(facts(deadline_at=NOW + timedelta(days=1))) == 300


def test_why_the_worker_stopped_early_is_why_the_batch_ends() -> None:
    stopped = replace(RUNNING, done=Reason.FAIL_FAST)

    assert next_step(facts(attempt=stopped)) == Conclude(Reason.FAIL_FAST)


def test_a_worker_that_was_interrupted_leaves_the_rest_to_another_place() -> None:
    stopped = replace(RUNNING, done=Reason.INTERRUPTED)

    assert isinstance(next_step(facts(attempt=stopped)), EndAttempt)


def test_the_worker_is_given_time_to_end_its_trials_at_the_deadline() -> None:
    passed = facts(attempt=RUNNING, deadline_at=ago(1))

    assert isinstance(next_step(passed), Wait)
    much_later = replace(passed, deadline_at=ago(5 + PATIENCE_SECONDS))
    assert next_step(much_later) == Conclude(Reason.BATCH_DEADLINE_EXCEEDED)


def test_an_operator_that_was_away_over_the_deadline_waits_for_what_the_worker_kept_for_it() -> None:
    silent = attempt(started=True, heard_at=ago(100), seen=Seen.RUNNING)
    back = facts(attempt=silent, deadline_at=ago(60), listening_since=ago(1))

    assert next_step(back) == Wait(5 + PATIENCE_SECONDS - 1)

    longer_ago = replace(back, listening_since=ago(5 + PATIENCE_SECONDS))
    assert next_step(longer_ago) == Conclude(Reason.BATCH_DEADLINE_EXCEEDED)


def test_without_a_worker_the_operator_ends_the_batch_at_its_deadline_at_once() -> None:
    for dead in (None, replace(RUNNING, seen=Seen.ENDED), replace(RUNNING, heard_at=ago(30))):
        assert next_step(facts(attempt=dead, deadline_at=NOW)) == Conclude(Reason.BATCH_DEADLINE_EXCEEDED)


def test_a_cancelled_batch_is_ended_by_its_worker_or_else_by_the_operator() -> None:
    asked = facts(attempt=replace(RUNNING, asked_at=ago(1)), cancel=True)

    assert isinstance(next_step(asked), Wait)
    assert next_step(replace(asked, attempt=replace(RUNNING, asked_at=ago(20)))) == Conclude(
        Reason.CANCELLED, "spec.cancel is true"
    )
    assert isinstance(next_step(facts(cancel=True)), Conclude)


def test_a_suspended_batch_loses_its_place_and_then_holds() -> None:
    asked = replace(RUNNING, asked_at=ago(20))

    assert next_step(facts(attempt=asked, suspend=True)) == EndAttempt(Reason.SUSPENDED, "spec.suspend is true")
    assert next_step(facts(attempt=ENDED, suspend=True)) == Release()
    assert next_step(facts(attempt=replace(ENDED, released=True), suspend=True)) == Hold()
    assert next_step(facts(suspend=True, phase=Phase.PENDING)) == Hold()


def test_a_deleted_batchtest_ends_its_batch() -> None:
    step = next_step(facts(attempt=RUNNING, exists=False))

    assert step == Conclude(Reason.CANCELLED, "the BatchTest was deleted")


def test_a_finished_batch_gives_its_place_back_and_then_rests() -> None:
    assert next_step(facts(phase=Phase.SUCCEEDED, attempt=RUNNING)) == Release()
    assert next_step(facts(phase=Phase.FAILED, attempt=replace(ENDED, released=True))) == Rest()
    assert next_step(facts(phase=Phase.CANCELLED)) == Rest()


# -- whatever else is true -------------------------------------------------------------------------------------------

_SECONDS = st.floats(min_value=0, max_value=5000, allow_nan=False)
_MOMENTS = st.none() | _SECONDS.map(ago)
_ATTEMPTS = st.builds(
    Attempt,
    number=st.integers(1, 5),
    requested_at=_SECONDS.map(ago),
    ensured=st.booleans(),
    refused_at=_MOMENTS,
    queued=st.booleans(),
    admitted_at=_MOMENTS,
    started=st.booleans(),
    ended_at=_MOMENTS,
    released=st.booleans(),
    done=st.none() | st.sampled_from(["", *Reason]),
    heard_at=_MOMENTS,
    asked_at=_MOMENTS,
    seen=st.sampled_from(Seen),
)
_FACTS = st.builds(
    Facts,
    now=st.just(NOW),
    phase=st.sampled_from(Phase),
    deadline_at=st.floats(-5000, 5000).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    open_trials=st.integers(0, 3),
    environment_seconds=st.floats(1, 1000),
    grace_seconds=st.floats(0, 60),
    exists=st.booleans(),
    suspend=st.booleans(),
    cancel=st.booleans(),
    attempt=st.none() | _ATTEMPTS,
    barren=st.integers(0, 4),
)


@given(_FACTS)
def test_every_batch_is_over_soon_after_its_deadline_whatever_else_is_true(known: Facts) -> None:
    over = replace(known, deadline_at=ago(known.grace_seconds + PATIENCE_SECONDS + 1))

    step = next_step(over)

    place = over.attempt
    assert isinstance(step, Conclude | EndAttempt | Release | Rest)
    if isinstance(step, EndAttempt):
        # The worker has said that it stopped; its place is ended first, and the next look concludes.
        assert place is not None
        ended = replace(over, attempt=replace(place, ended_at=NOW))
        assert isinstance(next_step(ended), Conclude)
    assert isinstance(step, Release | Rest) == over.phase.final


@given(_FACTS)
def test_nothing_new_is_begun_for_a_batch_that_is_over_cancelled_deleted_or_suspended(known: Facts) -> None:
    if known.phase.final or known.cancel or known.suspend or not known.exists:
        assert not isinstance(next_step(known), Provision | Ensure | Start)


@given(_FACTS)
def test_no_wait_is_endless_or_negative(known: Facts) -> None:
    step = next_step(known)

    if isinstance(step, Wait):
        assert 0 < step.seconds < 3600
