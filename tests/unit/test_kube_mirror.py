"""The mirror: others' events on our objects reach the trail once, whatever restarts, gaps and floods there are."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.apiserver.errors import ApiError, Unreachable
from batchyard.engine.cluster_ports import ClusterRef
from batchyard.kube.health import Health, Part
from batchyard.kube.mirror import EventMirror
from batchyard.metrics import Metrics
from batchyard.model.errors import StaleLeader, StoreError
from batchyard.model.events import EventType
from batchyard.testing.fake_clock import FakeClock
from event_wire import POD, a_wire_event
from fake_events import FakeEventServer, FakeMirrorStore, in_this_thread, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

EXPIRED = ApiError(410, "Expired", "too old resource version: 5 (90)")


class Bench:
    """A mirror between a fake API server and a fake store. Made inside the event loop."""

    def __init__(self, *namespaces: str) -> None:
        self.clock, self.store, self.server = FakeClock(), FakeMirrorStore(), FakeEventServer()
        self.health = Health(self.clock)
        self.slept: list[float] = []
        self.woken: list[str] = []
        self.known = {POD: "batch"}
        self.namespaces = namespaces

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
        await asyncio.sleep(0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        mirror = EventMirror(
            self.store,
            self.server,
            self.clock,
            Metrics(),
            namespaces=self.namespaces,
            owner_of=lambda namespace, name: self.known.get(name) if namespace == "team" else None,
            woken=self.woken.append,
            in_thread=in_this_thread,
            health=self.health,
            sleep=self._sleep,
        )
        task = asyncio.create_task(mirror.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def keys(self) -> list[str]:
        return list(self.store.rows)

    @property
    def place(self) -> str:
        return self.store.places.get("events", "").partition("@")[0]

    def tell(self, uid: str, version: int, **fields: Any) -> None:
        self.server.tell("ADDED", a_wire_event(uid, version=version, **fields))


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 30))


def test_at_the_first_start_what_there_is_is_mirrored_without_a_gap() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.server.listed = [a_wire_event(f"ev-{number}") for number in range(5)]
        async with bench.running():
            await until(lambda: bench.place == "10")

        assert bench.keys == [f"ev-{number}/1" for number in range(5)]
        assert [kind for kind, _, _ in bench.server.asked] == ["list", "list", "list", "watch"]
        assert bench.server.asked[-1] == ("watch", None, "10")

    run(scenario())


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
        async with bench.running():
            await until(lambda: bench.server.asked)

        assert bench.server.asked == [("watch", None, "11")]

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


def test_what_the_api_server_forgot_is_a_gap_in_every_open_batch() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.store.open.append(("second", ClusterRef("other", "second", "uid-2")))
        bench.store.places["events"] = "5@2026-01-02T03:00:00+00:00"
        bench.server.refusals, bench.server.version = [EXPIRED], "90"
        bench.server.listed = [a_wire_event("still-there")]
        async with bench.running():
            await until(lambda: bench.place == "90")

        gaps = [entry for entry in bench.store.rows.values() if entry.type is EventType.MIRROR_GAP]
        assert [gap.batch_id for gap in gaps] == ["batch", "second"]
        assert gaps[0].details["fromResourceVersion"] == "5"
        assert gaps[0].details["toResourceVersion"] == "90"
        assert gaps[0].details["since"] == "2026-01-02T03:00:00+00:00"
        assert "still-there/1" in bench.keys

    run(scenario())


def test_a_watch_that_expires_under_way_is_a_gap_too() -> None:
    async def scenario() -> None:
        bench = Bench()
        async with bench.running():
            bench.tell("before", 11)
            await until(lambda: bench.keys)
            bench.server.version = "90"
            bench.server.tell("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
            await until(lambda: bench.place == "90")

        assert [key for key in bench.keys if key.startswith("gap/")] == ["gap/events/11/batch"]

    run(scenario())


def test_a_gap_concerns_only_the_namespaces_that_are_watched() -> None:
    async def scenario() -> None:
        bench = Bench("team")
        bench.store.open.append(("second", ClusterRef("other", "second", "uid-2")))
        bench.store.places["events/team"] = "5@2026-01-02T03:00:00+00:00"
        bench.server.refusals = [EXPIRED]
        async with bench.running():
            await until(lambda: any(key.startswith("gap/") for key in bench.keys))

        assert bench.keys == ["gap/events/team/5/batch"]

    run(scenario())


def test_a_gap_is_recorded_once_even_if_the_list_after_it_fails_at_first() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.store.places["events"] = "5@2026-01-02T03:00:00+00:00"
        bench.server.refusals = [EXPIRED, Unreachable("no answer"), ApiError(500, "InternalError", "etcd")]
        async with bench.running():
            await until(lambda: bench.place == "10")

        assert bench.keys == ["gap/events/5/batch"]
        assert bench.slept == [1.0, 2.0]

    run(scenario())


def test_a_place_from_another_clusters_time_is_given_up() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.store.places["events"] = "99999@2026-01-02T03:00:00+00:00"
        bench.server.refusals = [ApiError(504, "Timeout", "Too large resource version: 99999, current: 10")]
        async with bench.running():
            await until(lambda: bench.place == "10")

        assert bench.keys == ["gap/events/99999/batch"]

    run(scenario())


@pytest.mark.parametrize("place", ["", "7", "7@yesterday", "@", "@@"])
def test_a_stored_place_that_cannot_be_read_begins_anew(place: str) -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.store.places["events"] = place
        async with bench.running():
            await until(lambda: bench.place == "10")

        assert bench.server.asked[0][0] == "list"

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


def test_health_hears_that_the_watch_lives() -> None:
    async def scenario() -> None:
        bench = Bench()
        async with bench.running():
            await until(lambda: bench.health.age(Part.MIRROR) is not None)

    run(scenario())
