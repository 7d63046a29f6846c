"""Bridges: foreign events in, CloudEvents out, and no failure that nobody sees."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from batchyard.events import AgentGitBridge, AuditTrail, Bridge, BridgeCounts, CloudEventsBridge, EventBus, cloud_event
from batchyard.model.events import Event, EventType
from batchyard.testing.bridge_conformance import BridgeConformance
from batchyard.testing.foreign import (
    CheckpointCreatedEvent,
    FakeAgentGit,
    RollbackPerformedEvent,
    SessionCreatedEvent,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class StoppedClock:
    def now(self) -> datetime:
        return NOON

    def monotonic(self) -> float:
        return 0.0


def agentgit_bridge(bus: EventBus, emitter: FakeAgentGit | None) -> AgentGitBridge:
    return AgentGitBridge(bus, emitter, batch_id="batch", clock=StoppedClock(), epoch=2)


def an_event(kind: EventType = EventType.TRIAL_PASSED, **more: Any) -> Event:
    return Event(**{"type": kind, "at": NOON, "batch_id": "batch", "message": f"{kind} happened", **more})


def carried(*foreign: object) -> tuple[list[Event], BridgeCounts]:
    """Let the events happen at a bridged emitter; return what came out on the bus, and the counts."""
    bus, emitter = EventBus(), FakeAgentGit()
    bridge = agentgit_bridge(bus, emitter)
    bridge.enable()
    for event in foreign:
        emitter.emit(event)
    return bus.history()[::-1], bridge.counts()


# -- every bridge ----------------------------------------------------------------------------------------------


class TestAgentGitBridgeConforms(BridgeConformance):
    def make_bridge(self, bus: EventBus) -> Bridge:
        self.emitter = FakeAgentGit()
        return agentgit_bridge(bus, self.emitter)

    def send(self, bus: EventBus, *, good: bool) -> None:
        self.emitter.emit(CheckpointCreatedEvent(checkpoint_id=1 if good else None, session_id=1))

    def arrived(self, bus: EventBus) -> int:
        return len(bus.history(EventType.CHECKPOINT_CREATED))


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


# -- AgentGit in -----------------------------------------------------------------------------------------------


def test_a_checkpoint_becomes_checkpoint_created() -> None:
    events, _ = carried(CheckpointCreatedEvent(7, 3, "after search", is_auto=True, tool_count=4))

    assert events == [
        Event(
            EventType.CHECKPOINT_CREATED,
            NOON,
            "batch",
            "checkpoint 7 (after search) created in session 3",
            epoch=2,
            details={"checkpoint": "7", "session": "3", "name": "after search", "automatic": True, "toolCount": 4},
            source="agentgit",
        )
    ]


def test_a_checkpoint_without_its_optional_fields_still_crosses() -> None:
    events, counts = carried(CheckpointCreatedEvent("c-7", "s-3", checkpoint_name=None, is_auto=None, tool_count=None))

    assert events[0].details == {"checkpoint": "c-7", "session": "s-3", "name": "", "automatic": False, "toolCount": 0}
    assert counts.failed == {}


def test_a_rollback_becomes_rollback_performed() -> None:
    events, _ = carried(RollbackPerformedEvent(7, 3, new_session_id=4, tools_reversed=2))

    assert [(event.type, event.message) for event in events] == [
        (EventType.ROLLBACK_PERFORMED, "session 3 rolled back to checkpoint 7, 2 tool calls reversed")
    ]
    assert events[0].details == {"checkpoint": "7", "session": "3", "newSession": "4", "toolsReversed": 2}


@pytest.mark.parametrize(
    ("parent", "reason", "named"),
    [(3, "rollback", "3"), (None, "variant_test", ""), (0, "variant_test", "")],
    ids=["with a parent", "without", "with AgentGit's zero"],
)
def test_a_branch_becomes_branch_created_for_a_reason(parent: object, reason: str, named: str) -> None:
    events, _ = carried(SessionCreatedEvent(4, is_branch=True, parent_session_id=parent))

    assert [event.type for event in events] == [EventType.BRANCH_CREATED]
    assert events[0].details == {"session": "4", "parent": named, "reason": reason}


def test_a_session_that_is_no_branch_is_skipped_and_counted_as_such() -> None:
    events, counts = carried(SessionCreatedEvent(4, is_branch=False, parent_session_id=3))

    assert events == []
    assert counts == BridgeCounts(crossed={}, skipped={"SessionCreatedEvent": 1}, failed={})


SPOILED: list[tuple[object, str]] = [
    (CheckpointCreatedEvent(None, 3), "it has no checkpoint_id"),
    (CheckpointCreatedEvent(0, 3), "it has no checkpoint_id"),
    (CheckpointCreatedEvent("", 3), "it has no checkpoint_id"),
    (CheckpointCreatedEvent(7, None), "it has no session_id"),
    (CheckpointCreatedEvent(7.5, 3), "its checkpoint_id is neither a number nor a text but float"),
    (CheckpointCreatedEvent(True, 3), "its checkpoint_id is neither a number nor a text but bool"),
    (CheckpointCreatedEvent(7, [3]), "its session_id is neither a number nor a text but list"),
    (CheckpointCreatedEvent(7, 3, checkpoint_name=9), "its checkpoint_name is not str but int"),
    (CheckpointCreatedEvent(7, 3, is_auto="yes"), "its is_auto is not bool but str"),
    (CheckpointCreatedEvent(7, 3, tool_count=True), "its tool_count is not int but bool"),
    (RollbackPerformedEvent(None, 3), "it has no checkpoint_id"),
    (RollbackPerformedEvent(7, None), "it has no original_session_id"),
    (RollbackPerformedEvent(7, 3, new_session_id={}), "its new_session_id is neither a number nor a text but dict"),
    (RollbackPerformedEvent(7, 3, tools_reversed="2"), "its tools_reversed is not int but str"),
    (SessionCreatedEvent(None, is_branch=True), "it has no session_id"),
    (SessionCreatedEvent(4, is_branch=None), "it has no is_branch"),
    (SessionCreatedEvent(4, is_branch=1), "its is_branch is not bool but int"),
    (SessionCreatedEvent(4, is_branch=True, parent_session_id=b"3"), "its parent_session_id is neither"),
]


@pytest.mark.parametrize(("foreign", "problem"), SPOILED, ids=[problem for _, problem in SPOILED])
def test_an_event_with_a_missing_or_wrong_field_is_counted_and_published_as_failed(
    foreign: object, problem: str
) -> None:
    events, counts = carried(foreign)

    name = type(foreign).__name__
    assert counts == BridgeCounts(crossed={}, skipped={}, failed={name: 1})
    assert [(event.type, event.source) for event in events] == [(EventType.BRIDGE_FAILED, "agentgit")]
    assert events[0].details == {"bridge": "agentgit", "eventType": name}
    assert problem in events[0].message


@pytest.mark.parametrize("type_name", ["CheckpointCreatedEvent", "RollbackPerformedEvent", "SessionCreatedEvent"])
@pytest.mark.parametrize(
    "foreign", [None, object(), {"checkpoint_id": 1}, "text"], ids=["None", "bare", "dict", "text"]
)
def test_an_event_of_another_shape_altogether_is_counted_as_failed(type_name: str, foreign: object) -> None:
    bus, emitter = EventBus(), FakeAgentGit()
    bridge = agentgit_bridge(bus, emitter)
    bridge.enable()

    emitter.emit(foreign, type_name)

    assert bridge.counts() == BridgeCounts(crossed={}, skipped={}, failed={type_name: 1})


def test_an_event_whose_fields_raise_is_counted_as_failed() -> None:
    class CheckpointCreatedEvent:
        @property
        def checkpoint_id(self) -> int:
            raise RuntimeError("detached from its session")

    events, counts = carried(CheckpointCreatedEvent())

    assert counts.failed == {"CheckpointCreatedEvent": 1}
    assert "detached from its session" in events[0].message


def test_each_of_many_events_is_counted_in_exactly_one_way() -> None:
    good = [CheckpointCreatedEvent(1, 1), RollbackPerformedEvent(1, 1), SessionCreatedEvent(2, is_branch=True)]

    _, counts = carried(*good, SessionCreatedEvent(3), *(foreign for foreign, _ in SPOILED))

    assert sum(counts.crossed.values()) == 3
    assert sum(counts.skipped.values()) == 1
    assert counts.failed == {"CheckpointCreatedEvent": 10, "RollbackPerformedEvent": 4, "SessionCreatedEvent": 4}


def test_a_failure_to_translate_is_in_the_audit_trail() -> None:
    bus, emitter, trail = EventBus(), FakeAgentGit(), AuditTrail("batch")
    bus.subscribe(trail.on_event)
    agentgit_bridge(bus, emitter).enable()

    emitter.emit(CheckpointCreatedEvent(None, 3))

    assert [(entry.type, entry.source, entry.epoch) for entry in trail.drain().entries] == [
        (EventType.BRIDGE_FAILED, "agentgit", 2)
    ]


def test_without_agentgit_the_bridge_stays_disabled_and_harmless() -> None:
    bridge = agentgit_bridge(EventBus(), None)

    enabled = bridge.enable()
    bridge.disable()

    assert not enabled


def test_an_emitter_that_refuses_part_way_is_left_without_subscriptions() -> None:
    class Refusing(FakeAgentGit):
        def subscribe(self, type_name: str, handler: Any) -> None:
            if type_name == "SessionCreatedEvent":
                raise LookupError("no such event in this version")
            super().subscribe(type_name, handler)

    emitter = Refusing()
    bridge = agentgit_bridge(EventBus(), emitter)

    with pytest.raises(LookupError, match="no such event"):
        bridge.enable()

    assert emitter.subscribed == 0


def test_disabling_leaves_no_subscription_at_the_emitter() -> None:
    emitter = FakeAgentGit()
    bridge = agentgit_bridge(EventBus(), emitter)
    bridge.enable()
    while_enabled = emitter.subscribed

    bridge.disable()

    assert (while_enabled, emitter.subscribed) == (3, 0)


def test_a_handler_on_the_bus_that_raises_does_not_reach_the_emitter() -> None:
    bus, emitter = EventBus(), FakeAgentGit()
    bridge = agentgit_bridge(bus, emitter)
    bridge.enable()

    def broken(event: Event) -> None:
        raise RuntimeError("broken handler")

    bus.subscribe(broken)
    emitter.emit(CheckpointCreatedEvent(1, 1))

    assert bridge.counts().crossed == {"CheckpointCreatedEvent": 1}
    assert bus.handler_errors == {EventType.CHECKPOINT_CREATED: 1}


# -- CloudEvents out -------------------------------------------------------------------------------------------

RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})")


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
