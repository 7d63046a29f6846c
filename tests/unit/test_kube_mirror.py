"""The mirror: others' events on our objects reach the trail once, whatever restarts, gaps and floods there are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from batchyard.apiserver.errors import Unreachable
from batchyard.kube.health import Part
from batchyard.kube.mirror import EventMirror
from batchyard.metrics import Metrics
from batchyard.model.errors import StaleLeader, StoreError
from event_wire import POD, a_wire_event
from fake_events import until
from mirror_bench import Bench, run


def test_what_happens_then_is_mirrored_and_wakes_the_batch() -> None:
    async def scenario() -> None:
        bench = Bench()
        async with bench.running():
            bench.tell("new", 11)
            bench.server.tell("MODIFIED", a_wire_event("new", version=12, count=2))
            await until(lambda: len(bench.keys) == 2)
            await until(lambda: bench.woken)

        assert bench.keys == ["new/1", "new/2"]
        assert set(bench.woken) == {"batch"}
        assert bench.place == "12"

    run(scenario())


def test_an_event_that_expires_is_no_news() -> None:
    async def scenario() -> None:
        bench = Bench()
        async with bench.running():
            bench.server.tell("DELETED", a_wire_event("old", version=11))
            bench.tell("new", 12)
            await until(lambda: bench.keys)

        assert bench.keys == ["new/1"]

    run(scenario())


def test_a_restart_goes_on_where_the_last_one_was() -> None:
    async def scenario() -> None:
        bench = Bench()
        async with bench.running():
            bench.tell("first", 11)
            await until(lambda: bench.place == "11")
        bench.server.asked.clear()
        bench.server.version = "11"
        async with bench.running():
            await until(lambda: len(bench.server.asked) == 2)

        assert bench.server.asked == [("check", None, ""), ("watch", None, "11")]

    run(scenario())


def test_each_namespace_has_a_watch_and_a_place_of_its_own() -> None:
    async def scenario() -> None:
        bench = Bench("team", "other")
        async with bench.running():
            await until(lambda: len(bench.store.places) == 2)

        assert {kind: place.partition("@")[0] for kind, place in bench.store.places.items()} == {
            "events/team": "10",
            "events/other": "10",
        }
        assert {namespace for _, namespace, _ in bench.server.asked} == {"team", "other"}

    run(scenario())


def test_while_the_api_server_is_away_it_is_asked_ever_more_seldom() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.server.refusals = [Unreachable("no answer")] * 8
        async with bench.running():
            await until(lambda: bench.place == "10")

        assert bench.slept == [1, 2, 4, 8, 16, 30, 30, 30]
        assert bench.health.live() == []

    run(scenario())


def test_a_watch_that_the_server_ends_at_once_is_not_begun_again_without_a_pause() -> None:
    async def scenario() -> None:
        bench = Bench()
        async with bench.running():
            for _ in range(3):
                bench.server.end_watch()
            await until(lambda: len(bench.slept) == 3)

        assert bench.slept == [1, 1, 1]

    run(scenario())


def test_a_watch_that_brought_something_goes_on_at_once() -> None:
    async def scenario() -> None:
        bench = Bench()
        async with bench.running():
            bench.tell("a", 11)
            bench.server.end_watch()
            bench.tell("b", 12)
            await until(lambda: len(bench.keys) == 2)

        assert bench.slept == []
        assert bench.server.asked[-1] == ("watch", None, "11")

    run(scenario())


def test_rows_wait_for_a_store_that_is_away_and_none_is_lost() -> None:
    async def scenario() -> None:
        bench = Bench()
        async with bench.running():
            await until(lambda: bench.place == "10")
            bench.store.failures = [StoreError("the disk is full")] * 3
            bench.tell("a", 11)
            await until(lambda: bench.keys)

        assert bench.keys == ["a/1"]
        assert bench.slept == [0.5, 1, 2]

    run(scenario())


def test_a_mirror_whose_operator_leads_no_more_stops() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.store.failures = [StaleLeader("another leads")]
        async with bench.running() as task:
            with pytest.raises(ExceptionGroup) as raised:
                await task

        assert raised.group_contains(StaleLeader)

    run(scenario())


def test_an_idle_watch_writes_its_place_now_and_then_only() -> None:
    async def scenario() -> None:
        bench = Bench()
        async with bench.running():
            await until(lambda: bench.place == "10")
            for version in range(11, 20):
                bench.server.bookmark(str(version))
            await until(lambda: bench.server.changes.empty())
            assert bench.store.writes == 1
            bench.clock.advance(31)
            bench.server.bookmark("20")
            await until(lambda: bench.place == "20")

        assert bench.store.writes == 2
        assert bench.woken == []

    run(scenario())


def test_an_event_before_its_object_is_known_is_mirrored_when_it_is() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.known.clear()
        async with bench.running():
            bench.tell("early", 11)
            bench.server.bookmark("12")
            await until(lambda: bench.server.changes.empty())
            bench.known[POD] = "batch"
            await until(lambda: bench.keys)

        assert bench.keys == ["early/1"]
        assert bench.place == "12"

    run(scenario())


def test_a_burst_is_written_in_groups() -> None:
    async def scenario() -> None:
        bench = Bench()
        async with bench.running():
            await until(lambda: bench.place == "10")
            for number in range(400):
                bench.tell(f"ev-{number}", 11 + number)
            await until(lambda: len(bench.keys) == 400)

        assert bench.store.writes < 20

    run(scenario())


def test_a_flood_that_the_store_cannot_follow_is_not_read_into_memory() -> None:
    async def scenario() -> None:
        bench = Bench()
        release = asyncio.Event()

        async def stuck(call: Any) -> Any:
            await release.wait()
            return call()

        mirror = EventMirror(
            bench.store,
            bench.server,
            bench.clock,
            Metrics(),
            owner_of=lambda *_: "batch",
            woken=bench.woken.append,
            in_thread=stuck,
            sleep=bench._sleep,
        )
        task = asyncio.create_task(mirror.run())
        release.set()
        await until(lambda: bench.place == "10")
        release.clear()
        for number in range(5000):
            bench.tell(f"ev-{number}", 11 + number)
        await until(lambda: bench.server.changes.qsize() < 4000)
        for _ in range(1000):
            await asyncio.sleep(0)

        # What is read: a queue of 1000, what is being written, and one in hand.
        assert bench.server.changes.qsize() >= 5000 - 1000 - 200 - 2
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario())


def test_an_entry_is_counted_when_it_is_new_only() -> None:
    async def scenario() -> None:
        bench = Bench()
        async with bench.running():
            bench.tell("a", 11)
            bench.server.tell("MODIFIED", a_wire_event("a", version=12))
            bench.tell("b", 13)
            await until(lambda: bench.place == "13")

        assert bench.keys == ["a/1", "b/1"]
        counted = 'batchyard_audit_entries_total{severity="warning",type="KubernetesEvent"} 2.0'
        assert counted in bench.metrics.render()[0].decode()

    run(scenario())


def test_health_hears_that_the_watch_lives() -> None:
    async def scenario() -> None:
        bench = Bench()
        async with bench.running():
            await until(lambda: bench.health.age(Part.MIRROR) is not None)

    run(scenario())
