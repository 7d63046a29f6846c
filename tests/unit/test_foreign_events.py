"""What others say about our objects, read from whatever they wrote."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from batchyard.decide.foreign_events import ForeignEvent, gap_entry, mirrored_entry, omitted_entry, read_event
from batchyard.model.audit import GENESIS, seal
from batchyard.model.events import EventType, Severity
from event_builders import NOON
from event_wire import POD, a_wire_event

LATER = NOON + timedelta(days=2)


def read(**fields: Any) -> ForeignEvent:
    event = read_event(a_wire_event(**fields), LATER)
    assert event is not None
    return event


def test_an_event_becomes_an_entry_that_quotes_it() -> None:
    entry = mirrored_entry(read(count=3), "batch")

    assert entry.message == f"Pod {POD}: BackOff (3 times): Back-off pulling image"
    assert (entry.type, entry.severity, entry.source) == (EventType.KUBERNETES_EVENT, Severity.WARNING, "kubernetes")
    assert entry.at == datetime(2026, 1, 2, 3, 0, 1, tzinfo=UTC)
    assert entry.details == {
        "reason": "BackOff",
        "type": "Warning",
        "count": 3,
        "component": "kubelet",
        "kind": "Pod",
        "name": POD,
        "uid": "pod-uid",
        "eventUid": "ev-1",
    }


def test_an_ordinary_event_is_information() -> None:
    entry = mirrored_entry(read(type="Normal", reason="Pulled"), "batch")

    assert entry.severity is Severity.INFO
    assert entry.message == f"Pod {POD}: Pulled: Back-off pulling image"


def test_a_repeat_is_new_evidence_of_the_same_event() -> None:
    assert read(count=1).key != read(count=2).key
    assert read(count=2).key == read(count=2).key


def test_the_newer_way_of_counting_is_understood() -> None:
    event = read(
        count=None,
        firstTimestamp=None,
        lastTimestamp=None,
        eventTime="2026-01-02T03:00:00.000001Z",
        series={"count": 4, "lastObservedTime": "2026-01-02T04:00:00.5Z"},
    )

    assert event.key == "ev-1/4"
    assert event.at == datetime(2026, 1, 2, 4, 0, 0, 500_000, tzinfo=UTC)


def test_a_single_event_of_the_newer_kind_counts_once() -> None:
    event = read(count=None, lastTimestamp=None, firstTimestamp=None, eventTime="2026-01-02T03:00:00.000001Z")

    assert event.key == "ev-1/1"
    assert event.at.microsecond == 1


def test_the_older_way_of_naming_the_reporter_is_understood() -> None:
    assert read(reportingComponent="").component == "kubelet"


def test_repeats_are_recorded_ever_more_seldom() -> None:
    recorded = [count for count in range(1, 200) if read(count=count).counts]

    assert recorded == [*range(1, 11), 16, 32, 64, 128]


@pytest.mark.parametrize(
    "body", [None, "", [], 7, {}, {"metadata": None}, {"metadata": {"uid": 5}}, {"metadata": ["uid"]}]
)
def test_what_cannot_be_told_from_other_events_is_no_event(body: object) -> None:
    assert read_event(body, NOON) is None


@pytest.mark.parametrize("field", ["involvedObject", "source", "series", "reason", "message", "count", "type"])
@pytest.mark.parametrize("value", [None, 7, -1, True, [], {}, "\0\ud800", {"name": {}, "count": "many"}, 2**70])
def test_a_field_of_any_type_is_borne(field: str, value: object) -> None:
    entry = mirrored_entry(read(**{field: value}), "batch")

    assert len(seal(entry, 1, GENESIS).hash) == 64


@pytest.mark.parametrize(
    "time", [None, 5, "", "yesterday", "2026-01-02T03:00:00", "0001-01-01T00:00:00+23:59", "9" * 99]
)
def test_without_a_time_that_can_be_read_it_happened_now(time: object) -> None:
    wire = a_wire_event(lastTimestamp=time, firstTimestamp=time, eventTime=time)
    wire["metadata"]["creationTimestamp"] = time

    event = read_event(wire, NOON)

    assert event is not None
    assert event.at == NOON


def test_what_says_that_it_will_happen_happened_now() -> None:
    assert read(lastTimestamp="9999-12-31T23:59:59Z").at == LATER


def test_long_texts_are_cut() -> None:
    event = read(reason="R" * 5000, message="m" * 5000, reportingComponent="c" * 5000)
    entry = mirrored_entry(event, "batch")

    assert len(event.reason) == len(event.component) == 253
    assert len(entry.message) < 2000


def test_a_gap_says_between_what_and_since_when() -> None:
    entry = gap_entry("batch", old="5", new="90", since=NOON, until=datetime(2026, 1, 1, 13, tzinfo=UTC))

    assert entry.type is EventType.MIRROR_GAP
    assert "since 2026-01-01 12:00:00 UTC" in entry.message
    assert (entry.details["fromResourceVersion"], entry.details["toResourceVersion"]) == ("5", "90")
    assert entry.details["since"] < entry.details["until"]


def test_a_gap_may_have_no_known_beginning() -> None:
    assert gap_entry("batch", old="5", new="9", since=None, until=NOON).details["since"] == ""


def test_the_entry_that_says_enough_names_the_limit() -> None:
    assert omitted_entry("batch", NOON).message.startswith("500 events")
