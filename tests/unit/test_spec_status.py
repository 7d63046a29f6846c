"""The status as JSON: spelling, bounds, times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from batchyard.model.outcome import Outcome, Phase
from batchyard.model.status import (
    MAX_FAILURE_ROWS,
    BatchStatus,
    Best,
    CombinationRow,
    Condition,
    ConditionType,
    FailureRow,
    TrialCounts,
    Truth,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def a_failure() -> FailureRow:
    return FailureRow(trial="a/b/0", attempt=1, outcome=Outcome.TIMED_OUT, reason="TrialDeadlineExceeded")


def test_a_status_is_spelled_as_the_contract_spells_it() -> None:
    status = BatchStatus(
        phase=Phase.RUNNING,
        start_time=NOON,
        trials=TrialCounts(total=3, timed_out=1, not_run=2),
        best=Best(combination="a", score=1.0),
        failures=(a_failure(),),
    )

    document = status.to_json()

    assert document["phase"] == "Running"
    assert document["startTime"] == "2026-01-01T12:00:00Z"
    assert document["trials"]["timedOut"] == 1
    assert document["trials"]["notRun"] == 2
    assert document["failures"][0]["outcome"] == "TimedOut"


def test_what_is_not_known_yet_is_left_out() -> None:
    document = BatchStatus().to_json()

    assert "completionTime" not in document
    assert "best" not in document


def test_times_are_written_in_utc_wherever_they_come_from() -> None:
    there = datetime(2026, 1, 1, 14, tzinfo=timezone(timedelta(hours=2)))

    assert BatchStatus(start_time=there).to_json()["startTime"] == "2026-01-01T12:00:00Z"


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        BatchStatus(start_time=NOON.replace(tzinfo=None))


def test_a_status_is_read_back_as_it_was() -> None:
    condition = Condition(
        type=ConditionType.FINISHED, status=Truth.TRUE, last_transition_time=NOON, reason="GateFailed", message="m"
    )
    status = BatchStatus(phase=Phase.FAILED, conditions=(condition,), combinations=(CombinationRow(name="a"),))

    assert BatchStatus.from_json(status.to_json()) == status


def test_fields_of_a_newer_version_are_left_out() -> None:
    assert BatchStatus.from_json({"phase": "Running", "mood": "fine"}) == BatchStatus(phase=Phase.RUNNING)


@pytest.mark.parametrize(
    "too_much",
    [
        {"combinations": [{"name": "a"}] * 257},
        {"failures": [a_failure().model_dump(mode="json")] * (MAX_FAILURE_ROWS + 1)},
        {"message": "x" * 1025},
        {"trials": {"total": -1}},
        {"conditions": [{"type": "Ready", "status": "True", "reason": "not one word", "lastTransitionTime": NOON}]},
    ],
)
def test_what_would_break_the_bounds_is_refused(too_much: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BatchStatus.from_json(too_much)
