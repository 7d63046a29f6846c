"""Batches whose places a queue holds back, lets in and takes back: what becomes of them, and what is told of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from kube_fakes import EVENTS, PLACES
from kube_world import World, a_batch_test

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kube_fakes import Object

QUEUED = {"state": "Queued", "reason": "Queued", "message": "queued by Kueue: waiting for quota in queue team-a"}
TAKEN = {"state": "Queued", "reason": "Preempted", "message": "Kueue took it back into queue team-a"}


class Queue:
    """What Kueue does: every place waits until it is let in, and may be taken back."""

    def __init__(self, world: World) -> None:
        self.let_in: set[str] = set()
        self.taken: set[str] = set()
        world.place_status = self.status_of

    def status_of(self, place: Object) -> Mapping[str, str]:
        attempt = place["metadata"]["labels"]["attempt"]
        if attempt in self.taken:
            return TAKEN
        return {"state": "Ready"} if attempt in self.let_in else QUEUED


@pytest.fixture
def queue(world: World) -> Queue:
    return Queue(world)


def trail(world: World) -> list[str]:
    (record,) = world.store.batches()
    return [sealed.entry.type.value for sealed in world.store.audit_entries(record.id)]


def events(world: World) -> Counter[str]:
    return Counter(event["reason"] for event in world.cluster.all(EVENTS))


def ready(world: World) -> Object:
    return next(one for one in world.status["conditions"] if one["type"] == "EnvironmentReady")


async def queued(world: World, attempt: int) -> None:
    def waits() -> bool:
        place = world.status.get("environment") or {}
        return (place.get("attempt"), place.get("state")) == (attempt, "Queued")

    await world.until(waits)


@pytest.mark.parametrize("provider", ["InProcess", "KubeRay"])
def test_a_batch_waits_in_the_queue_for_longer_than_a_place_may_take_and_then_runs(
    world: World, queue: Queue, provider: str
) -> None:
    async def life() -> None:
        world.begin(a_batch_test(provider=provider, deadlines={"environmentSeconds": 30}))
        await queued(world, 1)
        await world.turns(300)
        queue.let_in.add("1")
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert world.status["phase"] == "Succeeded"
    told = [kind for kind in trail(world) if kind.startswith("Environment")]
    names = ("Provisioning", "Queued", "Admitted", "Ready", "Released")
    assert told == [f"Environment{name}" for name in names]
    assert all(events(world)[kind] == 1 for kind in told)


def test_the_status_says_that_the_batch_is_queued_and_where(world: World, queue: Queue) -> None:
    async def life() -> None:
        world.begin(a_batch_test())
        await queued(world, 1)

    asyncio.run(life())

    assert queue.let_in == set()
    assert world.status["phase"] == "Provisioning"
    assert world.status["message"] == f"0 of 4 trials finished; {QUEUED['message']}"
    assert world.status["environment"]["message"] == QUEUED["message"]
    assert (ready(world)["status"], ready(world)["reason"]) == ("False", "Queued")


def test_a_place_that_does_not_come_once_it_was_let_in_still_ends_the_batch_in_time(world: World) -> None:
    let_in: list[float] = []
    world.place_status = lambda _: {"state": "Pending", "reason": "Unschedulable"} if let_in else QUEUED

    async def life() -> None:
        world.begin(a_batch_test(deadlines={"environmentSeconds": 30}))
        await queued(world, 1)
        await world.turns(100)
        let_in.append(world.clock.monotonic())
        await world.until(lambda: world.finished)

    asyncio.run(life())

    assert world.status["reason"] == "EnvironmentDeadlineExceeded"
    assert 30 <= world.clock.monotonic() - let_in[0] <= 45


def test_an_operator_that_is_started_anew_counts_from_the_admission_too(world: World) -> None:
    state: list[Mapping[str, str]] = [QUEUED]
    world.place_status = lambda _: state[-1]

    async def life() -> None:
        world.begin(a_batch_test(deadlines={"environmentSeconds": 30}))
        await queued(world, 1)
        world.kill()
        await world.turns(100)
        state.append({"state": "Pending"})
        await world.until(lambda: world.status["environment"]["state"] == "Requested")
        world.kill(seconds=3)
        await world.turns(8)
        assert not world.finished
        state.append({"state": "Ready"})
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert world.status["phase"] == "Succeeded"
    assert Counter(trail(world))["EnvironmentQueued"] == Counter(trail(world))["EnvironmentAdmitted"] == 1


@pytest.mark.parametrize("provider", ["InProcess", "KubeRay"])
def test_a_preempted_place_is_queued_anew_and_no_trial_runs_twice(world: World, queue: Queue, provider: str) -> None:
    world.hangs = lambda worker, trial: worker.attempt == 1 and trial.ordinal == 2

    async def life() -> None:
        world.begin(a_batch_test(provider=provider, retry={"maxAttempts": 1}))
        await queued(world, 1)
        queue.let_in.add("1")
        await world.until(lambda: world.settled >= 2)
        queue.taken.add("1")
        await queued(world, 2)
        assert world.status["message"].startswith("2 of 4 trials finished; queued by Kueue")
        queue.let_in.add("2")
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert world.status["phase"] == "Succeeded"
    assert sorted(world.executed) == sorted(set(world.executed))
    assert len(world.executed) == 4
    told = Counter(trail(world))
    assert (told["EnvironmentPreempted"], told["EnvironmentFailed"], told["EnvironmentQueued"]) == (1, 0, 2)


def test_places_that_are_preempted_again_and_again_do_not_end_the_batch(world: World, queue: Queue) -> None:
    world.hangs = lambda worker, _trial: worker.attempt < 5

    async def life() -> None:
        world.begin(a_batch_test(retry={"maxAttempts": 1}))
        for number in range(1, 6):
            await queued(world, number)
            queue.let_in.add(str(number))
            await world.until(lambda: bool(world.workers) and world.status["phase"] == "Running")
            if number < 5:
                queue.taken.add(str(number))
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert world.status["phase"] == "Succeeded"
    assert Counter(trail(world))["EnvironmentPreempted"] == 4


def test_a_place_that_goes_back_to_the_queue_before_its_worker_began_stays_where_it_is_in_it(world: World) -> None:
    state: list[Mapping[str, str]] = [QUEUED]
    world.place_status = lambda _: state[-1]

    async def life() -> None:
        world.begin(a_batch_test(deadlines={"environmentSeconds": 30}))
        await queued(world, 1)
        state.append({"state": "Pending"})
        await world.until(lambda: world.status["environment"]["state"] == "Requested")
        state.append(QUEUED)
        await queued(world, 1)
        await world.turns(60)
        state.append({"state": "Ready"})
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert world.status["phase"] == "Succeeded"
    assert world.cluster.writes["create places"] == 1
    assert Counter(trail(world))["EnvironmentQueued"] == 2


def test_the_batchs_own_deadline_passes_in_the_queue_too(world: World, queue: Queue) -> None:
    async def life() -> None:
        world.begin(a_batch_test(deadlines={"batchSeconds": 60, "trialSeconds": 5}))
        await queued(world, 1)
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert queue.let_in == set()
    assert world.status["reason"] == "BatchDeadlineExceeded"
    assert world.status["trials"]["notRun"] == 4


def test_a_batch_that_is_suspended_leaves_the_queue_and_joins_it_again_when_it_is_resumed(
    world: World, queue: Queue
) -> None:
    tests = ("batchyard.dev/v1alpha1", "batchtests")

    async def life() -> None:
        world.begin(a_batch_test())
        await queued(world, 1)
        world.cluster.change(tests, "docs-search", {"suspend": True})
        await world.until(lambda: world.status["phase"] == "Suspended")
        assert world.cluster.all(PLACES) == []
        world.cluster.change(tests, "docs-search", {"suspend": False})
        await queued(world, 2)
        queue.let_in.add("2")
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert world.status["phase"] == "Succeeded"


def test_a_batch_that_waits_for_long_costs_the_api_server_little(world: World, queue: Queue) -> None:
    async def life() -> None:
        world.begin(a_batch_test(deadlines={"batchSeconds": 7200}))
        await queued(world, 1)
        before = world.cluster.writes["patch status batchtests"]
        await world.turns(1200)
        assert world.cluster.writes["patch status batchtests"] - before <= 2

    asyncio.run(life())

    assert queue.let_in == set()
