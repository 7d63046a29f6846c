"""The CloudEvents bridge: every event out as a valid message, and no failure that nobody sees."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from batchyard.events import Bridge, BridgeCounts, CloudEventsBridge, EventBus, cloud_event
from batchyard.model.events import EventType
from batchyard.testing.bridge_conformance import BridgeConformance
from batchyard.testing.foreign import CheckpointCreatedEvent, FakeAgentGit
from bridge_builders import agentgit_bridge
from event_builders import NOON, an_event

RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})")


class TestCloudEventsBridgeConforms(BridgeConformance):
    def make_bridge(self, bus: EventBus) -> Bridge:
        self.received: list[dict[str, Any]] = []

        def receive(message: dict[str, Any]) -> None:
            if message["data"]["details"].get("poison"):
                raise ConnectionError("receiver is gone")
            self.received.append(message)

        return CloudEventsBridge(bus, receive, "/batchyard/tests")

    def send(self, bus: EventBus, *, good: bool) -> None:
        bus.publish(an_event(details={"poison": not good}))

    def arrived(self, bus: EventBus) -> int:
        return len(self.received)


def faults(message: dict[str, Any]) -> list[str]:
    """Return what CloudEvents 1.0 and its JSON format forbid in ``message``."""
    found = [
        f"{name} must be a text that is not empty"
        for name in ("id", "source", "specversion", "type")
        if not isinstance(message.get(name), str) or not message[name]
    ]
    if message.get("specversion") != "1.0":
        found.append("specversion must be 1.0")
    if re.search(r"[\s<>\"{}|\\^`]", message.get("source", "")):
        found.append("source must be a URI reference")
    found += [f"{name} is no attribute name" for name in message if not re.fullmatch(r"[a-z0-9]{1,20}", name)]
    for name in ("subject", "datacontenttype", "dataschema"):
        if name in message and (not isinstance(message[name], str) or not message[name]):
            found.append(f"{name} must be a text that is not empty")
    if "time" in message and not RFC3339.fullmatch(message["time"]):
        found.append("time must be RFC 3339")
    if json.loads(json.dumps(message, allow_nan=False)) != message:
        found.append("the message does not survive JSON")
    return found


@pytest.mark.parametrize("kind", list(EventType))
def test_every_event_type_makes_a_valid_cloud_event(kind: EventType) -> None:
    message = cloud_event(an_event(kind, details={"ratio": float("inf"), "when": NOON}), "/batchyard/ns/batch")

    assert faults(message) == []
    assert message["type"] == f"dev.batchyard.{kind}"


def test_a_cloud_event_carries_the_whole_event() -> None:
    event = an_event(
        at=datetime(2026, 1, 1, 14, 0, 0, 5, tzinfo=timezone(timedelta(hours=2))),
        epoch=3,
        trial_id="a/b/0",
        attempt=2,
        details={"score": 0.5},
    )

    message = cloud_event(event, "https://batchyard.example/ns")

    assert {name: value for name, value in message.items() if name != "id"} == {
        "specversion": "1.0",
        "source": "https://batchyard.example/ns",
        "type": "dev.batchyard.TrialPassed",
        "time": "2026-01-01T12:00:00.000005Z",
        "subject": "a/b/0",
        "datacontenttype": "application/json",
        "data": {
            "batch": "batch",
            "epoch": 3,
            "trial": "a/b/0",
            "attempt": 2,
            "severity": "success",
            "source": "batchyard",
            "message": "TrialPassed happened",
            "details": {"score": 0.5},
        },
    }


def test_the_subject_of_an_event_about_no_trial_is_the_batch() -> None:
    assert cloud_event(an_event(EventType.BATCH_STARTED), "/b")["subject"] == "batch"


def test_an_event_about_nothing_in_particular_has_no_subject() -> None:
    message = cloud_event(an_event(EventType.SPEC_INVALID, batch_id=""), "/b")

    assert "subject" not in message
    assert faults(message) == []


def test_the_same_event_always_has_the_same_id() -> None:
    one, other = an_event(trial_id="a/b/0", attempt=1), an_event(trial_id="a/b/0", attempt=1)

    assert cloud_event(one, "/b")["id"] == cloud_event(other, "/b")["id"]


def test_events_that_differ_in_anything_differ_in_their_id() -> None:
    base: dict[str, Any] = {"trial_id": "a/b/0", "attempt": 1, "epoch": 1, "details": {"n": 1}}
    variations: list[dict[str, Any]] = [
        {},
        {"kind": EventType.TRIAL_FAILED},
        {"trial_id": "a/b/1"},
        {"attempt": 2},
        {"epoch": 2},
        {"batch_id": "other"},
        {"at": NOON + timedelta(microseconds=1)},
        {"message": "else"},
        {"details": {"n": 2}},
        {"source": "agentgit"},
    ]

    ids = {cloud_event(an_event(**{**base, **variation}), "/b")["id"] for variation in variations}

    assert len(ids) == len(variations)


@pytest.mark.parametrize("source", ["", "two words", "line\nend"], ids=repr)
def test_a_source_that_is_no_uri_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="must be a URI or a path"):
        CloudEventsBridge(EventBus(), print, source)


def test_only_the_wanted_types_are_sent() -> None:
    bus = EventBus()
    sent: list[dict[str, Any]] = []
    CloudEventsBridge(bus, sent.append, "/b", types=[EventType.BATCH_FINISHED]).enable()

    bus.publish_all(an_event(kind) for kind in EventType)

    assert [message["type"] for message in sent] == ["dev.batchyard.BatchFinished"]


def test_secrets_do_not_leave_in_a_cloud_event_nor_in_word_of_its_failure() -> None:
    bus = EventBus()
    sent: list[dict[str, Any]] = []

    def send(message: dict[str, Any]) -> None:
        sent.append(message)
        raise ConnectionError("401 for hunter22")

    CloudEventsBridge(bus, send, "/b", secrets=["hunter22"]).enable()
    bus.publish(an_event(message="password hunter22", details={"env": ["hunter22"]}))

    (failure,) = bus.history(EventType.BRIDGE_FAILED)
    assert "hunter22" not in json.dumps(sent)
    assert failure.message.endswith("401 for [redacted]")


def test_a_dead_receiver_is_reported_once_until_it_has_come_back() -> None:
    bus = EventBus()
    alive = False

    def send(message: dict[str, Any]) -> None:
        if not alive:
            raise ConnectionError("receiver is gone")

    bridge = CloudEventsBridge(bus, send, "/b")
    bridge.enable()

    bus.publish_all([an_event(), an_event()])
    alive = True
    bus.publish(an_event(EventType.TRIAL_FAILED))
    alive = False
    bus.publish(an_event(EventType.GATE_FAILED))

    assert len(bus.history(EventType.BRIDGE_FAILED)) == 2
    assert bridge.counts() == BridgeCounts(
        crossed={"TrialFailed": 1}, skipped={"BridgeFailed": 2}, failed={"TrialPassed": 2, "GateFailed": 1}
    )


def test_the_failure_of_another_bridge_is_sent() -> None:
    bus, emitter = EventBus(), FakeAgentGit()
    sent: list[dict[str, Any]] = []
    agentgit_bridge(bus, emitter).enable()
    CloudEventsBridge(bus, sent.append, "/b").enable()

    emitter.emit(CheckpointCreatedEvent(None, 1))

    assert [message["type"] for message in sent] == ["dev.batchyard.BridgeFailed"]
