"""What follows from the API server's answer to a posted event: done, try again and when, or give up. Pure."""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus

_FIRST_SECONDS = 2.0
_LONGEST_SECONDS = 300.0
MOST_REFUSALS = 12
"""So many times an event is tried that is not allowed now but may be later; with the pauses that is about 25 min."""

# How admission says it; newer API servers also name the cause.
_TERMINATING = ("because it is being terminated", "NamespaceTerminating")
_FAULTY = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
_AWAY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE})


class Fate(StrEnum):
    """What becomes of one event."""

    POSTED = "posted"
    ALREADY_THERE = "alreadyThere"
    NOBODY_TO_TELL = "nobodyToTell"
    RETRIED = "retried"
    PARKED = "parked"
    # The API server takes no event at all now: this one's turn comes again.
    AWAY = "away"


def fate_of(status: int | None, answer: str, tries: int) -> Fate:
    """Return what becomes of an event that was refused.

    Args:
        status: The answer's HTTP status, None if there was no answer.
        answer: What the answer says, reason and message.
        tries: How often the event was tried before.
    """
    if status is None or status in _AWAY:
        return Fate.AWAY
    if status == HTTPStatus.CONFLICT and ("AlreadyExists" in answer or "already exists" in answer):
        return Fate.ALREADY_THERE
    if status == HTTPStatus.NOT_FOUND or any(word in answer for word in _TERMINATING):
        return Fate.NOBODY_TO_TELL
    if status in _FAULTY:
        return Fate.PARKED
    if 400 <= status < 500 and tries + 1 >= MOST_REFUSALS:
        return Fate.PARKED
    return Fate.RETRIED


def pause_seconds(tries: int, spread: float) -> float:
    """Return how long to wait after the try that follows ``tries`` others; it doubles up to five minutes.

    ``spread``, from 0 to 1, takes up to half of it away, so that many that failed together do not come back together.
    """
    whole = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** min(tries, 30))
    return whole * (1 - spread / 2)
