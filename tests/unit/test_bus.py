"""The event bus: who hears what, that nobody can disturb the others, and what is remembered."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from batchyard.events import EventBus
from batchyard.model.events import Event, EventType
from bus_ears import Ear
from event_builders import NOON, an_event


def test_a_handler_hears_the_types_it_asked_for_and_no_others() -> None:
    bus, ear = EventBus(), Ear()
    bus.subscribe(ear.on_event, [EventType.TRIAL_PASSED, EventType.TRIAL_FAILED])

    bus.publish_all(an_event(kind) for kind in EventType)

    assert [event.type for event in ear.heard] == [EventType.TRIAL_PASSED, EventType.TRIAL_FAILED]


def test_a_handler_without_types_hears_everything() -> None:
    bus, ear = EventBus(), Ear()
    bus.subscribe(ear.on_event)

    bus.publish_all(an_event(kind) for kind in EventType)

    assert [event.type for event in ear.heard] == list(EventType)


def test_subscribing_to_no_type_at_all_is_refused() -> None:
    bus = EventBus()

    with pytest.raises(ValueError, match="leave types out to hear all"):
        bus.subscribe(Ear().on_event, [])


def test_subscribing_the_same_twice_returns_the_same_and_delivers_once() -> None:
    bus, ear = EventBus(), Ear()

    first = bus.subscribe(ear.on_event, [EventType.TRIAL_PASSED, EventType.TRIAL_FAILED])
    second = bus.subscribe(ear.on_event, [EventType.TRIAL_FAILED, EventType.TRIAL_PASSED])
    bus.publish(an_event())

    assert first is second
    assert len(ear.heard) == 1


def test_the_same_method_of_two_objects_is_two_handlers() -> None:
    bus, one, other = EventBus(), Ear(), Ear()
    bus.subscribe(one.on_event)
    bus.subscribe(other.on_event)

    bus.publish(an_event())

    assert (len(one.heard), len(other.heard)) == (1, 1)


def test_one_handler_with_different_types_hears_under_each_subscription() -> None:
    bus, ear = EventBus(), Ear()
    bus.subscribe(ear.on_event)
    bus.subscribe(ear.on_event, [EventType.TRIAL_PASSED])

    bus.publish(an_event(EventType.TRIAL_PASSED))
    bus.publish(an_event(EventType.TRIAL_FAILED))

    assert Counter(event.type for event in ear.heard) == {EventType.TRIAL_PASSED: 2, EventType.TRIAL_FAILED: 1}


def test_a_handler_that_cannot_be_hashed_can_subscribe() -> None:
    class Unhashable(list[Event]):
        def __call__(self, event: Event) -> None:
            self.append(event)

    bus, handler = EventBus(), Unhashable()
    bus.subscribe(handler)

    bus.publish(an_event())

    assert len(handler) == 1


def test_handlers_run_in_the_order_they_subscribed_whatever_their_types() -> None:
    bus = EventBus()
    order: list[str] = []
    bus.subscribe(lambda _: order.append("all first"))
    bus.subscribe(lambda _: order.append("one type"), [EventType.TRIAL_PASSED])
    bus.subscribe(lambda _: order.append("all last"))

    bus.publish(an_event(EventType.TRIAL_PASSED))

    assert order == ["all first", "one type", "all last"]


def test_an_unsubscribed_handler_hears_no_more() -> None:
    bus, ear = EventBus(), Ear()
    subscription = bus.subscribe(ear.on_event)
    bus.publish(an_event())

    ended = bus.unsubscribe(subscription)
    bus.publish(an_event())

    assert ended
    assert not subscription.active
    assert len(ear.heard) == 1


def test_unsubscribing_twice_says_so_and_changes_nothing() -> None:
    bus, stays = EventBus(), Ear()
    bus.subscribe(stays.on_event)
    subscription = bus.subscribe(Ear().on_event)
    bus.unsubscribe(subscription)

    again = bus.unsubscribe(subscription)

    assert not again
    assert bus.subscriber_count() == 1


def test_a_subscription_of_another_bus_is_not_ended() -> None:
    bus, other = EventBus(), EventBus()
    subscription = other.subscribe(Ear().on_event)

    ended = bus.unsubscribe(subscription)

    assert not ended
    assert subscription.active


@pytest.mark.proves("bug-17")
def test_a_handler_may_unsubscribe_itself_while_it_hears() -> None:
    bus, after = EventBus(), Ear()
    calls: list[Event] = []

    def once(event: Event) -> None:
        calls.append(event)
        bus.unsubscribe(subscription)

    subscription = bus.subscribe(once)
    bus.subscribe(after.on_event)

    bus.publish(an_event())
    bus.publish(an_event())

    assert len(calls) == 1
    assert len(after.heard) == 2


def test_a_handler_that_an_earlier_one_unsubscribes_does_not_hear_the_event() -> None:
    bus, later = EventBus(), Ear()
    bus.subscribe(lambda _: bus.unsubscribe(subscription))
    subscription = bus.subscribe(later.on_event)

    bus.publish(an_event())

    assert later.heard == []


def test_a_handler_that_subscribes_during_an_event_hears_from_the_next_on() -> None:
    bus, newcomer = EventBus(), Ear()
    bus.subscribe(lambda _: bus.subscribe(newcomer.on_event))
    first, second = an_event(second=1), an_event(second=2)

    bus.publish(first)
    bus.publish(second)

    assert newcomer.heard == [second]


@pytest.mark.proves("bug-17")
def test_a_handler_that_raises_keeps_no_other_from_hearing() -> None:
    bus, before, after = EventBus(), Ear(), Ear()

    def broken(event: Event) -> None:
        raise RuntimeError("broken handler")

    bus.subscribe(before.on_event)
    bus.subscribe(broken)
    bus.subscribe(after.on_event)

    bus.publish(an_event())

    assert (len(before.heard), len(after.heard)) == (1, 1)


def test_what_handlers_raise_is_counted_by_event_type() -> None:
    bus = EventBus()

    def broken(event: Event) -> None:
        raise RuntimeError("broken handler")

    bus.subscribe(broken)
    bus.publish_all(
        [an_event(EventType.TRIAL_PASSED), an_event(EventType.TRIAL_PASSED), an_event(EventType.GATE_FAILED)]
    )

    assert bus.handler_errors == {EventType.TRIAL_PASSED: 2, EventType.GATE_FAILED: 1}


def test_what_a_handler_raises_is_logged_with_what_identifies_it(caplog: pytest.LogCaptureFixture) -> None:
    bus = EventBus()

    def broken(event: Event) -> None:
        raise RuntimeError("broken handler")

    bus.subscribe(broken)
    bus.publish(an_event(EventType.GATE_FAILED, trial_id="a/b/0"))

    (record,) = caplog.records
    fields = vars(record)
    assert record.exc_info is not None
    assert record.exc_info[0] is RuntimeError
    assert (fields["event_type"], fields["batch_id"], fields["trial_id"]) == ("GateFailed", "batch", "a/b/0")
    assert fields["handler"].endswith("broken")


def test_a_request_to_exit_passes_through_a_handler() -> None:
    bus = EventBus()

    def leave(event: Event) -> None:
        raise KeyboardInterrupt

    bus.subscribe(leave)

    with pytest.raises(KeyboardInterrupt):
        bus.publish(an_event())


@pytest.mark.proves("event-bus")
def test_history_is_newest_first_and_bounded() -> None:
    bus = EventBus(history=3)
    events = [an_event(second=second) for second in range(5)]

    bus.publish_all(events)

    assert bus.history() == [events[4], events[3], events[2]]


def test_history_can_be_asked_by_type_time_and_number() -> None:
    bus = EventBus()
    kinds = [EventType.TRIAL_PASSED, EventType.TRIAL_FAILED] * 3
    bus.publish_all(an_event(kind, second=second) for second, kind in enumerate(kinds))

    failed = bus.history(EventType.TRIAL_FAILED)
    late = bus.history(since=NOON + timedelta(seconds=4))
    last_passed = bus.history(EventType.TRIAL_PASSED, since=NOON + timedelta(seconds=1), limit=1)

    assert [(event.at - NOON).seconds for event in failed] == [5, 3, 1]
    assert [(event.at - NOON).seconds for event in late] == [5, 4]
    assert [(event.at - NOON).seconds for event in last_passed] == [4]


def test_history_of_zero_events_is_empty() -> None:
    bus = EventBus()
    bus.publish(an_event())

    assert bus.history(limit=0) == []


def test_a_bus_can_keep_no_history_at_all() -> None:
    bus, ear = EventBus(history=0), Ear()
    bus.subscribe(ear.on_event)

    bus.publish(an_event())

    assert bus.history() == []
    assert len(ear.heard) == 1


def test_a_negative_history_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more events, not -1"):
        EventBus(history=-1)


def test_subscribers_are_counted_in_all_and_by_type() -> None:
    bus = EventBus()
    bus.subscribe(Ear().on_event)
    bus.subscribe(Ear().on_event, [EventType.GATE_FAILED])

    counts = (
        bus.subscriber_count(),
        bus.subscriber_count(EventType.GATE_FAILED),
        bus.subscriber_count(EventType.GATE_PASSED),
    )

    assert counts == (2, 2, 1)


def test_an_event_nobody_wants_is_still_in_the_history() -> None:
    bus = EventBus()
    event = an_event()

    bus.publish(event)

    assert bus.history() == [event]
