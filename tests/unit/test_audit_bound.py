"""The audit trail's bound: how entries leave it, what goes when it is full, and that none is lost unseen."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from audit_builders import Sink, messages, record
from batchyard.events import AuditTrail, Drained
from batchyard.model.audit import GENESIS, AuditEntry, seal, verify_chain
from batchyard.model.events import EventType, Severity
from event_builders import NOON, an_event

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


@pytest.mark.proves("audit-trail")
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


@pytest.mark.proves("p1-audit-bound")
def test_a_full_trail_drops_its_oldest_entry() -> None:
    trail = AuditTrail("batch", max_entries=3)

    for number in range(5):
        record(trail, Severity.INFO, str(number))

    assert len(trail) == 3
    assert messages(trail.drain())[:3] == ["2", "3", "4"]


@pytest.mark.proves("p1-audit-bound")
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


@pytest.mark.proves("bug-16")
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
