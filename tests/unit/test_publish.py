"""Which audit entries become Kubernetes events, and what those say."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import timedelta, timezone
from typing import Any

import pytest

from batchyard.decide.publish import (
    HASH_ANNOTATION,
    LIMITED,
    MOST_TRIAL_EVENTS,
    PUBLISHED,
    choose,
    event_name,
    event_object,
    note_of,
    omitted_notice,
    publishable,
)
from batchyard.model.audit import GENESIS, AuditEntry, SealedEntry, seal
from batchyard.model.events import EventType, severity_of
from event_builders import NOON

CONTRACT = """BatchAccepted SpecInvalid EnvironmentProvisioning EnvironmentReady EnvironmentFailed EnvironmentReleased
EnvironmentQueued EnvironmentAdmitted EnvironmentPreempted BatchAmended
BatchStarted BatchSuspended BatchResumed BatchCancelled BatchFinished TrialTimedOut TrialErrored TrialRetried LateResult
DeadlineExceeded BudgetExceeded DecidedEarly GatePassed GateFailed GateInconclusive ParityMismatch AuditDropped
OrphanRemoved"""


@dataclass(frozen=True)
class Subject:
    namespace: str = "team"
    name: str = "docs-search"
    uid: str = "3f2a-77"


def an_entry(kind: EventType = EventType.BATCH_STARTED, message: str = "it happened", **fields: Any) -> AuditEntry:
    return AuditEntry(
        **{
            "at": NOON,
            "type": kind,
            "severity": severity_of(kind),
            "message": message,
            "batch_id": "docs-search-0a1b2c3d",
            **fields,
        }
    )


def sealed(entry: AuditEntry | None = None, seq: int = 1) -> SealedEntry:
    return seal(entry or an_entry(), seq, GENESIS)


def test_exactly_the_contracts_types_are_published_and_the_one_that_counts_the_rest() -> None:
    assert {str(kind) for kind in PUBLISHED} == {*CONTRACT.split(), "TrialEventsOmitted"}


@pytest.mark.parametrize("kind", sorted(PUBLISHED - LIMITED))
def test_what_happens_to_the_batch_is_always_published(kind: EventType) -> None:
    assert publishable(an_entry(kind), 10_000)


@pytest.mark.parametrize("kind", sorted(LIMITED))
def test_what_happens_to_trials_is_published_up_to_the_limit(kind: EventType) -> None:
    assert publishable(an_entry(kind), MOST_TRIAL_EVENTS - 1)
    assert not publishable(an_entry(kind), MOST_TRIAL_EVENTS)


@pytest.mark.parametrize("kind", sorted(set(EventType) - PUBLISHED))
def test_everything_else_is_for_the_audit_trail_alone(kind: EventType) -> None:
    assert not publishable(an_entry(kind), 0)


def test_the_limit_counts_over_all_steps_of_a_batch_whatever_their_sizes() -> None:
    entries = [
        an_entry(EventType.TRIAL_TIMED_OUT, str(number)) if number % 3 else an_entry(EventType.BATCH_STARTED)
        for number in range(90)
    ]

    whole = choose(entries, 0)
    first = choose(entries[:17], 0)
    second = choose(entries[17:], first.limited)

    assert whole.indexes == (*first.indexes, *(index + 17 for index in second.indexes))
    assert whole.limited == second.limited == 60
    assert sum(entries[index].type is EventType.TRIAL_TIMED_OUT for index in whole.indexes) == MOST_TRIAL_EVENTS
    assert sum(entries[index].type is EventType.BATCH_STARTED for index in whole.indexes) == 30


def test_a_batch_within_the_limit_has_no_notice() -> None:
    assert omitted_notice("batch", MOST_TRIAL_EVENTS, at=NOON) is None


def test_the_notice_says_how_many_were_left_out_and_is_itself_published() -> None:
    notice = omitted_notice("batch", MOST_TRIAL_EVENTS + 7, at=NOON, epoch=2)

    assert notice is not None
    assert notice.message.startswith("7 more")
    assert (notice.details, notice.epoch) == ({"count": 7}, 2)
    assert publishable(notice, 10_000)


def test_an_event_says_who_what_where_and_which_entry_it_is() -> None:
    entry = sealed(an_entry(at=NOON.astimezone(timezone(timedelta(hours=2))) + timedelta(microseconds=7)), seq=12)

    event = event_object(Subject(), entry, "operator-0")

    assert event == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"docs-search.{entry.hash[:16]}",
            "namespace": "team",
            "labels": {"batchyard.dev/batch": "docs-search-0a1b2c3d", "batchyard.dev/audit-seq": "12"},
            "annotations": {HASH_ANNOTATION: entry.hash},
        },
        "eventTime": "2026-01-01T12:00:00.000007Z",
        "type": "Normal",
        "reason": "BatchStarted",
        "action": "Run",
        "note": "it happened",
        "reportingController": "batchyard.dev/operator",
        "reportingInstance": "operator-0",
        "regarding": {
            "apiVersion": "batchyard.dev/v1alpha1",
            "kind": "BatchTest",
            "namespace": "team",
            "name": "docs-search",
            "uid": "3f2a-77",
        },
    }


@pytest.mark.parametrize("kind", sorted(PUBLISHED))
def test_severe_events_are_warnings(kind: EventType) -> None:
    event = event_object(Subject(), sealed(an_entry(kind)), "operator-0")

    calm = severity_of(kind) in {"debug", "info", "success"}
    assert event["type"] == ("Normal" if calm else "Warning")
    assert re.fullmatch("[A-Z][A-Za-z]{1,127}", event["action"])


def test_a_repeat_has_the_same_name_and_another_entry_another() -> None:
    first, again, second = sealed(seq=1), sealed(seq=1), sealed(seq=2)

    assert event_name(Subject(), first) == event_name(Subject(), again)
    assert event_name(Subject(), first) != event_name(Subject(), second)


@pytest.mark.parametrize("name", ["a" * 253, "a" * 229 + "-" + "b" * 20, "a.b-" * 60 + "c", "x"])
def test_a_name_of_any_length_makes_a_name_the_api_server_takes(name: str) -> None:
    made = event_name(Subject(name=name), sealed())

    assert len(made) <= 253
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", made)


def test_an_event_about_a_trial_names_it() -> None:
    entry = an_entry(EventType.TRIAL_TIMED_OUT, "over 5 s", trial_id="a/b/0", attempt=2)

    assert note_of(entry) == "a/b/0#2: over 5 s"


@pytest.mark.parametrize("text", ["x" * 1024, "é" * 512, ""])
def test_a_note_that_fits_is_left_alone(text: str) -> None:
    assert note_of(an_entry(message=text)) == text


@pytest.mark.parametrize("letter", ["x", "é", "€", "😀"])
@pytest.mark.parametrize("before", range(5))
def test_a_long_note_is_cut_between_two_characters(letter: str, before: int) -> None:
    note = note_of(an_entry(message="." * before + letter * 2000))

    assert len(note.encode()) <= 1024
    assert len(note.encode()) > 1024 - 4
    assert note.rstrip("…").strip(".").strip(letter) == ""
    assert note.endswith("…")


def test_what_the_instance_calls_itself_is_cut_and_never_empty() -> None:
    assert event_object(Subject(), sealed(), "p" * 300)["reportingInstance"] == "p" * 128
    assert event_object(Subject(), sealed(), "")["reportingInstance"] == "operator"


def test_an_event_is_json() -> None:
    event = event_object(Subject(), sealed(), "operator-0")

    assert json.loads(json.dumps(event)) == event
