"""What follows from the API server's answer to a posted event."""

from __future__ import annotations

import pytest

from batchyard.decide.delivery import MOST_REFUSALS, Fate, fate_of, pause_seconds

TERMINATING = 'events "x" is forbidden: unable to create new content in namespace team because it is being terminated'


@pytest.mark.parametrize(
    ("status", "answer", "fate"),
    [
        (None, "connection refused", Fate.AWAY),
        (429, "TooManyRequests", Fate.AWAY),
        (502, "bad gateway", Fate.AWAY),
        (503, "ServiceUnavailable", Fate.AWAY),
        (409, 'AlreadyExists events "x" already exists', Fate.ALREADY_THERE),
        (409, "Conflict the object has been modified", Fate.RETRIED),
        (404, 'NotFound namespaces "team" not found', Fate.NOBODY_TO_TELL),
        (403, f"Forbidden {TERMINATING}", Fate.NOBODY_TO_TELL),
        (403, "Forbidden user cannot create resource", Fate.RETRIED),
        (401, "Unauthorized", Fate.RETRIED),
        (400, "BadRequest", Fate.PARKED),
        (413, "RequestEntityTooLarge", Fate.PARKED),
        (422, "Invalid note", Fate.PARKED),
        (500, "InternalError a webhook failed", Fate.RETRIED),
        (504, "Timeout", Fate.RETRIED),
    ],
)
def test_the_answer_decides(status: int | None, answer: str, fate: Fate) -> None:
    assert fate_of(status, answer, 0) is fate


def test_what_is_never_allowed_is_given_up_in_the_end() -> None:
    assert fate_of(403, "Forbidden", MOST_REFUSALS - 2) is Fate.RETRIED
    assert fate_of(403, "Forbidden", MOST_REFUSALS - 1) is Fate.PARKED


@pytest.mark.parametrize(("status", "answer"), [(None, ""), (503, ""), (500, "")])
def test_a_server_in_trouble_is_waited_for_without_end(status: int | None, answer: str) -> None:
    assert fate_of(status, answer, 10_000) in {Fate.AWAY, Fate.RETRIED}


def test_pauses_double_up_to_five_minutes() -> None:
    assert [pause_seconds(tries, 0) for tries in range(9)] == [2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert pause_seconds(100_000, 0) == 300


def test_pauses_are_spread_over_half_of_their_length() -> None:
    assert (pause_seconds(3, 0), pause_seconds(3, 0.5), pause_seconds(3, 1)) == (16, 12, 8)
