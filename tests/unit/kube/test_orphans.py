"""What is swept and what never is: places that no open batch holds, and everybody else's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.apiserver.errors import Unreachable
from batchyard.model.errors import StaleLeader
from kube_fakes import PLACES
from kube_fate import Fate
from kube_world import BenchOperator, World, a_batch_test

if TYPE_CHECKING:
    from kube_fakes import Object


def a_place(name: str, uid: str, **metadata: Any) -> Object:
    labels = {"batchyard.dev/uid": uid, "batch": "", "attempt": "1"}
    return {"metadata": {"name": name, "labels": labels, **metadata}, "status": {}}


def names(world: World) -> set[str]:
    return {place["metadata"]["name"] for place in world.cluster.all(PLACES)}


def kinds(world: World) -> list[str]:
    (record,) = world.store.batches()
    return [sealed.entry.type.value for sealed in world.store.audit_entries(record.id)]


async def sweep(world: World) -> int:
    return await world.operator_now().parts.sweeper.sweep()


def uid(world: World) -> str:
    return str(world.test["metadata"]["uid"])


def test_a_place_whose_batch_is_over_is_removed_and_told_of(world: World) -> None:
    async def life() -> int:
        world.begin(a_batch_test())
        await world.until(lambda: world.finished and world.is_quiet)
        world.cluster.apply(PLACES, a_place("docs-search-old-1", uid(world)))
        removed = await sweep(world)
        await world.until(lambda: world.is_quiet)
        return removed

    assert asyncio.run(life()) == 1
    assert names(world) == set()
    assert kinds(world)[-1] == "OrphanRemoved"
    (record,) = world.store.batches()
    assert world.store.live_owner(record.id) is None
    assert world.operator_now().parts.batches.all() == []


def test_a_place_that_was_made_after_it_was_given_back_is_removed(world: World) -> None:
    """As by a call to the API server that was thought to have failed."""
    world.hangs = lambda worker, _: worker.attempt == 2

    async def life() -> int:
        world.place_status = lambda place: {"state": "Ready"}
        world.begin(a_batch_test())
        await world.until(lambda: world.settled == 1)
        (first,) = names(world)
        world.place_status = lambda place: (
            {"state": "Lost"} if place["metadata"]["labels"]["attempt"] == "1" else {"state": "Ready"}
        )
        await world.until(lambda: names(world) and first not in names(world))
        world.cluster.apply(PLACES, a_place(first, uid(world)))
        return await sweep(world)

    assert asyncio.run(life()) == 1
    assert len([place for place in world.cluster.all(PLACES) if not place["metadata"].get("deletionTimestamp")]) == 1


def test_the_place_of_an_open_batch_is_never_an_orphan_in_whatever_state_it_is(world: World) -> None:
    async def life() -> None:
        world.begin(a_batch_test())
        for _ in range(25):
            await world.turn()
            assert await sweep(world) == 0
        assert world.finished

    asyncio.run(life())

    assert "OrphanRemoved" not in kinds(world)


@pytest.mark.parametrize("number", range(6, 32, 2))
def test_no_crash_makes_the_sweeper_take_a_place_that_is_needed(world: World, number: int) -> None:
    world.fates = [Fate(strikes={(number, "after"): "crash"})]

    async def life() -> None:
        world.begin(a_batch_test())
        for _ in range(30):
            await world.turn()
            if world.operator is not None:
                await world.or_crash(world.operator.parts.sweeper.sweep)
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert world.status["phase"] == "Succeeded"
    assert "OrphanRemoved" not in kinds(world)


def test_a_place_of_a_batchtest_that_the_store_does_not_know_is_another_installations(world: World) -> None:
    async def life() -> int:
        world.begin(a_batch_test())
        await world.until(lambda: world.finished and world.is_quiet)
        world.cluster.apply(PLACES, a_place("theirs", "uid-of-another-cluster"))
        world.cluster.apply(PLACES, a_place("nobodys", ""))
        return await sweep(world)

    assert asyncio.run(life()) == 0
    assert names(world) == {"theirs", "nobodys"}


def test_what_cannot_be_removed_keeps_nothing_else_from_being_removed(world: World) -> None:
    async def life() -> int:
        world.begin(a_batch_test())
        await world.until(lambda: world.finished and world.is_quiet)
        operator = world.operator_now()
        for name in ("one", "two"):
            world.cluster.apply(PLACES, a_place(name, uid(world)))
        world.cluster.refuse = lambda verb, *_: Unreachable("no answer") if verb == "delete" else None
        assert await sweep(world) == 0
        world.cluster.refuse = lambda *_: None
        return await operator.parts.sweeper.sweep()

    assert asyncio.run(life()) == 2


def test_an_operator_that_leads_no_more_sweeps_nothing(world: World) -> None:
    async def life() -> None:
        world.begin(a_batch_test())
        await world.until(lambda: world.finished and world.is_quiet)
        world.cluster.apply(PLACES, a_place("old", uid(world)))
        old = world.operator_now()
        BenchOperator(world, Fate(), "another")
        with pytest.raises(StaleLeader):
            await old.parts.sweeper.sweep()

    asyncio.run(life())

    assert names(world) == {"old"}
