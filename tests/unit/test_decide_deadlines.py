"""How the ending of an attempt goes on from its deadline, and when a batch must be over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from batchyard.decide.deadlines import TERM_TO_KILL_SECONDS, Stage, batch_deadline, stage_after

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "stage", "following"),
    [
        (99.0, Stage.RUN, 100.0),
        (99.999, Stage.RUN, 100.0),
        (100.0, Stage.STOP, 105.0),
        (104.999, Stage.STOP, 105.0),
        (105.0, Stage.TERMINATE, 105.25),
        (105.249, Stage.TERMINATE, 105.25),
        (105.25, Stage.KILL, None),
        (9999.0, Stage.KILL, None),
    ],
)
def test_an_attempt_is_stopped_then_terminated_then_killed(now: float, stage: Stage, following: float | None) -> None:
    assert stage_after(100.0, now, grace=5.0) == (stage, following)


def test_without_grace_an_attempt_is_terminated_at_its_deadline() -> None:
    assert stage_after(100.0, 100.0, grace=0.0) == (Stage.TERMINATE, 100.0 + TERM_TO_KILL_SECONDS)


def test_a_process_group_has_a_quarter_of_a_second_between_term_and_kill() -> None:
    assert TERM_TO_KILL_SECONDS == 0.25


def test_the_stages_come_gentlest_first() -> None:
    assert list(Stage) == [Stage.RUN, Stage.STOP, Stage.TERMINATE, Stage.KILL]


def test_a_batch_must_be_over_its_seconds_after_acceptance() -> None:
    assert batch_deadline(NOON, 90.5) == NOON + timedelta(minutes=1, seconds=30, milliseconds=500)


def test_a_batch_deadline_is_an_instant_whatever_the_time_zone() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5)))

    assert batch_deadline(elsewhere, 60) == batch_deadline(NOON, 60)
