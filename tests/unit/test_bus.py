"""The event bus: who hears what, in which order, and that nobody can disturb the others."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from batchyard.events import EventBus
from batchyard.model.events import Event, EventType

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def an_event(kind: EventType = EventType.TRIAL_PASSED, *, minute: int = 0, trial: str = "") -> Event:
    return Event(kind, NOON + timedelta(minutes=minute), "batch", f"{kind} happened", trial_id=trial)


class Ear:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.heard.append(event)


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
    first, second = an_event(minute=1), an_event(minute=2)

    bus.publish(first)
    bus.publish(second)

    assert newcomer.heard == [second]


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
    bus.publish(an_event(EventType.GATE_FAILED, trial="a/b/0"))

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


def test_a_nested_event_reaches_all_before_the_outer_goes_on() -> None:
    bus, ear = EventBus(), Ear()
    outer, inner = an_event(EventType.DEADLINE_EXCEEDED), an_event(EventType.BATCH_FINISHED)
    bus.subscribe(lambda _: bus.publish(inner), [EventType.DEADLINE_EXCEEDED])
    bus.subscribe(ear.on_event)

    bus.publish(outer)

    assert ear.heard == [inner, outer]
    assert bus.history() == [inner, outer]


def test_a_handler_that_waits_for_another_threads_event_does_not_deadlock() -> None:
    bus = EventBus()
    heard = threading.Event()

    def publish_elsewhere(_: Event) -> None:
        thread = threading.Thread(target=bus.publish, args=(an_event(EventType.GATE_PASSED),))
        thread.start()
        thread.join(timeout=10)

    bus.subscribe(publish_elsewhere, [EventType.BATCH_STARTED])
    bus.subscribe(lambda _: heard.set(), [EventType.GATE_PASSED])

    bus.publish(an_event(EventType.BATCH_STARTED))

    assert heard.is_set()


def test_a_slow_handler_holds_up_no_other_publisher() -> None:
    bus, ear = EventBus(), Ear()
    entered, leave = threading.Event(), threading.Event()

    def slow(_: Event) -> None:
        entered.set()
        leave.wait(timeout=10)

    bus.subscribe(slow, [EventType.BATCH_STARTED])
    bus.subscribe(ear.on_event, [EventType.TRIAL_PASSED])
    thread = threading.Thread(target=bus.publish, args=(an_event(EventType.BATCH_STARTED),))
    thread.start()
    entered.wait(timeout=10)

    bus.publish(an_event(EventType.TRIAL_PASSED))
    heard_meanwhile, still_in = len(ear.heard), thread.is_alive()
    leave.set()
    thread.join(timeout=10)

    assert (heard_meanwhile, still_in) == (1, True)


def test_publishing_while_this_thread_holds_the_bus_does_not_deadlock() -> None:
    """As a signal handler may: here a comparison inside subscribe() publishes."""
    bus, ear = EventBus(), Ear()

    class Meddler:
        def __call__(self, event: Event) -> None: ...

        def __eq__(self, other: object) -> bool:
            bus.publish(an_event())
            return self is other

        __hash__ = None  # type: ignore[assignment]

    bus.subscribe(ear.on_event)
    worker = threading.Thread(target=bus.subscribe, args=(Meddler(),), daemon=True)

    worker.start()
    worker.join(timeout=10)

    assert not worker.is_alive()
    assert ear.heard


def test_32_threads_of_1000_events_reach_every_handler_exactly_once() -> None:
    bus, ears = EventBus(history=10), [Ear(), Ear(), Ear()]
    for ear in ears:
        bus.subscribe(ear.on_event)
    together = threading.Barrier(32)

    def publish(number: int) -> None:
        together.wait(timeout=10)
        bus.publish_all(an_event(trial=f"{number}/{count}") for count in range(1000))

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    expected = Counter(f"{number}/{count}" for number in range(32) for count in range(1000))
    assert [Counter(event.trial_id for event in ear.heard) for ear in ears] == [expected] * 3


def test_subscribing_and_leaving_under_load_loses_nobody_elses_events() -> None:
    bus, ear = EventBus(), Ear()
    bus.subscribe(ear.on_event)
    done = threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            bus.unsubscribe(bus.subscribe(Ear().on_event))

    restless = threading.Thread(target=come_and_go)
    restless.start()
    bus.publish_all(an_event() for _ in range(5000))
    done.set()
    restless.join(timeout=10)

    assert len(ear.heard) == 5000
    assert bus.subscriber_count() == 1


def test_history_is_newest_first_and_bounded() -> None:
    bus = EventBus(history=3)
    events = [an_event(minute=minute) for minute in range(5)]

    bus.publish_all(events)

    assert bus.history() == [events[4], events[3], events[2]]


def test_history_can_be_asked_by_type_time_and_number() -> None:
    bus = EventBus()
    kinds = [EventType.TRIAL_PASSED, EventType.TRIAL_FAILED] * 3
    bus.publish_all(an_event(kind, minute=minute) for minute, kind in enumerate(kinds))

    failed = bus.history(EventType.TRIAL_FAILED)
    late = bus.history(since=NOON + timedelta(minutes=4))
    last_passed = bus.history(EventType.TRIAL_PASSED, since=NOON + timedelta(minutes=1), limit=1)

    assert [(event.at - NOON).seconds // 60 for event in failed] == [5, 3, 1]
    assert [(event.at - NOON).seconds // 60 for event in late] == [5, 4]
    assert [(event.at - NOON).seconds // 60 for event in last_passed] == [4]


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
