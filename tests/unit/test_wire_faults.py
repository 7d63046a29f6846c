"""What of a worker's messages the operator refuses, and how it says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from batchyard.model.audit import AuditEntry
from batchyard.model.errors import Fault
from batchyard.model.events import EventType, Severity
from batchyard.model.outcome import Reason
from batchyard.model.trial import EvaluatorScore, NodeBoundary
from batchyard.model.wire import Directive, Done, Hello, Manifest, Receipt, Segment, WireInvalid, directive_from
from batchyard.model.wire_checks import (
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_FAULTS,
    MAX_METRICS,
    MAX_NAME,
    MAX_RESULTS,
    MAX_TEXT,
    WORKER_EVENTS,
)
from wire_builders import STOPS, a_wire_result, through_json

RESULT = a_wire_result()
MANIFEST = Manifest(1, "b", "docs", 1, {}, datetime(2026, 3, 1, tzinfo=UTC))


def an_entry(**changes: Any) -> AuditEntry:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    plain = {"at": at, "type": EventType.TRIAL_PASSED, "severity": Severity.INFO, "message": "", "batch_id": "b"}
    return AuditEntry(**{**plain, **changes})


def with_result(**changes: Any) -> Segment:
    return Segment(results=((replace(RESULT, **changes), True),))


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def why_refused(segment: Segment, **changes: Any) -> str:
    with pytest.raises(WireInvalid) as caught:
        Segment.from_json({**through_json(segment.to_json()), **changes})
    return str(caught.value)


@pytest.mark.parametrize(
    ("segment", "words"),
    [
        (with_result(ordinal=-1), "segment.results.0.0.ordinal: Input should be greater than or equal to 0"),
        (with_result(attempt=0), "segment.results.0.0.attempt"),
        (with_result(message="x" * (MAX_TEXT + 1)), "segment.results.0.0.message"),
        (with_result(reason="x" * (MAX_NAME + 1)), "segment.results.0.0.reason"),
        (with_result(score=float("nan")), "segment.results.0.0.score: Input should be a finite number"),
        (with_result(metrics={"tokens": float("inf")}), "segment.results.0.0.metrics.tokens"),
        (with_result(metrics={str(n): 1.0 for n in range(MAX_METRICS + 1)}), "segment.results.0.0.metrics"),
        (with_result(scores=(EvaluatorScore("e", 1.0),) * 101), "segment.results.0.0.scores"),
        (with_result(output=nested(MAX_DEPTH + 1)), f"is nested more than {MAX_DEPTH} levels deep"),
        (with_result(boundaries=(NodeBoundary("n", "completed", float("nan")),)), "boundaries.0.duration_seconds"),
        (Segment(entries=(an_entry(type=EventType.BATCH_FINISHED),)), "BatchFinished is not a worker's to tell"),
        (Segment(entries=(an_entry(source="operator"),)), "what operator saw is not a worker's to tell"),
        (Segment(entries=(an_entry(source="kubernetes"),)), "what kubernetes saw is not a worker's to tell"),
        (Segment(entries=(an_entry(message="x" * (MAX_TEXT + 1)),)), "segment.entries.0.message"),
        (Segment(kills={"HUP": 1}), "segment.kills.HUP"),
        (Segment(kills={"TERM": -1}), "segment.kills.TERM"),
        (Segment(overruns=(("forever", 1.0),)), "segment.overruns.0.0"),
        (Segment(done=Done("GateFailed")), "segment.done.stop"),
        (Segment(done=Done("", faults=(Fault("", "", ""),) * (MAX_FAULTS + 1))), "segment.done.faults"),
        (Segment(hello=Hello(1, "x" * (MAX_NAME + 1), "3")), "segment.hello.version"),
        (Segment(running=-1), "segment.running"),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_its_place(segment: Segment, words: str) -> None:
    assert words in why_refused(segment)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"results": None}, "segment.results: Input should be a valid tuple"),
        ({"results": [[1, True]]}, "segment.results.0.0: is no JSON object"),
        ({"results": [[{}, True]]}, "segment.results.0.0.trial_id: Field required"),
        ({"entries": [{}]}, "segment.entries.0.at: Field required"),
        ({"hello": "hello"}, "segment.hello: is no JSON object"),
        ({"done": {"stop": ""}}, "segment.done.message: Field required"),
    ],
)
def test_what_has_another_shape_is_refused_with_its_place(changes: dict[str, Any], words: str) -> None:
    assert words in why_refused(Segment(), **changes)


@pytest.mark.parametrize("name", ["at", "started_at", "ended_at"])
def test_a_time_without_a_zone_is_refused(name: str) -> None:
    segment = Segment(results=((RESULT, True),), entries=(an_entry(),))
    document = through_json(segment.to_json())
    holder = document["entries"][0] if name == "at" else document["results"][0][0]
    holder[name] = "2026-03-01T12:00:00"

    with pytest.raises(WireInvalid, match=f"{name}: Input should have timezone info"):
        Segment.from_json(document)


@pytest.mark.parametrize("name", ["at", "started_at", "ended_at"])
@pytest.mark.parametrize(
    ("time", "words"),
    [
        ("0001-01-01T00:00:00+14:00", "should be greater than or equal to 1970"),
        ("1969-12-31T23:59:59.999999Z", "should be greater than or equal to 1970"),
        ("9999-12-31T23:59:59-14:00", "should be less than 9999"),
    ],
)
def test_a_time_that_no_store_gives_back_is_refused(name: str, time: str, words: str) -> None:
    document = through_json(Segment(results=((RESULT, True),), entries=(an_entry(),)).to_json())
    holder = document["entries"][0] if name == "at" else document["results"][0][0]
    holder[name] = time

    with pytest.raises(WireInvalid, match=f"{name}: Input {words}"):
        Segment.from_json(document)


def test_a_text_that_no_database_keeps_is_refused() -> None:
    document = through_json(with_result().to_json())
    document["results"][0][0]["message"] = "\ud800"

    with pytest.raises(WireInvalid, match=r"segment\.results\.0\.0\.message"):
        Segment.from_json(document)


def test_a_segment_holds_so_many_results_and_entries_and_no_more() -> None:
    full = through_json(with_result().to_json())
    full["results"] *= MAX_RESULTS
    full["entries"] = through_json(Segment(entries=(an_entry(),)).to_json())["entries"] * MAX_ENTRIES

    read = Segment.from_json(full)

    assert (len(read.results), len(read.entries)) == (MAX_RESULTS, MAX_ENTRIES)
    for name in ("results", "entries"):
        with pytest.raises(WireInvalid, match=f"segment.{name}: Tuple should have at most"):
            Segment.from_json({**full, name: full[name] + full[name][:1]})


def test_a_state_as_deep_as_a_worker_can_write_is_taken() -> None:
    deepest = with_result(output=nested(MAX_DEPTH))

    assert Segment.from_json(through_json(deepest.to_json())) == deepest


@pytest.mark.parametrize("kind", sorted(WORKER_EVENTS))
def test_what_a_worker_saw_itself_is_taken(kind: EventType) -> None:
    segment = Segment(entries=(an_entry(type=kind),))

    assert Segment.from_json(through_json(segment.to_json())) == segment


def test_every_reason_for_which_a_worker_stops_is_taken_and_no_verdict_is() -> None:
    for stop in STOPS:
        assert Segment.from_json(through_json(Segment(done=Done(stop)).to_json())).done == Done(stop)
    for verdict in sorted(set(Reason) - set(STOPS)):
        assert "segment.done.stop" in why_refused(Segment(done=Done(verdict)))


def test_a_field_of_a_later_version_is_passed_over() -> None:
    document = through_json(with_result().to_json()) | {"weather": "fine"}
    document["results"][0][0]["mood"] = "good"

    assert Segment.from_json(document) == with_result()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"deadline_at": "2026-03-01T12:00:00"}, "manifest.deadline_at"),
        ({"deadline_at": "soon"}, "manifest.deadline_at"),
        ({"attempt": 0}, "manifest.attempt"),
        ({"finished": [[1]]}, "manifest.finished.0"),
        ({"finished": [[-1, 1]]}, "manifest.finished.0.0"),
        ({"attempts": {"x": 1}}, "manifest.attempts.x"),
        ({"errors": {"1": 0}}, "manifest.errors.1"),
    ],
)
def test_a_manifest_that_is_none_is_refused_with_the_place(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(WireInvalid) as caught:
        Manifest.from_json({**through_json(MANIFEST.to_json()), **changes})

    assert words in str(caught.value)


@pytest.mark.parametrize("document", [{}, [], None, {"next": 0, "directive": ""}, {"next": 1, "directive": "Dance"}])
def test_a_receipt_that_is_none_is_refused(document: Any) -> None:
    with pytest.raises(WireInvalid, match="receipt"):
        Receipt.from_json(document)


@pytest.mark.parametrize("document", [{}, [], None, {"directive": None}, {"directive": "Dance"}])
def test_a_directive_that_is_none_is_refused(document: Any) -> None:
    with pytest.raises(WireInvalid, match="directed"):
        directive_from(document)


def test_directives_are_spelled_as_the_contract_has_them() -> None:
    assert [directive_from({"directive": word}) for word in ("", "Cancel", "Suspend")] == list(Directive)
