"""The operator's health: what takes life and readiness away, and what gives them back."""

from __future__ import annotations

import threading

import pytest

from batchyard.kube.health import LIMITS, Health, Part
from batchyard.testing.fake_clock import FakeClock

NEEDED = [part for part, limits in LIMITS.items() if limits.needed]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(clock: FakeClock) -> Health:
    return Health(clock)


def all_beat(health: Health) -> None:
    for part in Part:
        health.beat(part)


def test_an_operator_that_has_just_begun_lives_but_is_not_ready(health: Health) -> None:
    assert health.live() == []
    assert health.ready() == [f"{part}: has not begun yet" for part in NEEDED]


def test_it_is_ready_once_every_needed_part_has_begun(health: Health) -> None:
    for part in NEEDED:
        health.beat(part)

    assert health.ready() == []


@pytest.mark.parametrize("part", NEEDED)
def test_each_needed_part_is_waited_for(health: Health, part: Part) -> None:
    for other in NEEDED:
        if other is not part:
            health.beat(other)

    assert health.ready() == [f"{part}: has not begun yet"]


@pytest.mark.parametrize("part", NEEDED)
def test_trouble_of_a_needed_part_takes_readiness_until_it_works_again(health: Health, part: Part) -> None:
    all_beat(health)

    health.failed(part, "connection refused")

    assert health.ready() == [f"{part}: connection refused"]
    assert health.live() == []
    health.beat(part)
    assert health.ready() == []


@pytest.mark.parametrize("part", [Part.OUTBOX, Part.MIRROR])
def test_trouble_with_events_does_not_keep_batches_from_being_taken_in(health: Health, part: Part) -> None:
    all_beat(health)

    health.failed(part, "the API server is away")

    assert health.ready() == []


@pytest.mark.parametrize("part", [part for part, limits in LIMITS.items() if limits.dead_after])
def test_a_part_that_stands_still_takes_life(health: Health, clock: FakeClock, part: Part) -> None:
    all_beat(health)
    limit = LIMITS[part].dead_after
    assert limit is not None

    clock.advance(limit)
    assert f"{part}: " not in "".join(health.live())

    clock.advance(1)
    assert f"{part}: has said nothing for {limit + 1:.0f} s (at most {limit:g} s)" in health.live()
    health.beat(part)
    assert f"{part}: " not in "".join(health.live())


def test_a_part_that_goes_on_failing_lives(health: Health, clock: FakeClock) -> None:
    all_beat(health)

    for _ in range(100):
        clock.advance(60)
        for part in Part:
            health.failed(part, "the API server is away")

    assert health.live() == []


@pytest.mark.parametrize("part", list(Part))
def test_nothing_makes_up_for_a_loop_that_ended(health: Health, part: Part) -> None:
    all_beat(health)

    health.ended(part, "KeyError: 'spec'")
    health.beat(part)

    assert health.live() == [f"{part}: has ended: KeyError: 'spec'"]
    assert health.ready() == health.live()


def test_silence_takes_readiness_before_it_takes_life(health: Health, clock: FakeClock) -> None:
    all_beat(health)

    clock.advance(31)

    assert health.ready() == ["reconciler: has said nothing for 31 s (at most 30 s)"]
    assert health.live() == []


def test_a_silent_watch_is_well_in_an_idle_cluster(health: Health, clock: FakeClock) -> None:
    all_beat(health)

    clock.advance(86_400)

    assert not [fault for fault in [*health.ready(), *health.live()] if fault.startswith("watch")]


def test_a_standby_is_ready_although_it_does_not_reconcile(health: Health, clock: FakeClock) -> None:
    health.beat(Part.STORE)
    health.beat(Part.WATCH)
    health.excuse(Part.RECONCILER)
    clock.advance(10_000)
    health.beat(Part.LEASE)

    assert health.ready() == []
    assert health.live() == []


def test_a_standby_that_begins_to_lead_is_measured_like_any_leader(health: Health, clock: FakeClock) -> None:
    health.excuse(Part.RECONCILER)
    health.beat(Part.RECONCILER)

    clock.advance(121)

    assert health.live() == ["reconciler: has said nothing for 121 s (at most 120 s)"]


def test_the_age_of_a_part_is_that_of_its_last_good_word(health: Health, clock: FakeClock) -> None:
    assert health.age(Part.WATCH) is None
    health.beat(Part.WATCH)
    clock.advance(5)
    health.failed(Part.WATCH, "connection reset")
    clock.advance(2)

    assert health.age(Part.WATCH) == 7


def test_parts_may_speak_from_many_threads_while_probes_ask(health: Health) -> None:
    def speak() -> None:
        for _ in range(500):
            health.failed(Part.STORE, "locked")
            health.beat(Part.STORE)

    threads = [threading.Thread(target=speak) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert health.live() == []
    for thread in threads:
        thread.join()

    assert health.age(Part.STORE) == 0
    assert "store" not in "".join(health.ready())
