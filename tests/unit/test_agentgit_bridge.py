"""The AgentGit bridge: foreign events in, and no failure that nobody sees."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.events import AuditTrail, Bridge, BridgeCounts, EventBus
from batchyard.model.events import Event, EventType
from batchyard.testing.bridge_conformance import BridgeConformance
from batchyard.testing.foreign import (
    CheckpointCreatedEvent,
    FakeAgentGit,
    RollbackPerformedEvent,
    SessionCreatedEvent,
)
from bridge_builders import agentgit_bridge
from event_builders import NOON


def carried(*foreign: object) -> tuple[list[Event], BridgeCounts]:
    """Let the events happen at a bridged emitter; return what came out on the bus, and the counts."""
    bus, emitter = EventBus(), FakeAgentGit()
    bridge = agentgit_bridge(bus, emitter)
    bridge.enable()
    for event in foreign:
        emitter.emit(event)
    return bus.history()[::-1], bridge.counts()


class TestAgentGitBridgeConforms(BridgeConformance):
    def make_bridge(self, bus: EventBus) -> Bridge:
        self.emitter = FakeAgentGit()
        return agentgit_bridge(bus, self.emitter)

    def send(self, bus: EventBus, *, good: bool) -> None:
        self.emitter.emit(CheckpointCreatedEvent(checkpoint_id=1 if good else None, session_id=1))

    def arrived(self, bus: EventBus) -> int:
        return len(bus.history(EventType.CHECKPOINT_CREATED))


@pytest.mark.proves("event-bridge")
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


@pytest.mark.proves("event-bridge")
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
@pytest.mark.proves("event-bridge")
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


@pytest.mark.proves("bug-18")
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


@pytest.mark.proves("event-bridge")
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
