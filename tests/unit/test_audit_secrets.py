"""The audit trail's secrets: that none is in what it keeps, in whatever form or place it came."""

from __future__ import annotations

import pytest

from audit_builders import Sink
from batchyard.events import AuditTrail
from batchyard.model.events import Event, EventType
from event_builders import NOON

HIDDEN = "sk-live-0123456789"


def test_secrets_are_masked_in_messages_and_at_any_depth_of_details() -> None:
    trail = AuditTrail("batch", secrets=[HIDDEN, "hunter22"])
    details = {"error": {"args": [f"Bearer {HIDDEN}", {f"key {HIDDEN}": ("hunter22", 1)}]}}

    trail.on_event(Event(EventType.TRIAL_FAILED, NOON, "batch", f"401 for {HIDDEN}", details=details))

    (entry,) = trail.drain().entries
    assert entry.message == "401 for [redacted]"
    assert entry.details == {"error": {"args": ["Bearer [redacted]", {"key [redacted]": ["[redacted]", 1]}]}}


def test_a_secret_inside_an_object_that_is_only_shown_is_masked() -> None:
    trail = AuditTrail("batch", secrets=[HIDDEN])

    entry = trail.record(EventType.TRIAL_FAILED, "failed", at=NOON, details={"error": PermissionError(HIDDEN)})

    assert entry.details == {"error": "[redacted]"}


def test_overlapping_secrets_leave_no_rest_of_either() -> None:
    trail = AuditTrail("batch", secrets=["abcdefgh", "efghijkl", "cdef-unused"])

    entry = trail.record(EventType.TRIAL_FAILED, "<abcdefghijkl> <abcdefgh>", at=NOON)

    assert entry.message == "<[redacted]> <[redacted]>"


def test_a_secret_inside_another_leaves_no_rest_of_the_longer() -> None:
    trail = AuditTrail("batch", secrets=["abcdefghijkl", "cdefgh"])

    entry = trail.record(EventType.TRIAL_FAILED, "<abcdefghijkl> <cdefgh>", at=NOON)

    assert entry.message == "<[redacted]> <[redacted]>"


@pytest.mark.parametrize(
    "shown",
    ["-----KEY\nline/two&three\n", "-----KEY\\nline/two&three\\n", "-----KEY%0Aline%2Ftwo%26three%0A"],
    ids=["as it is", "escaped", "in a URL"],
)
def test_a_secret_is_masked_in_the_forms_programs_print_it_in(shown: str) -> None:
    trail = AuditTrail("batch", secrets=["-----KEY\nline/two&three\n"])

    entry = trail.record(EventType.TRIAL_FAILED, f"could not use {shown}!", at=NOON)

    assert entry.message == "could not use [redacted]!"


def test_a_secret_across_the_cut_of_a_long_message_is_masked() -> None:
    trail = AuditTrail("batch", secrets=[HIDDEN])

    entry = trail.record(EventType.TRIAL_FAILED, "x" * 4090 + HIDDEN + "y" * 100, at=NOON)

    assert "sk-live" not in entry.message


def test_values_too_short_to_be_secrets_are_left_alone() -> None:
    trail = AuditTrail("batch", secrets=["true", "1", "", "abcde"])

    entry = trail.record(EventType.TRIAL_FAILED, "abcde is true: 1", at=NOON)

    assert entry.message == "abcde is true: 1"


@pytest.mark.proves("bug-15")
def test_no_secret_is_in_anything_the_trail_hands_out() -> None:
    trail = AuditTrail("batch", secrets=[HIDDEN])
    sink = Sink()

    trail.on_event(Event(EventType.TRIAL_FAILED, NOON, "batch", HIDDEN, details={HIDDEN: HIDDEN}))
    trail.flush(sink)

    assert HIDDEN not in repr((sink.entries, trail.display(), trail.summary()))
