"""A BatchTest from its birth to long after its end, as the cluster and the store see it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from batchyard.model.audit import verify_chain
from batchyard.model.outcome import Outcome
from kube_fakes import BATCH_TESTS, CONFIG_MAPS, EVENTS, PLACES
from kube_world import NAME, World, a_batch_test

if TYPE_CHECKING:
    from kube_fakes import Object

PLACE_WRITES = {"create places": 1, "create secrets": 1, "delete places": 1}


def live(world: World, test: Object, turns: int = 400) -> None:
    async def life() -> None:
        world.begin(test)
        await world.until(lambda: world.finished and world.is_quiet, turns)

    asyncio.run(life())


def statuses(world: World) -> list[Object]:
    """Return every status that was written, oldest first."""
    found: list[Object] = []
    for _, kind, body in world.cluster.changes:
        if kind == BATCH_TESTS and body.get("status") and (not found or body["status"] != found[-1]):
            found.append(body["status"])
    return found


def conditions(status: Object) -> dict[str, str]:
    return {one["type"]: one["status"] for one in status["conditions"]}


def own_writes(world: World) -> int:
    """Return how many writes the batch cost, but for its events, which have a limit of their own."""
    return sum(count for what, count in world.cluster.writes.items() if what != "create events")


@pytest.mark.parametrize("provider", ["InProcess", "KubeRay"])
@pytest.mark.proves("next-kubernetes")
def test_a_batch_goes_through_its_phases_to_its_verdict(world: World, provider: str) -> None:
    world.outcome = lambda trial, _: Outcome.FAILED if trial.ordinal == 1 else Outcome.PASSED

    live(world, a_batch_test(provider=provider, gate={"minSuccessRate": 0.5}))

    assert [status["phase"] for status in statuses(world)] == ["Provisioning", "Running", "Succeeded"]
    status = world.status
    counts = {name: count for name, count in status["trials"].items() if count}
    assert counts == {"total": 4, "passed": 3, "failed": 1}
    assert (status["reason"], status["progress"]) == ("", "4/4")
    assert status["environment"]["state"] == "Released"
    assert status["best"]["combination"] == "v1"
    assert [failure["trial"] for failure in status["failures"]] == ["v0/c1/0"]
    assert status["gate"]["passed"] is True
    assert status["startTime"] < status["completionTime"] < status["deadlineTime"]
    assert conditions(status) == {
        "Accepted": "True",
        "EnvironmentReady": "False",
        "Finished": "True",
        "Succeeded": "True",
        "GatePassed": "True",
        "AuditPersisted": "True",
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
    }


def test_while_it_runs_a_batch_is_reconciling_and_neither_ready_nor_finished(world: World) -> None:
    live(world, a_batch_test())

    provisioning, running, _ = statuses(world)
    for status in (provisioning, running):
        known = conditions(status)
        assert (known["Accepted"], known["Finished"], known["Succeeded"]) == ("True", "False", "Unknown")
        assert (known["Ready"], known["Reconciling"], known["Stalled"]) == ("False", "True", "False")
    assert conditions(provisioning)["EnvironmentReady"] == "False"
    assert conditions(running)["EnvironmentReady"] == "True"


def test_the_deadline_is_decided_once_and_said_from_the_first_status_on(world: World) -> None:
    live(world, a_batch_test(deadlines={"batchSeconds": 300}))

    assert len({status["deadlineTime"] for status in statuses(world)}) == 1
    assert world.status["deadlineTime"] == "2026-01-02T03:09:05Z"


def test_the_trail_tells_the_life_in_order_and_the_events_tell_what_is_no_single_trials(world: World) -> None:
    live(world, a_batch_test(gate={"minSuccessRate": 0.5}))

    (record,) = world.store.batches()
    trail = list(world.store.audit_entries(record.id))
    events = sorted(
        world.cluster.all(EVENTS), key=lambda event: int(event["metadata"]["labels"]["batchyard.dev/audit-seq"])
    )
    assert verify_chain(trail, record.audit_head) == ""
    told = [sealed.entry.type.value for sealed in trail]
    assert told == [
        "BatchAccepted",
        "EnvironmentProvisioning",
        "EnvironmentReady",
        "BatchStarted",
        *["TrialPassed"] * 4,
        "GatePassed",
        "BatchFinished",
        "EnvironmentReleased",
    ]
    assert [event["reason"] for event in events] == [kind for kind in told if kind != "TrialPassed"]
    assert {event["regarding"]["uid"] for event in events} == {world.test["metadata"]["uid"]}


def test_the_status_anchors_a_head_of_the_trail_at_every_write(world: World) -> None:
    live(world, a_batch_test())

    (record,) = world.store.batches()
    trail = list(world.store.audit_entries(record.id))
    for status in statuses(world):
        assert trail[status["audit"]["entries"] - 1].hash == status["audit"]["head"]


def test_the_spec_is_never_written(world: World) -> None:
    test = a_batch_test()

    live(world, test)

    assert world.test["spec"] == test["spec"]
    assert world.test["metadata"]["generation"] == 1
    assert "finalizers" not in world.test["metadata"]
    assert "annotations" not in world.test["metadata"]


def test_an_ordinary_batch_costs_twelve_writes_its_events_included(world: World) -> None:
    live(world, a_batch_test())

    assert world.cluster.writes == {**PLACE_WRITES, "patch status batchtests": 3, "create events": 6}


@pytest.mark.parametrize("trials", [1_200, 5_000])
def test_a_large_batch_costs_one_write_more_for_every_500_trials(world: World, trials: int) -> None:
    world.trials_a_turn = 100

    live(world, a_batch_test(cases=trials // 2))

    assert own_writes(world) <= 12 + trials // 500
    shown = [status["progress"] for status in statuses(world)]
    assert len(shown) > 3
    assert shown[-1] == f"{trials}/{trials}"


def test_a_batch_that_takes_hours_shows_its_progress_and_costs_no_more_than_twelve_writes(world: World) -> None:
    world.trials_a_turn = 1 / 120
    test = a_batch_test(cases=60, deadlines={"batchSeconds": 86_400})

    live(world, test, turns=20_000)

    assert own_writes(world) <= 12
    shown = [status["progress"] for status in statuses(world)]
    assert len(shown) > 5
    assert world.clock.monotonic() > 3 * 3600


def test_a_finished_batch_costs_no_write_however_long_it_stays_and_however_often_the_operator_is_restarted(
    world: World,
) -> None:
    async def life() -> None:
        world.begin(a_batch_test())
        await world.until(lambda: world.finished and world.is_quiet)
        writes, versions = world.cluster.writes.copy(), len(world.cluster.changes)
        for _ in range(5):
            world.clock.advance(6 * 3600)
            await world.turns(3)
            world.kill()
        await world.turns(3)

        assert world.cluster.writes == writes
        assert len(world.cluster.changes) == versions

    asyncio.run(life())


def test_a_change_of_a_finished_batch_is_taken_note_of_once(world: World) -> None:
    async def life() -> None:
        world.begin(a_batch_test())
        await world.until(lambda: world.finished and world.is_quiet)
        writes = world.cluster.writes["patch status batchtests"]

        world.cluster.change(BATCH_TESTS, NAME, {"ttlSecondsAfterFinished": 86_400})
        await world.turns(10)

        assert world.status["observedGeneration"] == 2
        assert world.cluster.writes["patch status batchtests"] == writes + 1

    asyncio.run(life())


def test_nothing_of_a_batch_but_itself_is_left_in_the_cluster(world: World) -> None:
    live(world, a_batch_test())

    kinds = {kind for kind, _, _ in world.cluster.objects}
    assert kinds == {BATCH_TESTS, CONFIG_MAPS, EVENTS}
    assert not world.cluster.all(PLACES)
    assert world.store.live_owner(world.store.batches()[0].id) is None
    assert world.store.open_batches() == []
