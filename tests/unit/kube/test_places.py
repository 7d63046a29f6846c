"""Places that do not come, that go, and workers that say nothing: what becomes of the batch, and what is told of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.apiserver.errors import Forbidden
from batchyard.metrics import Metrics
from batchyard.model.outcome import Outcome
from batchyard.model.wire import Done, Segment
from kube_fakes import CONFIG_MAPS, EVENTS, PLACES, SECRETS
from kube_world import World, a_batch_test

if TYPE_CHECKING:
    from kube_fakes import Kind, Object


def until_over(world: World, test: Object, turns: int = 300) -> None:
    async def life() -> None:
        world.begin(test)
        await world.until(lambda: world.finished and world.is_quiet, turns)

    asyncio.run(life())


def ending(world: World) -> tuple[str, str]:
    return world.status["phase"], world.status["reason"]


def trail(world: World) -> Counter[str]:
    (record,) = world.store.batches()
    return Counter(sealed.entry.type.value for sealed in world.store.audit_entries(record.id))


def events(world: World) -> dict[str, str]:
    return {event["reason"]: event["note"] for event in world.cluster.all(EVENTS)}


# -- it does not come ------------------------------------------------------------------------------------------------


def test_a_place_that_is_not_ready_in_time_ends_the_batch_with_what_was_seen_of_it(world: World) -> None:
    world.place_status = lambda _: {"state": "Pending", "reason": "ImagePullBackOff", "message": "no such image: x:1"}

    until_over(world, a_batch_test(deadlines={"environmentSeconds": 30}))

    assert ending(world) == ("Failed", "EnvironmentDeadlineExceeded")
    assert "ImagePullBackOff: no such image: x:1" in world.status["message"]
    assert "no such image" in events(world)["BatchFinished"]
    assert trail(world)["DeadlineExceeded"] == 1
    assert world.status["trials"]["notRun"] == 4


def test_while_a_place_is_waited_for_its_status_says_why_and_a_flapping_reason_costs_little(world: World) -> None:
    reasons = ["ErrImagePull", "ImagePullBackOff"]

    def status(_: Object) -> dict[str, str]:
        reason = reasons[int(world.clock.monotonic()) // 4 % 2]
        return {"state": "Pending", "reason": reason, "message": "no such image"}

    world.place_status = status

    async def life() -> None:
        world.begin(a_batch_test(deadlines={"environmentSeconds": 3000}))
        await world.turns(30)
        conditions = {one["type"]: one for one in world.status["conditions"]}
        assert conditions["EnvironmentReady"]["reason"] in reasons
        assert conditions["EnvironmentReady"]["message"] == "no such image"
        await world.turns(600)

    asyncio.run(life())

    assert world.cluster.writes["patch status batchtests"] <= 6


def test_a_place_that_the_cluster_refuses_to_make_is_said_and_quoted_when_its_time_is_over(world: World) -> None:
    def refuse(verb: str, kind: Kind, _: Object) -> Forbidden | None:
        return Forbidden(403, "Forbidden", "exceeded quota: pods=10") if (verb, kind) == ("create", PLACES) else None

    world.cluster.refuse = refuse

    async def life() -> None:
        world.begin(a_batch_test(deadlines={"environmentSeconds": 120}))
        await world.turns(10)
        assert "exceeded quota" in world.status["environment"]["message"]
        await world.until(lambda: world.finished and world.is_quiet, 200)

    asyncio.run(life())

    assert ending(world) == ("Failed", "EnvironmentDeadlineExceeded")
    assert "Forbidden" in world.status["message"]
    assert "exceeded quota: pods=10" in world.status["message"]
    tries = [what for what in world.operator.fate.done if what == "create places"] if world.operator else []
    assert 3 <= len(tries) <= 20


def test_a_place_that_was_refused_is_made_once_there_is_room(world: World) -> None:
    full = [True]

    def refuse(verb: str, kind: Kind, _: Object) -> Forbidden | None:
        return Forbidden(403, "Forbidden", "exceeded quota") if full and (verb, kind) == ("create", SECRETS) else None

    world.cluster.refuse = refuse

    async def life() -> None:
        world.begin(a_batch_test())
        await world.turns(20)
        full.clear()
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert ending(world) == ("Succeeded", "")
    assert world.cluster.writes["create places"] == 1


def test_code_that_was_deleted_after_the_batch_was_accepted_is_named(world: World) -> None:
    async def life() -> None:
        world.begin(a_batch_test(suspend=True, deadlines={"environmentSeconds": 20}))
        await world.until(lambda: world.status.get("phase") == "Suspended")
        world.cluster.delete(CONFIG_MAPS, "code")
        world.cluster.change(("batchyard.dev/v1alpha1", "batchtests"), "docs-search", {"suspend": False})
        await world.until(lambda: world.finished, 60)

    asyncio.run(life())

    assert ending(world) == ("Failed", "EnvironmentDeadlineExceeded")
    assert 'configmaps "code" not found' in world.status["message"]


# -- it goes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["InProcess", "KubeRay"])
def test_a_lost_place_is_given_back_and_another_one_runs_what_is_left(world: World, provider: str) -> None:
    world.hangs = lambda worker, trial: worker.attempt == 1 and trial.ordinal == 2

    def status(place: Object) -> dict[str, str]:
        lost = place["metadata"]["labels"]["attempt"] == "1" and world.settled >= 2
        return {"state": "Lost", "reason": "NodeLost", "message": "the node is gone"} if lost else {"state": "Ready"}

    world.place_status = status

    until_over(world, a_batch_test(provider=provider))

    assert ending(world) == ("Succeeded", "")
    assert world.status["environment"]["attempt"] == 2
    assert "the node is gone" in events(world)["EnvironmentFailed"]
    assert world.executed == ["v0/c0/0", "v0/c1/0", "v1/c0/0", "v1/c1/0"]
    (record,) = world.store.batches()
    assert [(place.attempt, place.reason) for place in world.store.environments(record.id)] == [
        (1, "EnvironmentFailed"),
        (2, ""),
    ]


def test_places_that_come_to_nothing_are_as_many_as_a_trial_may_have_attempts(world: World) -> None:
    world.place_status = lambda _: {
        "state": "Ended",
        "reason": "OOMKilled",
        "message": "the runner took too much memory",
    }
    world.has_workers = False

    until_over(world, a_batch_test(retry={"maxAttempts": 3, "backoffSeconds": 1}))

    assert ending(world) == ("Failed", "EnvironmentFailed")
    assert "OOMKilled: the runner took too much memory" in world.status["message"]
    assert world.cluster.writes["create places"] == 3
    assert trail(world)["EnvironmentFailed"] == 3


def test_a_place_that_brought_the_batch_on_does_not_count_against_it(world: World) -> None:
    world.hangs = lambda worker, trial: trial.ordinal == worker.attempt

    def status(place: Object) -> dict[str, str]:
        attempt = int(place["metadata"]["labels"]["attempt"])
        return {"state": "Lost", "message": "gone"} if world.settled >= attempt < 4 else {"state": "Ready"}

    world.place_status = status

    until_over(world, a_batch_test(retry={"maxAttempts": 1, "backoffSeconds": 0}))

    assert ending(world) == ("Succeeded", "")
    assert world.status["environment"]["attempt"] == 4


def test_a_worker_that_stops_for_want_of_a_place_is_quoted(world: World) -> None:
    async def life() -> None:
        world.has_workers = False
        world.begin(a_batch_test(retry={"maxAttempts": 1}))
        await world.until(lambda: world.operator is not None and world.operator.parts.batches.all())
        assert world.operator is not None
        (batch,) = world.operator.parts.batches.all()
        await world.until(lambda: batch.environment is not None and batch.environment.started_at)
        last = Segment(done=Done("EnvironmentFailed", "Ray does not start: no memory"))
        await world.operator.parts.intake.segment(batch.id, 1, 1, last)
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert ending(world) == ("Failed", "EnvironmentFailed")
    assert "Ray does not start: no memory" in world.status["message"]


# -- nothing is heard ------------------------------------------------------------------------------------------------


def test_a_worker_that_falls_silent_is_waited_for_until_the_batchs_deadline_and_no_longer(world: World) -> None:
    world.hangs = lambda _, trial: trial.ordinal == 1

    async def life() -> float:
        world.begin(a_batch_test(deadlines={"batchSeconds": 120, "trialSeconds": 60}))
        await world.until(lambda: world.settled == 1)
        world.has_workers = False
        world.workers.clear()
        await world.until(lambda: world.finished, 200)
        return world.clock.monotonic() - 1000

    took = asyncio.run(life())

    assert ending(world) == ("Failed", "BatchDeadlineExceeded")
    assert 120 <= took <= 125
    counts = {name: count for name, count in world.status["trials"].items() if count}
    assert counts == {"total": 4, "passed": 1, "notRun": 3}
    assert trail(world)["DeadlineExceeded"] == 1


def test_a_worker_that_speaks_ends_its_trials_itself_at_the_batchs_deadline(world: World) -> None:
    world.hangs = lambda _, trial: trial.ordinal == 1

    until_over(world, a_batch_test(deadlines={"batchSeconds": 60, "trialSeconds": 60}))

    assert ending(world) == ("Failed", "BatchDeadlineExceeded")
    counts = {name: count for name, count in world.status["trials"].items() if count}
    assert counts == {"total": 4, "passed": 1, "timedOut": 1, "notRun": 2}
    assert trail(world)["DeadlineExceeded"] == 1


def test_a_worker_goes_on_while_the_operator_is_away_and_nothing_of_it_is_lost(world: World) -> None:
    async def life() -> None:
        world.begin(a_batch_test(cases=10))
        await world.until(lambda: world.settled == 3)
        world.kill(seconds=12)
        await world.turns(11)
        assert (world.settled, len(world.executed)) == (3, 14)
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert ending(world) == ("Succeeded", "")
    assert len(world.executed) == len(set(world.executed)) == 20


# -- it is kept ------------------------------------------------------------------------------------------------------


def kept(**more: Any) -> Object:
    return a_batch_test(
        provider="KubeRay", environment={"kubeRay": {"workers": {"replicas": 1}, "keepOnFailure": True}}, **more
    )


def test_a_place_is_kept_for_inspection_if_the_batch_failed_and_the_batch_is_over_all_the_same(world: World) -> None:
    world.outcome = lambda *_: Outcome.FAILED

    async def life() -> None:
        world.begin(kept())
        await world.until(lambda: world.finished and not world.store.open_batches())
        writes = world.cluster.writes.copy()
        world.clock.advance(3600)
        for _ in range(2):
            await world.turns(5)
            world.kill()
        assert await world.operator_now().parts.sweeper.sweep() == 0
        assert world.cluster.writes["delete places"] == writes["delete places"] == 0

    asyncio.run(life())

    assert ending(world) == ("Failed", "AllTrialsFailed")
    assert len(world.cluster.all(PLACES)) == 1
    assert "kept for inspection" in world.status["environment"]["message"]
    reasons = {one["type"]: one["reason"] for one in world.status["conditions"]}
    assert reasons["EnvironmentReady"] == "Kept"


def test_a_place_is_not_kept_if_the_batch_succeeded_or_was_cancelled(world: World) -> None:
    until_over(world, kept())

    assert ending(world) == ("Succeeded", "")
    assert not world.cluster.all(PLACES)


def test_a_kept_place_goes_with_its_batchtest(world: World) -> None:
    world.outcome = lambda *_: Outcome.FAILED

    async def life() -> None:
        world.begin(kept(ttlSecondsAfterFinished=30))
        await world.until(lambda: not world.has_test)

    asyncio.run(life())

    assert not world.cluster.all(PLACES)
    assert not world.cluster.all(SECRETS)


# -- it is measured --------------------------------------------------------------------------------------------------


def measured(world: World) -> dict[str, float]:
    """Return how many places were counted by each outcome of their making."""
    text = world.metrics.render("")[0].decode()
    name = "batchyard_environment_provision_seconds_count"
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith(name)]
    return {line.partition('outcome="')[2].partition('"')[0]: float(value) for line, _, value in lines if float(value)}


@pytest.mark.parametrize(
    ("state", "spec", "outcome"),
    [
        ("Ready", {}, "Ready"),
        ("Pending", {"deadlines": {"environmentSeconds": 20}}, "DeadlineExceeded"),
        ("Pending", {"deadlines": {"batchSeconds": 20, "trialSeconds": 5}}, "Abandoned"),
        ("Lost", {"retry": {"maxAttempts": 1}}, "Failed"),
    ],
)
def test_how_the_making_of_a_place_ended_is_measured_once(world: World, state: str, spec: Object, outcome: str) -> None:
    world.metrics = Metrics()
    world.place_status = lambda _: {"state": state}

    until_over(world, a_batch_test(**spec))

    assert measured(world) == {outcome: 1.0}
