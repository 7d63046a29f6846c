"""The event bus when events nest or threads meet: nothing waits for ever, nothing is lost or heard twice."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from batchyard.events import EventBus
from batchyard.model.events import Event, EventType
from bus_ears import Ear
from event_builders import an_event


@pytest.mark.proves("bug-17")
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


@pytest.mark.proves("event-bus")
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


@pytest.mark.proves("event-bus")
def test_32_threads_of_1000_events_reach_every_handler_exactly_once() -> None:
    bus, ears = EventBus(history=10), [Ear(), Ear(), Ear()]
    for ear in ears:
        bus.subscribe(ear.on_event)
    together = threading.Barrier(32)

    def publish(number: int) -> None:
        together.wait(timeout=10)
        bus.publish_all(an_event(trial_id=f"{number}/{count}") for count in range(1000))

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
