"""The audit trail: what it records, what it gives up when it is full, and that its totals stay right."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import pytest

from batchyard.events import AuditTrail, Drained, EventBus, one_line
from batchyard.model.audit import GENESIS, AuditEntry, seal, verify_chain
from batchyard.model.events import Event, EventType, Severity, severity_of
from batchyard.model.outcome import Outcome

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def an_event(
    kind: EventType = EventType.TRIAL_PASSED, *, batch: str = "batch", second: int = 0, **more: object
) -> Event:
    return Event(kind, NOON + timedelta(seconds=second), batch, f"{kind} happened", details=more)


def record(trail: AuditTrail, severity: Severity, message: str = "something") -> AuditEntry:
    return trail.record(EventType.LATE_RESULT, message, at=NOON, severity=severity)


def messages(drained: Drained) -> list[str]:
    return [entry.message for entry in drained.entries]


class Sink:
    """Keeps what it is handed; refuses the first ``failures`` times."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.entries: list[AuditEntry] = []
        self.dropped = 0

    def __call__(self, entries: tuple[AuditEntry, ...], dropped: int) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("no space left")
        self.entries += entries
        self.dropped += dropped


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

    bus.publish_all([an_event(batch="other"), an_event(batch="batch")])

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


# -- secrets ---------------------------------------------------------------------------------------------------

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


def test_no_secret_is_in_anything_the_trail_hands_out() -> None:
    trail = AuditTrail("batch", secrets=[HIDDEN])
    sink = Sink()

    trail.on_event(Event(EventType.TRIAL_FAILED, NOON, "batch", HIDDEN, details={HIDDEN: HIDDEN}))
    trail.flush(sink)

    assert HIDDEN not in repr((sink.entries, trail.display(), trail.summary()))


# -- draining and flushing -------------------------------------------------------------------------------------


def test_draining_takes_all_entries_in_the_order_they_came() -> None:
    trail = AuditTrail("batch")
    for number, severity in enumerate(
        [Severity.ERROR, Severity.DEBUG, Severity.INFO, Severity.ERROR, Severity.SUCCESS]
    ):
        record(trail, severity, str(number))

    drained = trail.drain()

    assert (messages(drained), drained.dropped) == (["0", "1", "2", "3", "4"], 0)
    assert (len(trail), trail.drain()) == (0, Drained((), 0))


def test_flushing_hands_the_entries_over_and_empties_the_trail() -> None:
    trail, sink = AuditTrail("batch"), Sink()
    record(trail, Severity.INFO, "one")

    taken = trail.flush(sink)

    assert (taken, [entry.message for entry in sink.entries], len(trail)) == (1, ["one"], 0)


def test_flushing_an_empty_trail_does_not_bother_the_sink() -> None:
    trail, sink = AuditTrail("batch"), Sink(failures=1)

    taken = trail.flush(sink)

    assert (taken, sink.failures) == (0, 1)


def test_a_sink_that_fails_loses_nothing_and_keeps_the_order() -> None:
    trail, sink = AuditTrail("batch"), Sink(failures=1)
    record(trail, Severity.INFO, "one")
    record(trail, Severity.ERROR, "two")
    with pytest.raises(OSError, match="no space left"):
        trail.flush(sink)
    record(trail, Severity.DEBUG, "three")

    trail.flush(sink)

    assert [entry.message for entry in sink.entries] == ["one", "two", "three"]


def test_entries_that_came_while_the_sink_failed_stay_behind_those_put_back() -> None:
    trail = AuditTrail("batch")
    record(trail, Severity.INFO, "before")

    def sink(entries: tuple[AuditEntry, ...], dropped: int) -> None:
        record(trail, Severity.INFO, "meanwhile")
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        trail.flush(sink)

    assert messages(trail.drain()) == ["before", "meanwhile"]


def test_a_drain_that_could_not_be_stored_can_be_given_back_twice() -> None:
    trail = AuditTrail("batch", max_entries=2)
    for number in range(3):
        record(trail, Severity.INFO, str(number))

    trail.restore(trail.drain())
    trail.restore(trail.drain())
    drained = trail.drain()

    assert messages(drained)[:-1] == ["1", "2"]
    assert drained.dropped == 1
    assert [entry.type for entry in drained.entries].count(EventType.AUDIT_DROPPED) == 1


def test_putting_back_more_than_there_is_room_for_drops_the_oldest_and_counts() -> None:
    trail = AuditTrail("batch", max_entries=3)
    for number in range(3):
        record(trail, Severity.INFO, f"old {number}")
    drained = trail.drain()
    for number in range(2):
        record(trail, Severity.INFO, f"new {number}")

    trail.restore(drained)
    after = trail.drain()

    assert messages(after)[:-1] == ["old 2", "new 0", "new 1"]
    assert (after.dropped, trail.summary().dropped) == (2, 2)


def test_what_is_drained_makes_a_chain_that_verifies() -> None:
    trail = AuditTrail("batch", max_entries=5)
    for number in range(9):
        record(trail, Severity.INFO, str(number))
    sealed = []
    head = GENESIS

    for seq, entry in enumerate(trail.drain().entries, start=1):
        sealed.append(seal(entry, seq, head))
        head = sealed[-1].hash

    assert len(sealed) == 6
    assert verify_chain(sealed, head) == ""


# -- the bound -------------------------------------------------------------------------------------------------


def test_a_full_trail_drops_its_oldest_entry() -> None:
    trail = AuditTrail("batch", max_entries=3)

    for number in range(5):
        record(trail, Severity.INFO, str(number))

    assert len(trail) == 3
    assert messages(trail.drain())[:3] == ["2", "3", "4"]


def test_lesser_entries_go_before_greater_ones_whatever_their_age() -> None:
    trail = AuditTrail("batch", max_entries=2)
    survivors: list[list[str]] = []

    for severity in [Severity.ERROR, Severity.DEBUG, Severity.INFO, Severity.SUCCESS, Severity.WARNING, Severity.ERROR]:
        record(trail, severity, severity)
        drained = trail.drain()
        trail.restore(drained)
        survivors.append([entry.severity for entry in drained.entries if entry.type is not EventType.AUDIT_DROPPED])

    assert survivors == [
        ["error"],
        ["error", "debug"],
        ["error", "info"],
        ["error", "success"],
        ["error", "warning"],
        ["error", "error"],
    ]
    assert trail.summary().dropped_by_severity == {"debug": 1, "info": 1, "success": 1, "warning": 1}


def test_a_lesser_entry_that_comes_to_a_trail_full_of_errors_is_the_one_that_goes() -> None:
    trail = AuditTrail("batch", max_entries=2)
    record(trail, Severity.ERROR, "first")
    record(trail, Severity.ERROR, "second")

    record(trail, Severity.WARNING, "lesser")

    assert messages(trail.drain())[:2] == ["first", "second"]


def test_errors_drop_the_oldest_error_when_there_is_nothing_lesser() -> None:
    trail = AuditTrail("batch", max_entries=2)

    for number in range(3):
        record(trail, Severity.ERROR, str(number))

    assert messages(trail.drain())[:2] == ["1", "2"]
    assert trail.summary().dropped_by_severity == {Severity.ERROR: 1}


def test_the_drain_after_a_drop_says_how_many_and_the_next_one_nothing() -> None:
    trail = AuditTrail("batch", max_entries=2)
    for number in range(5):
        trail.on_event(an_event(EventType.TRIAL_PASSED, second=number))

    first, second = trail.drain(), trail.drain()

    notice = first.entries[-1]
    assert (notice.type, notice.severity, notice.batch_id) == (EventType.AUDIT_DROPPED, Severity.ERROR, "batch")
    assert notice.details == {"dropped": 3}
    assert notice.at == NOON + timedelta(seconds=4)
    assert (first.dropped, second) == (3, Drained((), 0))


def test_drops_are_announced_once_even_if_the_first_sink_fails() -> None:
    trail, sink = AuditTrail("batch", max_entries=2), Sink(failures=1)
    for number in range(3):
        record(trail, Severity.INFO, str(number))
    with pytest.raises(OSError, match="no space left"):
        trail.flush(sink)
    record(trail, Severity.INFO, "3")

    trail.flush(sink)

    notices = [entry.details for entry in sink.entries if entry.type is EventType.AUDIT_DROPPED]
    assert (notices, sink.dropped, trail.summary().dropped) == ([{"dropped": 2}], 2, 2)


def test_a_trail_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 entry, not 0"):
        AuditTrail("batch", max_entries=0)


def test_100_000_events_stay_within_the_bound_and_every_one_is_accounted_for() -> None:
    trail, sink = AuditTrail("batch", max_entries=1000), Sink()
    kinds = (EventType.TRIAL_PASSED, EventType.TRIAL_FAILED, EventType.TRIAL_ERRORED, EventType.BATCH_STARTED)
    largest = 0

    for number in range(100_000):
        trail.on_event(an_event(kinds[number % 4]))
        largest = max(largest, len(trail))
        if number == 60_000:
            trail.flush(sink)
    trail.flush(sink)

    summary = trail.summary()
    stored = [entry for entry in sink.entries if entry.type is not EventType.AUDIT_DROPPED]
    assert largest == 1000
    assert (summary.entries, summary.dropped) == (100_000, 98_000)
    assert (len(stored), sink.dropped) == (2000, 98_000)
    assert summary.by_type == dict.fromkeys(kinds, 25_000)
    assert summary.errors == 25_000
    assert Counter(entry.severity for entry in stored) == {Severity.ERROR: 2000}
    assert summary.dropped_by_severity == {"info": 25_000, "success": 25_000, "warning": 25_000, "error": 23_000}


# -- totals ----------------------------------------------------------------------------------------------------


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
    trail.on_event(an_event(EventType.TRIALS_NOT_RUN, count=7))

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
