"""What every bridge must do, whichever way it carries: inherit the class in a test module and fill in its three hooks.

Not about what a translation says; that is each bridge's own test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.events.bus import EventBus
from batchyard.model.events import Event, EventType

if TYPE_CHECKING:
    from batchyard.events.bridges import Bridge


class BridgeConformance:
    """The tests. A new instance is made for each, so hooks may keep state on ``self``."""

    def make_bridge(self, bus: EventBus) -> Bridge:
        """Return a new bridge at ``bus``, not enabled, whose other end is there."""
        raise NotImplementedError

    def send(self, bus: EventBus, *, good: bool) -> None:
        """Let one event happen at the near end: one that can cross, or one that cannot. Must not raise."""
        raise NotImplementedError

    def arrived(self, bus: EventBus) -> int:
        """Return how many events have come out at the far end."""
        raise NotImplementedError

    def test_nothing_crosses_before_a_bridge_is_enabled(self) -> None:
        """A bridge that was only made is inert."""
        bus = EventBus()
        self.make_bridge(bus)

        self.send(bus, good=True)

        _expect(self.arrived(bus) == 0, "an event crossed a bridge that was never enabled")

    def test_enabling_twice_carries_each_event_once(self) -> None:
        """A second enable() changes nothing."""
        bus = EventBus()
        bridge = self.make_bridge(bus)

        enabled = (bridge.enable(), bridge.enable())
        self.send(bus, good=True)

        _expect(enabled == (True, True), "enable() did not say that the bridge is enabled")
        _expect(self.arrived(bus) == 1, "one event did not arrive exactly once")

    def test_disabling_twice_stops_the_bridge_and_harms_nothing(self) -> None:
        """A second disable() changes nothing."""
        bus = EventBus()
        bridge = self.make_bridge(bus)
        bridge.enable()

        bridge.disable()
        bridge.disable()
        self.send(bus, good=True)

        _expect(self.arrived(bus) == 0, "an event crossed a disabled bridge")

    def test_a_disabled_bridge_can_be_enabled_again(self) -> None:
        """Counts go on; nothing crosses twice."""
        bus = EventBus()
        bridge = self.make_bridge(bus)
        bridge.enable()
        self.send(bus, good=True)
        bridge.disable()

        bridge.enable()
        self.send(bus, good=True)

        _expect(self.arrived(bus) == 2, "two events did not arrive exactly once each")
        _expect(sum(bridge.counts().crossed.values()) == 2, "the count of crossed events started anew")

    def test_an_event_that_cannot_cross_is_counted_and_published(self) -> None:
        """The failure shows in the counts and on the bus, so in the audit trail."""
        bus = EventBus()
        heard: list[Event] = []
        bus.subscribe(heard.append, {EventType.BRIDGE_FAILED})
        bridge = self.make_bridge(bus)
        bridge.enable()

        self.send(bus, good=False)

        _expect(sum(bridge.counts().failed.values()) == 1, "the failure was not counted once")
        _expect([event.source for event in heard] == [bridge.name], "the failure was not published once")

    def test_a_failure_does_not_keep_the_next_event_from_crossing(self) -> None:
        """A bridge outlives what it cannot carry."""
        bus = EventBus()
        bridge = self.make_bridge(bus)
        bridge.enable()

        self.send(bus, good=False)
        self.send(bus, good=True)

        _expect(sum(bridge.counts().crossed.values()) == 1, "the event after a failure did not cross")
        _expect(self.arrived(bus) == 1, "the event after a failure did not arrive")

    def test_no_failure_of_a_bridge_counts_as_a_handler_error_of_the_bus(self) -> None:
        """A bridge deals with its own failures."""
        bus = EventBus()
        self.make_bridge(bus).enable()

        self.send(bus, good=False)

        _expect(dict(bus.handler_errors) == {}, "the bridge let an exception out into the bus")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
