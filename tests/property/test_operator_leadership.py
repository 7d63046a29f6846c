"""A leader that is paused at any of its acts, and wakes up after another has taken over and finished, spoils nothing.

What it was about to do when it was paused may still happen to the cluster, since no API server knows who leads; then
the new leader mends it. The store takes nothing from it any more, and it is told so at its next act.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.kube.http import Superseded
from batchyard.model.errors import StaleLeader
from batchyard.model.wire import Segment
from kube_fakes import BATCH_TESTS, PLACES
from kube_fate import Fate, Gate
from kube_stories import ON_RAY, Ending, ending_of
from kube_world import BenchOperator, Stage, World

if TYPE_CHECKING:
    from collections.abc import Iterator

SWEPT = "OrphanRemoved"
# The two halves of one act.
PLACE = {"create places": 1, "create secrets": 1}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Where the worlds are set."""
    made = Stage(tmp_path_factory.mktemp("stage"))
    yield made
    made.close()


async def until_paused(world: World, gate: Gate) -> asyncio.Task[None] | None:
    """Go on until the operator is paused; return the turn that it is paused in, None if the story is over before."""
    world.begin(ON_RAY.test())
    reached = asyncio.create_task(gate.is_reached.wait())
    for _ in range(40):
        turn = asyncio.create_task(world.turn())
        await asyncio.wait({turn, reached}, return_when=asyncio.FIRST_COMPLETED)
        if reached.done():
            return turn
        turn.result()
    reached.cancel()
    return None


async def over(world: World) -> None:
    await world.until(lambda: world.finished and world.is_quiet)


async def act(old: BenchOperator, world: World) -> None:
    """Have an operator do everything that it could do by itself or be asked to do."""
    for seen in old.parts.objects:
        old.wake(seen.ref.uid)
    await old.turn()
    await old.parts.sweeper.sweep()
    (record,) = world.store.batches()
    with contextlib.suppress(Superseded):
        await old.parts.intake.segment(record.id, 1, 99, Segment(retried=1))


async def pause_and_wake(world: World, number: int) -> str | None:
    """Pause the first operator before its act of this number, let another finish, and wake it; say what it did then."""
    gate = Gate(number)
    world.fates = [Fate(gate=gate)]
    paused = await until_paused(world, gate)
    if paused is None:
        return None
    old = world.operator
    assert old is not None
    world.operator = BenchOperator(world, Fate(), "another")
    await over(world)
    before = world.cluster.writes.copy()

    gate.open()
    await paused
    written = world.cluster.writes - before
    assert written.total() <= 1 or written == PLACE
    await world.operator.parts.sweeper.sweep()
    await world.turns(8)

    before = world.cluster.writes.copy()
    for _ in range(2):
        with contextlib.suppress(StaleLeader):
            await act(old, world)
    assert world.cluster.writes == before
    return ", ".join(written)


def what_matters(ending: Ending) -> dict[str, Any]:
    """Return the ending but for the sweeping up of what the old leader made in its last moment."""
    return {
        "status": ending.status,
        "objects": ending.objects,
        "batches": ending.batches,
        "results": ending.results,
        "trail": [kind for kind in ending.trail if kind != SWEPT],
        "places": ending.places,
        "executed": ending.executed,
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_leader_that_was_paused_and_wakes_up_spoils_nothing(stage: Stage) -> None:
    expected = what_matters(ON_RAY.live(stage.world()))
    done: set[str] = set()
    for number in range(1000):
        world = stage.world()
        late = asyncio.run(pause_and_wake(world, number))
        if late is None:
            break
        done.add(late)
        assert (number, what_matters(ending_of(world))) == (number, expected)

    assert number > 50
    # Otherwise it was never paused where it matters.
    assert {"", "create places, create secrets", "create secrets", "patch status batchtests"} <= done
    assert world.cluster.all(PLACES) == []
    assert len(world.cluster.all(BATCH_TESTS)) == 1
