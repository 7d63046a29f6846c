"""The audit trail: what it records, that its totals stay right, and what it shows."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime, timedelta, timezone

import pytest

from audit_builders import Sink, record
from batchyard.events import AuditTrail, EventBus, one_line
from batchyard.model.audit import GENESIS, AuditEntry, seal
from batchyard.model.events import Event, EventType, Severity, severity_of
from batchyard.model.outcome import Outcome
from event_builders import NOON, an_event

# -- recording -------------------------------------------------------------------------------------------------


def test_an_event_becomes_an_entry_with_all_it_says() -> None:
    trail = AuditTrail("batch")
    event = Event(
        EventType.TRIAL_TIMED_OUT, NOON, "batch", "too slow", 3, "a/b/0", 2, {"reason": "TrialDeadlineExceeded"}, "ray"
    )

    trail.on_event(event)

    assert trail.drain().entries == (
        AuditEntry(
            at=NOON,
            type=EventType.TRIAL_TIMED_OUT,
            severity=Severity.WARNING,
            message="too slow",
            batch_id="batch",
            epoch=3,
            trial_id="a/b/0",
            attempt=2,
            source="ray",
            details={"reason": "TrialDeadlineExceeded"},
        ),
    )


@pytest.mark.parametrize("kind", [kind for kind in EventType if kind is not EventType.TRIAL_STARTED])
@pytest.mark.proves("audit-trail")
def test_every_type_but_trial_started_is_recorded_with_its_severity(kind: EventType) -> None:
    trail = AuditTrail("batch")

    trail.on_event(an_event(kind))

    assert [(entry.type, entry.severity) for entry in trail.drain().entries] == [(kind, severity_of(kind))]


def test_the_start_of_a_trial_is_not_recorded() -> None:
    trail = AuditTrail("batch")

    trail.on_event(an_event(EventType.TRIAL_STARTED))

    assert (len(trail), trail.summary().entries) == (0, 0)


def test_events_of_another_batch_on_the_same_bus_are_not_recorded() -> None:
    bus, trail = EventBus(), AuditTrail("batch")
    bus.subscribe(trail.on_event)

    bus.publish_all([an_event(batch_id="other"), an_event(batch_id="batch")])

    assert [entry.batch_id for entry in trail.drain().entries] == ["batch"]


def test_a_record_may_be_more_severe_than_its_type() -> None:
    trail = AuditTrail("batch")

    entry = record(trail, Severity.ERROR)

    assert severity_of(entry.type) is not Severity.ERROR
    assert trail.summary().errors == 1


def test_details_are_kept_as_plain_json_that_no_longer_changes() -> None:
    trail = AuditTrail("batch")
    details = {"counts": (1, 2), "ratio": float("nan"), "whole": 2.0, "half": 0.5, 7: {"at": NOON}}

    trail.record(EventType.GATE_FAILED, "gate", at=NOON, details=details)  # type: ignore[arg-type]
    details["counts"] = ()

    (entry,) = trail.drain().entries
    assert entry.details == {
        "counts": [1, 2],
        "ratio": "NaN",
        "whole": 2,
        "half": 0.5,
        "7": {"at": "2026-01-01 12:00:00+00:00"},
    }
    assert isinstance(entry.details["whole"], int)


def test_details_that_contain_themselves_are_cut_off() -> None:
    trail = AuditTrail("batch")
    details: dict[str, object] = {"name": "loop"}
    details["self"] = details

    entry = trail.record(EventType.GATE_FAILED, "gate", at=NOON, details=details)

    assert entry.details == {"name": "loop", "self": "<nested too deeply>"}


def test_a_detail_that_cannot_be_shown_does_not_lose_the_entry() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text for you")

    trail = AuditTrail("batch")

    entry = trail.record(EventType.GATE_FAILED, "gate", at=NOON, details={"it": Broken()})

    assert entry.details == {"it": "<Broken that cannot be shown>"}


def test_text_no_database_takes_is_made_storable() -> None:
    trail = AuditTrail("batch")

    entry = trail.record(EventType.GATE_FAILED, "a\0b \udc80 \N{SNOWMAN}", at=NOON)

    assert entry.message == "a\N{SYMBOL FOR NULL}b \\udc80 \N{SNOWMAN}"
    assert seal(entry, 1, GENESIS).hash


def test_a_message_without_end_is_cut_and_says_by_how_much() -> None:
    trail = AuditTrail("batch")

    entry = trail.record(EventType.TRIAL_FAILED, "x" * 1_000_000, at=NOON)

    assert entry.message == "x" * 4096 + "... (995904 more characters)"


def test_a_time_without_a_zone_is_refused() -> None:
    trail = AuditTrail("batch")

    with pytest.raises(ValueError, match="time zone"):
        trail.record(EventType.GATE_FAILED, "gate", at=NOON.replace(tzinfo=None))


# -- totals ----------------------------------------------------------------------------------------------------


@pytest.mark.proves("bug-16")
def test_totals_go_on_over_any_number_of_flushes() -> None:
    trail = AuditTrail("batch")
    for second, kind in enumerate([EventType.BATCH_STARTED, EventType.TRIAL_PASSED, EventType.TRIAL_ERRORED] * 2):
        trail.on_event(an_event(kind, second=second))
        trail.flush(Sink())

    summary = trail.summary()

    assert (summary.entries, summary.dropped, summary.errors) == (6, 0, 2)
    assert summary.by_type == {"BatchStarted": 2, "TrialPassed": 2, "TrialErrored": 2}
    assert summary.by_severity == {"info": 2, "success": 2, "error": 2}
    assert (summary.first_at, summary.last_at) == (NOON, NOON + timedelta(seconds=5))


def test_totals_are_the_same_after_a_failed_flush() -> None:
    trail = AuditTrail("batch", max_entries=2)
    for _ in range(5):
        record(trail, Severity.INFO)
    before = trail.summary()

    with pytest.raises(OSError, match="no space left"):
        trail.flush(Sink(failures=1))

    assert trail.summary() == before


def test_outcomes_are_counted_with_retried_attempts_and_trials_never_run() -> None:
    trail = AuditTrail("batch")
    trail.on_event(an_event(EventType.TRIAL_ERRORED))
    trail.on_event(an_event(EventType.TRIAL_RETRIED))
    for kind in (EventType.TRIAL_PASSED, EventType.TRIAL_FAILED, EventType.TRIAL_TIMED_OUT):
        trail.on_event(an_event(kind))
    trail.on_event(an_event(EventType.TRIAL_NEEDS_INPUT))
    trail.on_event(an_event(EventType.TRIAL_CANCELLED))
    trail.on_event(an_event(EventType.TRIALS_NOT_RUN, details={"count": 7}))

    outcomes = trail.summary().outcomes

    assert outcomes == {**dict.fromkeys(Outcome, 1), Outcome.NOT_RUN: 7}


def test_first_and_last_time_are_those_of_the_events_not_of_their_arrival() -> None:
    trail = AuditTrail("batch")
    for second in (5, 1, 9, 3):
        trail.on_event(an_event(second=second))

    summary = trail.summary()

    assert (summary.first_at, summary.last_at) == (NOON + timedelta(seconds=1), NOON + timedelta(seconds=9))


def test_an_untouched_trail_has_totals_of_nothing() -> None:
    summary = AuditTrail("batch").summary()

    assert (summary.entries, summary.dropped, summary.errors, summary.by_type) == (0, 0, 0, {})
    assert (summary.first_at, summary.last_at) == (None, None)


# -- threads ---------------------------------------------------------------------------------------------------


def test_threads_that_record_while_another_flushes_lose_and_repeat_nothing() -> None:
    trail, sink = AuditTrail("batch", max_entries=100_000), Sink()
    done = threading.Event()

    def write(name: int) -> None:
        for number in range(1000):
            record(trail, Severity.INFO if number % 2 else Severity.ERROR, f"{name}/{number}")

    def flush() -> None:
        while not done.is_set():
            trail.flush(sink)

    flusher = threading.Thread(target=flush)
    writers = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for thread in [flusher, *writers]:
        thread.start()
    for thread in writers:
        thread.join(timeout=60)
    done.set()
    flusher.join(timeout=60)
    trail.flush(sink)

    stored = [entry.message for entry in sink.entries]
    assert Counter(stored) == Counter(f"{name}/{number}" for name in range(8) for number in range(1000))
    for name in range(8):
        own = [int(message.split("/")[1]) for message in stored if message.startswith(f"{name}/")]
        assert own == sorted(own)


def test_a_sink_may_publish_to_the_bus_the_trail_listens_to() -> None:
    bus, trail = EventBus(), AuditTrail("batch")
    bus.subscribe(trail.on_event)
    bus.publish(an_event(EventType.BATCH_STARTED))

    trail.flush(lambda entries, dropped: bus.publish(an_event(EventType.BATCH_FINISHED)))

    assert [entry.type for entry in trail.drain().entries] == [EventType.BATCH_FINISHED]


# -- display ---------------------------------------------------------------------------------------------------


def test_display_shows_one_line_an_entry_oldest_first() -> None:
    trail = AuditTrail("batch")
    trail.record(EventType.BATCH_STARTED, "12 trials", at=NOON)
    trail.record(EventType.TRIAL_FAILED, "wrong", at=NOON, trial_id="a/b/0", attempt=1)

    shown = trail.display()

    assert shown.splitlines() == [
        "2026-01-01 12:00:00.000Z info    BatchStarted 12 trials",
        "2026-01-01 12:00:00.000Z warning TrialFailed a/b/0#1 wrong",
    ]


def test_display_still_shows_what_was_flushed() -> None:
    trail = AuditTrail("batch")
    record(trail, Severity.INFO, "flushed long ago")

    trail.flush(Sink())

    assert "flushed long ago" in trail.display()


def test_display_is_limited_to_the_newest_and_hides_debug() -> None:
    trail = AuditTrail("batch")
    for number in range(40):
        record(trail, Severity.INFO, f"info {number}")
        record(trail, Severity.DEBUG, f"debug {number}")

    plain, with_debug = trail.display(limit=2).splitlines(), trail.display(limit=2, include_debug=True).splitlines()

    assert [line.rsplit(" ", 2)[1:] for line in plain] == [["info", "38"], ["info", "39"]]
    assert [line.rsplit(" ", 2)[1:] for line in with_debug] == [["info", "39"], ["debug", "39"]]


def test_display_lets_no_line_end_or_terminal_command_through() -> None:
    trail = AuditTrail("batch")
    record(trail, Severity.ERROR, "first\nsecond\r\x1b[2Jthird\u2028fourth")

    shown = trail.display()

    assert shown.endswith(r"first\nsecond\r\x1b[2Jthird\u2028fourth")


def test_a_line_names_a_foreign_source_and_tells_the_time_in_utc() -> None:
    entry = AuditEntry(
        at=datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2))),
        type=EventType.ROLLBACK_PERFORMED,
        severity=Severity.WARNING,
        message="went back",
        batch_id="batch",
        source="agentgit",
    )

    line = one_line(entry)

    assert line == "2025-12-31 23:30:00.000Z warning RollbackPerformed [agentgit] went back"
