"""Which attempts are followed by another, and after how long."""

from __future__ import annotations

import pytest

from batchyard.decide.retries import retry_delay
from batchyard.model.outcome import Outcome


def delay(outcome: Outcome = Outcome.ERRORED, attempt: int = 1, *, max_attempts: int = 10) -> float | None:
    return retry_delay(
        outcome,
        attempt,
        max_attempts=max_attempts,
        retry_on=[Outcome.ERRORED],
        backoff_seconds=1.0,
        backoff_max_seconds=30.0,
    )


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.ERRORED])
def test_an_answer_is_final_even_if_attempts_are_left(outcome: Outcome) -> None:
    assert delay(outcome, attempt=1) is None


def test_an_error_is_retried_until_the_attempts_are_used_up() -> None:
    assert [delay(attempt=attempt, max_attempts=3) is not None for attempt in (1, 2, 3, 4)] == [
        True,
        True,
        False,
        False,
    ]


def test_one_attempt_means_no_retry() -> None:
    assert delay(attempt=1, max_attempts=1) is None


def test_the_wait_doubles_with_each_attempt_up_to_its_bound() -> None:
    assert [delay(attempt=attempt) for attempt in range(1, 9)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_without_back_off_the_next_attempt_follows_at_once() -> None:
    waits = {
        retry_delay(
            Outcome.ERRORED,
            attempt,
            max_attempts=10,
            retry_on={Outcome.ERRORED},
            backoff_seconds=0.0,
            backoff_max_seconds=30.0,
        )
        for attempt in range(1, 10)
    }

    assert waits == {0.0}


def test_only_the_outcomes_asked_for_are_retried() -> None:
    assert (
        retry_delay(Outcome.ERRORED, 1, max_attempts=5, retry_on=(), backoff_seconds=1.0, backoff_max_seconds=1.0)
        is None
    )
