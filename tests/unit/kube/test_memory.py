"""What the operator remembers of many BatchTests is little: it must hold a thousand of them in a small pod."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import TYPE_CHECKING

from batchyard.kube.objects import Objects
from kube_fakes import BATCH_TESTS, PLACES
from kube_world import NAME, World, a_batch_test

if TYPE_CHECKING:
    from collections.abc import Callable

    from kube_fakes import Object

MOST_OPEN_BYTES = 50_000
MOST_FINISHED_BYTES = 8_000


def held_by(make: Callable[[], object]) -> int:
    """Return how many bytes are held by what ``make`` returns."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        made = make()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        del made
    finally:
        tracemalloc.stop()
    return after - before


def apply(world: World, name: str) -> None:
    test = a_batch_test(cases=10)
    test["metadata"] = {"name": name}
    world.cluster.apply(BATCH_TESTS, test)


def test_an_open_batch_is_held_in_little(world: World) -> None:
    """Of 100 batches with 20 trials each, as an operator opens them that takes over."""
    many = 100

    async def life() -> int:
        world.place_status = lambda _: {"state": "Pending"}
        world.apply_code()
        for number in range(many + 1):
            apply(world, f"test-{number}")
        await world.until(lambda: len(world.cluster.all(PLACES)) == many + 1)
        batches = world.operator_now().parts.batches
        found = world.store.open_batches()
        for batch in batches.all():
            batches.forget(batch)
        # What the first one needs once is not counted.
        await batches.open(found[0][1], found[0][0])

        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for batch_id, ref in found[1:]:
            await batches.open(ref, batch_id)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(batches.all()) == many + 1
        return after - before

    held = asyncio.run(life())

    assert held / many < MOST_OPEN_BYTES


def test_a_batch_that_is_over_is_not_held_at_all(world: World) -> None:
    async def life() -> None:
        world.begin(a_batch_test())
        await world.until(lambda: world.finished and world.is_quiet)
        parts = world.operator_now().parts
        assert parts.batches.all() == []
        assert [seen.phase for seen in parts.objects] == ["Succeeded"]
        assert world.operator_now().due == {}

    asyncio.run(life())


def a_finished_body(number: int, status: Object) -> Object:
    metadata = {"namespace": "team", "name": f"{NAME}-{number}", "uid": f"uid-{number}", "resourceVersion": str(number)}
    return {"metadata": metadata, "spec": a_batch_test(cases=200)["spec"], "status": status}


def test_a_thousand_finished_batchtests_are_held_in_little_whatever_their_statuses() -> None:
    def status(number: int) -> Object:
        rows = [
            {"name": f"combination-{row}-of-some-length", "passed": row, "score": number / (row + 1), "failed": 1}
            for row in range(150)
        ]
        return {"phase": "Succeeded", "combinations": rows, "conditions": []}

    def see() -> Objects:
        objects = Objects()
        for number in range(1000):
            objects.see(a_finished_body(number, status(number)))
        return objects

    assert held_by(see) / 1000 < MOST_FINISHED_BYTES
