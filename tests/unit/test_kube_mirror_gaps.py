"""The mirror where the API server has forgotten, or never knew, where it was."""

from __future__ import annotations

import pytest

from batchyard.apiserver.errors import ApiError, Expired, Unreachable
from batchyard.engine.cluster_ports import ClusterRef
from batchyard.model.events import EventType
from event_wire import a_wire_event
from fake_events import until
from mirror_bench import Bench, run

EXPIRED = Expired(410, "Expired", "too old resource version: 5 (90)")


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
