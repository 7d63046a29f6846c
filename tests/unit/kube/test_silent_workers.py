"""A worker that runs and cannot reach its operator: no place is ready before that, and everybody is told why."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from kube_fakes import EVENTS
from kube_world import World, a_batch_test

if TYPE_CHECKING:
    from kube_fakes import Object


def environment_ready(world: World) -> Object:
    found: Object = next(one for one in world.status["conditions"] if one["type"] == "EnvironmentReady")
    return found


@pytest.mark.parametrize("provider", ["InProcess", "KubeRay"])
def test_an_environment_is_not_ready_before_its_worker_has_asked_for_its_work(world: World, provider: str) -> None:
    world.has_workers = False

    async def life() -> None:
        world.begin(a_batch_test(provider=provider))
        await world.turns(10)
        assert (world.status["phase"], environment_ready(world)["status"]) == ("Provisioning", "False")
        assert environment_ready(world)["reason"] == "WorkerStarting"
        assert "EnvironmentReady" not in {event["reason"] for event in world.cluster.all(EVENTS)}
        world.has_workers = True
        await world.until(lambda: environment_ready(world)["status"] == "True")
        assert world.status["phase"] == "Running"
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert world.status["phase"] == "Succeeded"


def test_a_worker_that_stays_silent_is_told_of_while_it_does_and_ends_the_batch_in_time(world: World) -> None:
    world.has_workers = False

    async def life() -> None:
        world.begin(a_batch_test(deadlines={"environmentSeconds": 60}))
        await world.turns(45)
        said = environment_ready(world)
        assert (said["status"], said["reason"]) == ("False", "WorkerSilent")
        assert "has not asked for its work at http://results" in said["message"]
        assert world.status["message"].startswith("0 of 4 trials finished; WorkerSilent: ")
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert (world.status["phase"], world.status["reason"]) == ("Failed", "EnvironmentDeadlineExceeded")
    assert "WorkerSilent" in world.status["message"]


def test_a_batch_whose_deadline_comes_first_says_that_its_worker_was_never_heard(world: World) -> None:
    world.has_workers = False

    async def life() -> None:
        world.begin(a_batch_test(deadlines={"batchSeconds": 60, "trialSeconds": 30}))
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert world.status["reason"] == "BatchDeadlineExceeded"
    assert "WorkerSilent" in world.status["message"]


def test_a_batch_that_waits_for_a_pod_says_what_hinders_it_in_its_message(world: World) -> None:
    quota = {"state": "Pending", "reason": "FailedCreate", "message": "exceeded quota: pods"}
    world.place_status = lambda _: quota

    async def life() -> None:
        world.begin(a_batch_test())
        await world.turns(10)

    asyncio.run(life())

    assert world.status["message"] == "0 of 4 trials finished; FailedCreate: exceeded quota: pods"
