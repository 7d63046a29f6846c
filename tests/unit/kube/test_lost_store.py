"""An operator that was moved to another store: what ran under the earlier one goes, and nobody waits for it."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.store.cluster import SqlClusterStore
from batchyard.store.connect import make_engine, parse_target
from batchyard.store.opening import open_cluster_store
from kube_fakes import BATCH_TESTS, PLACES
from kube_world import NAME, World, a_batch_test

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TWIN = f"{NAME}-parity"
ON_RAY = {"enabled": True, "against": "KubeRay", "sampleSize": 2}


@contextmanager
def moved(world: World, folder: Path) -> Iterator[None]:
    """Have the next operator keep its results in an empty store."""
    path = folder / "another.db"
    open_cluster_store(str(path)).close()
    world.kill()
    world.engine = make_engine(parse_target(str(path)))
    world.store = SqlClusterStore(world.engine)
    try:
        yield
    finally:
        world.engine.dispose()


async def sweep(world: World) -> int:
    return await world.operator_now().parts.sweeper.sweep()


def twin_of(world: World) -> dict[str, Any]:
    return world.cluster.get(BATCH_TESTS, TWIN) if world.cluster.has(BATCH_TESTS, TWIN) else {}


def test_the_place_of_a_twin_that_is_refused_now_goes_and_its_batch_says_that_it_is_not_compared(
    world: World, tmp_path: Path
) -> None:
    world.hangs = lambda worker, _trial: worker.batch_id.startswith(TWIN)

    async def life() -> None:
        world.begin(a_batch_test(parity=ON_RAY))
        await world.until(lambda: twin_of(world).get("status", {}).get("phase") == "Running")
        with moved(world, tmp_path):
            await world.until(lambda: twin_of(world)["status"]["phase"] == "Failed")
            await world.turns(5)
            assert len(world.cluster.all(PLACES)) == 1
            assert await sweep(world) == 1
            await world.until(lambda: world.is_quiet)

    asyncio.run(life())

    assert twin_of(world)["status"]["reason"] == "InvalidSpec"
    assert (world.status["phase"], world.condition("ParityVerified")) == ("Succeeded", "Unknown")
    (said,) = (one for one in world.status["conditions"] if one["type"] == "ParityVerified")
    assert "not in the operator's store any more" in said["message"]


@pytest.mark.parametrize("keep", [False, True], ids=["goes", "kept"])
def test_the_place_of_a_batch_that_was_over_goes_unless_it_was_to_be_kept(
    world: World, tmp_path: Path, keep: bool
) -> None:
    world.place_status = lambda _: {"state": "Ended"}
    kube_ray = {"workers": {"replicas": 1}, "keepOnFailure": keep}

    async def life() -> int:
        world.begin(a_batch_test(provider="KubeRay", environment={"kubeRay": kube_ray}))
        await world.until(lambda: world.finished and not world.store.open_batches())
        place = {"name": "left-1", "labels": {"batchyard.dev/uid": world.test["metadata"]["uid"]}}
        for known in world.cluster.all(PLACES):
            world.cluster.remove(PLACES, known)
        world.place_status = lambda _: {"state": "Pending"}
        world.cluster.apply(PLACES, {"metadata": place, "status": {}})
        with moved(world, tmp_path):
            await world.turns(2)
            return await sweep(world)

    assert asyncio.run(life()) == (0 if keep else 1)


def test_a_batch_that_was_not_over_begins_anew_and_its_place_is_not_taken_from_it(world: World, tmp_path: Path) -> None:
    world.hangs = lambda *_: True

    async def life() -> int:
        world.begin(a_batch_test(provider="KubeRay"))
        await world.until(lambda: world.status.get("phase") == "Running")
        with moved(world, tmp_path):
            removed = 0
            for _ in range(5):
                await world.turn()
                removed += await sweep(world)
            return removed

    assert asyncio.run(life()) == 0
    assert len(world.cluster.all(PLACES)) == 1
