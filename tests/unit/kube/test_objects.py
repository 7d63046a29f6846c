"""What is remembered of BatchTests, and the comparison of that with what is there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.apiserver.errors import Unreachable
from batchyard.engine.cluster_ports import ClusterRef
from batchyard.kube.inventory import Inventory
from batchyard.kube.objects import BatchTestObject, Objects
from kube_fakes import BATCH_TESTS, FakeApi, as_client
from kube_fate import Fate
from kube_world import NAME, World, a_batch_test

if TYPE_CHECKING:
    from kube_fakes import Object


def a_body(version: int = 1, **fields: Any) -> Object:
    metadata = {"namespace": "team", "name": NAME, "uid": "uid-1", "generation": 1, "resourceVersion": str(version)}
    return {"metadata": metadata | fields.pop("metadata", {}), "spec": {}, **fields}


def test_the_fields_that_may_change_are_read_and_one_of_the_wrong_type_counts_as_not_set() -> None:
    seen = BatchTestObject.from_body(
        a_body(spec={"suspend": True, "cancel": "yes", "ttlSecondsAfterFinished": 5}, status={"phase": "Running"})
    )

    assert (seen.suspend, seen.cancel, seen.ttl_seconds, seen.phase) == (True, False, 5.0, "Running")
    assert seen.status == {"phase": "Running"}
    for ttl in (None, True, "5", [5]):
        assert BatchTestObject.from_body(a_body(spec={"ttlSecondsAfterFinished": ttl})).ttl_seconds is None


def test_an_object_that_is_being_deleted_is_as_good_as_gone() -> None:
    assert not BatchTestObject.from_body(a_body(metadata={"deletionTimestamp": "2026-01-02T03:04:05Z"})).exists


def test_a_watch_that_lags_behind_our_own_write_takes_nothing_back() -> None:
    objects = Objects()
    objects.see(a_body(7, status={"phase": "Running"}))

    newest = objects.see(a_body(5, status={"phase": "Provisioning"}))

    assert newest.phase == "Running"
    assert objects.see(a_body(8, status={"phase": "Succeeded"})).phase == "Succeeded"


def test_versions_that_are_no_numbers_are_taken_as_they_come() -> None:
    objects = Objects()
    objects.see(a_body(metadata={"resourceVersion": "b"}, status={"phase": "Running"}))

    assert objects.see(a_body(metadata={"resourceVersion": "a"}, status={"phase": "Pending"})).phase == "Pending"


def test_a_deletion_is_never_taken_back_by_what_comes_late() -> None:
    objects = Objects()
    objects.see(a_body(3))
    objects.see(a_body(9), deleted=True)

    assert not objects.see(a_body(8)).exists
    assert not objects.see(a_body(10)).exists


def test_what_was_never_seen_can_be_lost_too() -> None:
    objects, ref = Objects(), ClusterRef("team", NAME, "uid-1")

    assert objects.lose(ref) == replace(BatchTestObject(ref), exists=False)
    objects.forget("uid-1")
    assert (len(objects), objects.get("uid-1")) == (0, None)


class Stock:
    """An inventory of the fake cluster, and what it woke."""

    def __init__(self, world: World, *namespaces: str) -> None:
        self.woken: list[str] = []
        self.heard = 0
        self.objects = Objects()
        self._inventory = Inventory(
            as_client(FakeApi(world.cluster, Fate())),
            world.operator_now().parts.batches,
            self.objects,
            namespaces,
            self.woken.append,
            self._hear,
        )

    def _hear(self) -> None:
        self.heard += 1

    async def take(self) -> list[str]:
        self.woken.clear()
        await self._inventory.take()
        return list(self.woken)


def apply(world: World, name: str, namespace: str = "team") -> str:
    body = a_batch_test()
    body["metadata"] = {"name": name}
    return str(world.cluster.apply(BATCH_TESTS, body, namespace)["metadata"]["uid"])


def test_taking_stock_wakes_what_is_new_changed_or_gone_and_nothing_else(world: World) -> None:
    async def life() -> None:
        stock = Stock(world)
        uids = [apply(world, f"test-{number}") for number in range(120)]
        assert await stock.take() == uids
        assert await stock.take() == []

        world.cluster.change(BATCH_TESTS, "test-7", {"suspend": True})
        world.cluster.delete(BATCH_TESTS, "test-9")
        assert await stock.take() == [uids[7], uids[9]]

        gone = stock.objects.get(uids[9])
        assert gone is not None
        assert not gone.exists

    asyncio.run(life())


def test_taking_stock_of_an_idle_cluster_is_a_sign_of_life(world: World) -> None:
    stock = Stock(world)

    asyncio.run(stock.take())

    assert (stock.heard, stock.woken) == (1, [])


def test_an_open_batch_whose_batchtest_went_while_nobody_looked_is_woken(world: World) -> None:
    async def life() -> None:
        world.hangs = lambda *_: True
        world.begin(a_batch_test())
        await world.turns(5)
        uid = world.test["metadata"]["uid"]
        world.cluster.delete(BATCH_TESTS, NAME)

        assert await Stock(world).take() == [uid]

    asyncio.run(life())


def test_an_open_batch_in_a_namespace_that_is_not_watched_is_left_alone(world: World) -> None:
    async def life() -> None:
        world.hangs = lambda *_: True
        world.begin(a_batch_test())
        await world.turns(5)
        other = apply(world, "other", "elsewhere")

        stock = Stock(world, "elsewhere")
        assert await stock.take() == [other]
        world.cluster.delete(BATCH_TESTS, NAME)
        assert await stock.take() == []

    asyncio.run(life())


def test_a_list_that_breaks_off_loses_nothing(world: World) -> None:
    async def life() -> None:
        stock = Stock(world)
        uid = apply(world, "test")
        await stock.take()
        world.cluster.is_away = True
        heard = stock.heard
        with pytest.raises(Unreachable):
            await stock.take()
        assert stock.heard == heard
        seen = stock.objects.get(uid)
        assert seen is not None
        assert seen.exists

    asyncio.run(life())
