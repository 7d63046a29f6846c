"""Audit trails are deleted after their time, and nothing else changes by it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kube_fakes import PLACES
from kube_world import World, a_batch_test

if TYPE_CHECKING:
    from kube_fakes import Object

DAY = 24 * 3600


def trail(world: World) -> int:
    (record,) = world.store.batches()
    return len(list(world.store.audit_entries(record.id)))


def kept_for(days: int) -> Object:
    return a_batch_test(audit={"retentionDays": days})


def test_a_trail_goes_after_its_time_and_the_finished_batch_stays_as_it_is(world: World) -> None:
    async def life() -> None:
        world.begin(kept_for(3))
        await world.until(lambda: world.finished and world.is_quiet)
        status, writes = world.status, world.cluster.writes.copy()
        retention = world.operator_now().parts.retention
        world.clock.advance(2 * DAY)
        await retention.prune()
        assert trail(world) > 0

        world.clock.advance(2 * DAY)
        await retention.prune()
        assert trail(world) == 0
        world.kill()
        await world.turns(3)

        assert (world.status, world.cluster.writes) == (status, writes)

    asyncio.run(life())


def test_a_batch_whose_place_outlived_its_trail_still_gives_it_back(world: World) -> None:
    async def life() -> None:
        world.begin(kept_for(1))
        stuck = world.cluster.remove
        world.cluster.remove = lambda *_: None  # type: ignore[method-assign]
        await world.until(lambda: world.finished)
        world.clock.advance(2 * DAY)
        await world.operator_now().parts.retention.prune()
        assert trail(world) == 0
        world.cluster.remove = stuck  # type: ignore[method-assign]
        await world.until(lambda: not world.cluster.all(PLACES) and world.is_quiet, 30)

    asyncio.run(life())

    assert trail(world) == 0
    assert world.store.open_batches() == []
