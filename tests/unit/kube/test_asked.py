"""What people ask of a BatchTest - suspend, cancel, delete, a time to live - in every phase that it can be in."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.model.outcome import Outcome
from kube_fakes import BATCH_TESTS, CONFIG_MAPS, EVENTS, PLACES, SECRETS
from kube_world import NAME, World, a_batch_test

if TYPE_CHECKING:
    from collections.abc import Callable

    from kube_fakes import Object

READY = {"state": "Ready"}
PENDING = {"state": "Pending", "reason": "Unschedulable", "message": "no node has room"}


def change(world: World, **spec: Any) -> None:
    world.cluster.change(BATCH_TESTS, NAME, spec)


def phase(world: World) -> str:
    return str(world.status.get("phase", ""))


async def wait_for_code(world: World) -> None:
    """Pending: its ConfigMap is missing."""
    world.begin(a_batch_test(), code=False)
    await world.until(lambda: world.status.get("reason") == "ConfigMapMissing")


async def wait_for_place(world: World) -> None:
    """Provisioning: no node has room."""
    world.place_status = lambda _: PENDING
    world.begin(a_batch_test())
    await world.until(lambda: phase(world) == "Provisioning" and world.cluster.all(PLACES))
    await world.turns(3)


async def run(world: World) -> None:
    """Running: one trial passed, the next one hangs."""
    world.hangs = lambda worker, trial: worker.attempt == 1 and trial.ordinal == 1
    world.begin(a_batch_test())
    await world.until(lambda: world.settled == 1)
    await world.turns(2)


async def run_without_a_word(world: World) -> None:
    """Running: the worker has said something once, and then no more."""
    await run(world)
    world.has_workers = False
    world.workers.clear()
    await world.turns(25)


async def wait_for_another_place(world: World) -> None:
    """Provisioning: the first place was lost and given back, the next one is not due yet."""
    world.place_status = lambda _: {"state": "Lost", "reason": "NodeLost", "message": "the node is gone"}
    world.begin(a_batch_test(retry={"maxAttempts": 5, "backoffSeconds": 1000, "backoffMaxSeconds": 1000}))
    await world.until(lambda: trail(world)["EnvironmentReleased"] == 1)
    await world.turns(3)
    assert not world.cluster.all(PLACES)


async def be_held(world: World) -> None:
    """Suspended: with one trial passed and no place."""
    await run(world)
    change(world, suspend=True)
    await world.until(lambda: phase(world) == "Suspended")
    assert not world.cluster.all(PLACES)


async def succeed(world: World) -> None:
    """Succeeded: all over."""
    world.begin(a_batch_test())
    await world.until(lambda: world.finished and world.is_quiet)


async def be_refused(world: World) -> None:
    """Failed: its spec is invalid."""
    test = a_batch_test()
    test["spec"]["workflow"]["source"]["path"] = "."
    world.begin(test)
    await world.until(lambda: world.finished and world.is_quiet)


UNDER_WAY = (wait_for_place, run, run_without_a_word, wait_for_another_place, be_held)
OVER = (succeed, be_refused)


def name_of(reach: Callable[..., object]) -> str:
    return reach.__name__


def trail(world: World) -> Counter[str]:
    return Counter(
        sealed.entry.type.value for record in world.store.batches() for sealed in world.store.audit_entries(record.id)
    )


def check_nothing_is_left(world: World) -> None:
    assert not world.cluster.all(PLACES)
    assert not world.cluster.all(SECRETS)
    assert world.store.open_batches() == []
    assert not list(world.operator.parts.batches.all()) if world.operator else True
    assert trail(world)["EnvironmentProvisioning"] == trail(world)["EnvironmentReleased"]


def check_every_trial_has_one_end(world: World) -> None:
    (record,) = world.store.batches()
    assert [result.ordinal for result in world.store.results(record.id)] == list(range(record.total))


# -- cancel ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reach", UNDER_WAY, ids=name_of)
def test_a_cancelled_batch_ends_as_cancelled_and_leaves_nothing_in_the_cluster(
    world: World, reach: Callable[[World], Any]
) -> None:
    async def life() -> None:
        await reach(world)
        change(world, cancel=True)
        await world.until(lambda: world.finished and world.is_quiet, 60)

    asyncio.run(life())

    assert (world.status["phase"], world.status["reason"]) == ("Cancelled", "Cancelled")
    assert "spec.cancel is true" in world.status["message"]
    assert world.condition("Stalled") == "True"
    told = trail(world)
    assert (told["BatchCancelled"], told["BatchFinished"]) == (1, 1)
    check_nothing_is_left(world)
    check_every_trial_has_one_end(world)


@pytest.mark.proves("bug-07")
def test_a_worker_that_hears_of_a_cancel_ends_what_runs_and_leaves_the_rest_unrun(world: World) -> None:
    async def life() -> None:
        await run(world)
        change(world, cancel=True)
        await world.until(lambda: world.finished, 30)

    asyncio.run(life())

    counts = {name: count for name, count in world.status["trials"].items() if count}
    assert counts == {"total": 4, "passed": 1, "cancelled": 1, "notRun": 2}


def test_a_batch_whose_every_trial_was_running_when_it_was_cancelled_is_cancelled_too(world: World) -> None:
    world.hangs = lambda _worker, _trial: True

    async def life() -> None:
        world.begin(a_batch_test(cases=1, variants=1))
        await world.until(lambda: phase(world) == "Running")
        change(world, cancel=True)
        await world.until(lambda: world.finished, 30)

    asyncio.run(life())

    assert (world.status["phase"], world.status["reason"]) == ("Cancelled", "Cancelled")
    assert world.status["trials"]["cancelled"] == 1


def test_a_cancel_that_comes_before_the_code_ends_a_batchtest_that_was_never_accepted(world: World) -> None:
    async def life() -> None:
        await wait_for_code(world)
        change(world, cancel=True)
        await world.until(lambda: world.finished and world.is_quiet, 30)
        world.apply_code()
        await world.turns(20)

    asyncio.run(life())

    assert (world.status["phase"], world.status["reason"]) == ("Cancelled", "Cancelled")
    assert world.condition("Accepted") == "False"
    assert trail(world) == {"BatchCancelled": 1}
    assert [event["reason"] for event in world.cluster.all(EVENTS)] == ["BatchCancelled"]
    assert world.executed == []


@pytest.mark.parametrize("reach", OVER, ids=name_of)
def test_a_cancel_of_what_is_over_changes_nothing_but_the_generation(
    world: World, reach: Callable[[World], Any]
) -> None:
    async def life() -> tuple[Object, Object]:
        await reach(world)
        before = world.status
        change(world, cancel=True)
        await world.turns(10)
        return before, world.status

    before, after = asyncio.run(life())

    assert (after["phase"], after["reason"]) == (before["phase"], before["reason"])
    assert (before["observedGeneration"], after["observedGeneration"]) == (1, 2)


# -- suspend ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reach", [one for one in UNDER_WAY if one is not be_held], ids=name_of)
def test_a_suspended_batch_gives_its_place_back_and_goes_on_where_it_was(
    world: World, reach: Callable[[World], Any]
) -> None:
    async def life() -> None:
        await reach(world)
        before = world.settled
        change(world, suspend=True)
        await world.until(lambda: phase(world) == "Suspended", 60)
        await world.turns(3)
        assert not world.cluster.all(PLACES)
        assert not world.cluster.all(SECRETS)
        assert world.settled == before
        assert (world.condition("Reconciling"), world.condition("Finished")) == ("False", "False")

        world.place_status, world.has_workers = (lambda _: READY), True
        change(world, suspend=False)
        await world.until(lambda: world.finished and world.is_quiet, 60)

    asyncio.run(life())

    assert world.status["phase"] == "Succeeded"
    assert sorted(world.executed) == sorted(set(world.executed))
    assert trail(world)["BatchSuspended"] == 1
    check_nothing_is_left(world)


def test_a_batch_that_is_suspended_from_the_start_gets_no_place(world: World) -> None:
    async def life() -> None:
        world.begin(a_batch_test(suspend=True))
        await world.until(lambda: phase(world) == "Suspended", 10)
        await world.turns(30)

    asyncio.run(life())

    assert world.cluster.writes["create places"] == 0
    assert trail(world) == {"BatchAccepted": 1, "BatchSuspended": 1}


def test_a_batch_that_is_held_beyond_its_deadline_is_ended_by_it(world: World) -> None:
    async def life() -> None:
        world.begin(a_batch_test(suspend=True, deadlines={"batchSeconds": 60, "trialSeconds": 5}))
        await world.until(lambda: world.finished, 70)

    asyncio.run(life())

    assert (world.status["phase"], world.status["reason"]) == ("Failed", "BatchDeadlineExceeded")
    assert world.status["trials"]["notRun"] == 4


def test_suspensions_are_no_failures_of_the_place(world: World) -> None:
    async def life() -> None:
        world.hangs = lambda _worker, _trial: True
        world.begin(a_batch_test(retry={"maxAttempts": 1}))
        for _ in range(4):
            await world.until(lambda: phase(world) == "Running", 30)
            change(world, suspend=True)
            await world.until(lambda: phase(world) == "Suspended", 30)
            change(world, suspend=False)
        world.hangs = lambda _worker, _trial: False
        await world.until(lambda: world.finished, 60)

    asyncio.run(life())

    assert world.status["phase"] == "Succeeded"
    assert world.status["environment"]["attempt"] == 5


# -- deletion --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("away", [False, True], ids=["at once", "while the operator is away"])
@pytest.mark.parametrize("reach", [*UNDER_WAY, *OVER], ids=name_of)
def test_a_deleted_batchtest_leaves_nothing_behind(world: World, reach: Callable[[World], Any], *, away: bool) -> None:
    async def life() -> None:
        await reach(world)
        if away:
            world.kill(seconds=30)
        world.cluster.delete(BATCH_TESTS, NAME)
        await world.turns(40 if away else 5)
        await world.until(lambda: world.is_quiet, 30)

    asyncio.run(life())

    ended = {"succeed": "Succeeded", "be_refused": "Failed"}.get(reach.__name__, "Cancelled")
    (record,) = world.store.batches()
    assert record.phase == ended
    assert {body["metadata"]["name"] for body in world.cluster.all(CONFIG_MAPS)} == {"code"}
    assert world.operator is not None
    assert len(world.operator.parts.objects) == 0
    check_nothing_is_left(world)


def test_a_batchtest_that_is_deleted_before_its_code_is_there_was_never_a_batch(world: World) -> None:
    async def life() -> None:
        await wait_for_code(world)
        world.cluster.delete(BATCH_TESTS, NAME)
        await world.turns(15)

    asyncio.run(life())

    assert world.store.batches() == []
    assert world.operator is not None
    assert len(world.operator.parts.objects) == 0
    assert not world.operator.due


def test_another_batchtest_of_the_same_name_is_another_batch(world: World) -> None:
    async def life() -> None:
        await run(world)
        world.cluster.delete(BATCH_TESTS, NAME)
        world.hangs = lambda _worker, _trial: False
        world.cluster.apply(BATCH_TESTS, a_batch_test())
        await world.until(lambda: world.finished and world.is_quiet, 60)

    asyncio.run(life())

    phases = sorted(record.phase.value for record in world.store.batches())
    assert phases == ["Cancelled", "Succeeded"]
    assert world.status["phase"] == "Succeeded"
    check_nothing_is_left(world)


def test_a_deletion_that_the_watch_never_told_of_is_found_by_taking_stock(world: World) -> None:
    async def life() -> None:
        await be_held(world)
        assert world.operator is not None
        world.cluster.delete(BATCH_TESTS, NAME)
        world.cluster.changes.pop()
        await world.turns(5)
        assert world.store.open_batches()

        await world.operator.parts.inventory.take()
        await world.until(lambda: world.is_quiet, 10)

    asyncio.run(life())

    assert world.store.batches()[0].phase == "Cancelled"


# -- its time to live ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["Succeeded", "Failed", "Cancelled", "InvalidSpec"])
def test_a_batchtest_is_deleted_when_it_has_been_over_for_its_time_however_it_ended(world: World, ending: str) -> None:
    test = a_batch_test(ttlSecondsAfterFinished=60, cancel=ending == "Cancelled")
    if ending == "Failed":
        world.outcome = lambda *_: Outcome.FAILED
    if ending == "InvalidSpec":
        test["spec"]["workflow"]["source"]["path"] = "."

    async def life() -> None:
        world.begin(test)
        await world.until(lambda: world.finished and world.is_quiet, 60)
        await world.turns(50)
        assert world.has_test
        await world.turns(20)

    asyncio.run(life())

    assert not world.has_test
    assert world.cluster.writes["delete batchtests"] == 1
    assert len(world.store.batches()) == 1
    assert world.operator is not None
    assert len(world.operator.parts.objects) == 0


def test_a_time_to_live_of_nothing_deletes_at_once_and_one_that_is_set_later_counts_from_the_end(world: World) -> None:
    async def life() -> None:
        await succeed(world)
        world.clock.advance(1000)
        change(world, ttlSecondsAfterFinished=2000)
        await world.turns(5)
        assert world.has_test
        change(world, ttlSecondsAfterFinished=0)
        await world.turns(5)

    asyncio.run(life())

    assert not world.has_test


def test_a_time_to_live_survives_a_restart_of_the_operator(world: World) -> None:
    async def life() -> None:
        world.begin(a_batch_test(ttlSecondsAfterFinished=100))
        await world.until(lambda: world.finished and world.is_quiet)
        world.kill(seconds=120)
        await world.turns(125)

    asyncio.run(life())

    assert not world.has_test
