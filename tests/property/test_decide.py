"""The policies over all their inputs: stages only advance, retries end, every ending has one name and one code."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchyard.decide.deadlines import Stage, stage_after
from batchyard.decide.finish import Ending, exit_code, verdict
from batchyard.decide.retries import retry_delay
from batchyard.model.outcome import GateOutcome, Outcome, Reason, Verdict

STAGES = list(Stage)
instants = st.floats(0, 1e7)
graces = st.floats(0, 3600)


@given(instants, instants, instants, graces)
def test_a_stage_never_goes_back(since: float, one: float, other: float, grace: float) -> None:
    earlier, later = sorted([one, other])

    before, _ = stage_after(since, earlier, grace)
    after, _ = stage_after(since, later, grace)

    assert STAGES.index(before) <= STAGES.index(after)


@given(instants, instants, graces)
def test_waking_when_told_finds_a_later_stage_and_never_wakes_in_the_past(
    since: float, now: float, grace: float
) -> None:
    stage, wake = stage_after(since, now, grace)

    if wake is None:
        assert stage is Stage.KILL
    else:
        assert wake > now
        assert STAGES.index(stage_after(since, wake, grace)[0]) > STAGES.index(stage)


@given(instants, instants, graces)
def test_following_the_wakes_reaches_the_kill_in_three_steps_at_most(since: float, now: float, grace: float) -> None:
    stage, wake = stage_after(since, now, grace)
    steps = 0

    while wake is not None:
        stage, wake = stage_after(since, wake, grace)
        steps += 1

    assert stage is Stage.KILL
    assert steps <= 3


@given(st.sampled_from(Outcome), st.integers(1, 200), st.integers(1, 100), st.floats(0, 100), st.floats(0, 1000))
def test_a_retry_waits_within_its_bound_and_only_while_attempts_are_left(
    outcome: Outcome, attempt: int, max_attempts: int, base: float, bound: float
) -> None:
    delay = retry_delay(
        outcome,
        attempt,
        max_attempts=max_attempts,
        retry_on=[Outcome.ERRORED],
        backoff_seconds=base,
        backoff_max_seconds=bound,
    )

    assert (delay is not None) == (outcome is Outcome.ERRORED and attempt < max_attempts)
    assert delay is None or 0 <= delay <= bound


@given(st.integers(2, 50), st.floats(0, 100), st.floats(0, 1000))
def test_waits_never_shrink_from_one_attempt_to_the_next(max_attempts: int, base: float, bound: float) -> None:
    delays = [
        retry_delay(
            Outcome.ERRORED,
            attempt,
            max_attempts=max_attempts,
            retry_on=[Outcome.ERRORED],
            backoff_seconds=base,
            backoff_max_seconds=bound,
        )
        for attempt in range(1, max_attempts)
    ]

    waits = [delay for delay in delays if delay is not None]
    assert len(waits) == max_attempts - 1
    assert waits == sorted(waits)


@given(
    st.builds(
        Ending,
        counts=st.dictionaries(st.sampled_from(Outcome), st.integers(0, 10)),
        gate=st.none() | st.sampled_from(GateOutcome),
        cancelled=st.booleans(),
        deadline_passed=st.booleans(),
        failed_fast=st.booleans(),
        environment_failed=st.booleans(),
    )
)
def test_only_a_batch_that_passed_something_undisturbed_succeeds_and_exits_with_0(ending: Ending) -> None:
    ended_as, reason = verdict(ending)

    disturbed = ending.cancelled or ending.deadline_passed or ending.failed_fast or ending.environment_failed
    opened = ending.gate in {None, GateOutcome.PASSED}
    succeeded = not disturbed and opened and ending.counts.get(Outcome.PASSED, 0) > 0
    assert (ended_as is Verdict.SUCCEEDED) == succeeded
    assert (reason is Reason.NONE) == succeeded
    assert (exit_code(ended_as, reason) == 0) == succeeded
