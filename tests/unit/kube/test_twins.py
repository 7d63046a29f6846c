"""A batch that asks for it is compared with another place: a BatchTest that belongs to it runs a sample there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.apiserver.errors import Forbidden
from batchyard.kube.twins import PARITY_OF
from batchyard.model.outcome import Outcome
from kube_fakes import BATCH_TESTS, EVENTS
from kube_world import NAME, World, a_batch_test

if TYPE_CHECKING:
    from collections.abc import Callable

    from kube_fakes import Object

TWIN = f"{NAME}-parity"
ON_RAY = {"enabled": True, "against": "KubeRay", "sampleSize": 2}


def live(world: World, until: Callable[[], object] | None = None, **spec: Any) -> None:
    async def life() -> None:
        world.begin(a_batch_test(**{"parity": ON_RAY, **spec}))
        await world.until(until or (lambda: world.condition("ParityVerified") and world.is_quiet))

    asyncio.run(life())


def fails_in_the_twin(world: World) -> None:
    """Have every trial fail that is run a second time."""
    world.outcome = lambda trial, _: Outcome.FAILED if world.executed.count(trial.id) == 2 else Outcome.PASSED


@pytest.mark.proves("missing-parity")
def test_a_batch_is_compared_with_a_sample_of_itself_in_another_place(world: World) -> None:
    live(world)

    status, twin = world.status, world.cluster.get(BATCH_TESTS, TWIN)
    assert (status["phase"], world.condition("ParityVerified")) == ("Succeeded", "True")
    parity = status["parity"]
    assert {key: parity[key] for key in ("against", "compared", "matching", "total")} == {
        "against": "KubeRay", "compared": 2, "matching": 2, "total": 0,
    }  # fmt: skip
    assert twin["spec"]["environment"]["provider"] == "KubeRay"
    assert [owner["uid"] for owner in twin["metadata"]["ownerReferences"]] == [world.test["metadata"]["uid"]]
    assert (twin["status"]["phase"], twin["status"]["progress"]) == ("Succeeded", "2/2")
    second = world.store.newest_of("team", TWIN)
    assert second is not None
    assert parity["batch"] == second.id
    assert len(world.executed) == 4 + 2
    assert len(set(world.executed)) == 4


def test_a_difference_is_in_the_status_the_trail_and_an_event_and_changes_no_verdict(world: World) -> None:
    fails_in_the_twin(world)

    live(world, gate={"minSuccessRate": 1})

    status = world.status
    assert (status["phase"], world.condition("ParityVerified")) == ("Succeeded", "False")
    rows = status["parity"]["discrepancies"]
    assert {row["type"] for row in rows} == {"Outcome", "Score"}
    assert status["parity"]["matching"] == 0
    record = world.store.newest_of("team", NAME)
    assert record is not None
    told = [one.entry.type.value for one in world.store.audit_entries(record.id)]
    assert told.count("ParityMismatch") == status["parity"]["total"] + 1
    events = [event for event in world.cluster.all(EVENTS) if event["reason"] == "ParityMismatch"]
    assert {event["regarding"]["name"] for event in events} == {NAME}
    assert len(events) == told.count("ParityMismatch")


def test_a_twin_has_no_gate_no_end_at_the_first_failure_and_no_twin(world: World) -> None:
    fails_in_the_twin(world)

    live(world, gate={"minSuccessRate": 1}, failFast=True)

    spec = world.cluster.get(BATCH_TESTS, TWIN)["spec"]
    assert "gate" not in spec
    assert "failFast" not in spec
    assert spec["parity"]["enabled"] is False
    assert world.cluster.get(BATCH_TESTS, TWIN)["status"]["trials"]["failed"] == 2
    assert len(world.cluster.all(BATCH_TESTS)) == 2


def test_ray_means_a_raycluster_here(world: World) -> None:
    live(world, parity={"enabled": True, "against": "Ray", "sampleSize": 1})

    assert world.status["parity"]["against"] == "KubeRay"


def test_the_code_of_a_twin_may_have_gone_but_not_its_cases(world: World) -> None:
    """What is run again is what was run: it comes from the store."""

    def act(world: World) -> None:
        if world.finished and not world.cluster.has(BATCH_TESTS, TWIN):
            world.cluster.change(BATCH_TESTS, NAME, {"cases": [{"name": "another"}]})

    world.on_turn = act

    live(world)

    assert world.condition("ParityVerified") == "True"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"suspend": True, "cancel": True}, "Cancelled"),
        ({"deadlines": {"batchSeconds": 3, "trialSeconds": 2}}, "BatchDeadlineExceeded"),
    ],
)
def test_a_batch_that_did_not_run_to_its_end_is_not_compared(world: World, spec: Object, reason: str) -> None:
    world.outcome = lambda *_: Outcome.FAILED
    world.hangs = lambda _worker, trial: trial.ordinal == 1

    live(world, lambda: world.finished and world.is_quiet, **spec)

    assert world.status["reason"] == reason
    assert world.condition("ParityVerified") == ""
    assert len(world.cluster.all(BATCH_TESTS)) == 1


def test_a_place_that_cannot_be_had_leaves_the_comparison_unknown(world: World) -> None:
    def status(place: Object) -> dict[str, str]:
        if place["metadata"]["name"].startswith(TWIN):
            return {"state": "Pending", "reason": "ImagePullBackOff", "message": "no such image"}
        return {"state": "Ready"}

    world.place_status = status

    live(world, deadlines={"environmentSeconds": 20})

    (condition,) = (one for one in world.status["conditions"] if one["type"] == "ParityVerified")
    assert (condition["status"], condition["reason"]) == ("Unknown", "EnvironmentFailed")
    assert TWIN in condition["message"]
    assert "no such image" in condition["message"]
    assert world.status["phase"] == "Succeeded"


def test_a_name_that_is_taken_leaves_it_unknown_and_the_other_untouched(world: World) -> None:
    other = a_batch_test(suspend=True)
    other["metadata"]["name"] = TWIN
    world.cluster.apply(BATCH_TESTS, other)

    live(world, lambda: world.condition("ParityVerified"))

    (condition,) = (one for one in world.status["conditions"] if one["type"] == "ParityVerified")
    assert condition["status"] == "Unknown"
    assert f"there is a BatchTest {TWIN} already" in condition["message"]
    assert world.cluster.get(BATCH_TESTS, TWIN)["spec"]["suspend"] is True


def test_a_twin_that_may_not_be_made_leaves_it_unknown(world: World) -> None:
    def refuse(verb: str, kind: tuple[str, str], _body: Object) -> Forbidden | None:
        wanted = verb == "create" and kind == BATCH_TESTS
        return Forbidden(403, "Forbidden", "exceeded quota: few") if wanted else None

    world.cluster.refuse = refuse

    live(world)

    (condition,) = (one for one in world.status["conditions"] if one["type"] == "ParityVerified")
    assert (condition["status"], "exceeded quota: few" in condition["message"]) == ("Unknown", True)


def test_a_twin_goes_with_its_batchtest(world: World) -> None:
    world.hangs = lambda worker, _trial: worker.batch_id.startswith(TWIN)

    def act(world: World) -> None:
        if world.has_test and world.cluster.has(BATCH_TESTS, TWIN) and len(world.executed) == 4:
            twin = world.cluster.get(BATCH_TESTS, TWIN)
            if twin.get("status", {}).get("phase") == "Running":
                world.cluster.delete(BATCH_TESTS, NAME)

    world.on_turn = act

    live(world, lambda: not world.has_test and world.is_quiet)

    assert world.cluster.all(BATCH_TESTS) == []
    second = world.store.newest_of("team", TWIN)
    assert second is not None
    assert second.phase == "Cancelled"


def test_a_batchtest_with_a_time_to_live_stays_until_it_is_compared(world: World) -> None:
    live(world, lambda: not world.has_test and world.is_quiet, ttlSecondsAfterFinished=0)

    record = world.store.newest_of("team", NAME)
    assert record is not None
    status = world.store.batch(record.id).status
    assert [one["status"] for one in status["conditions"] if one["type"] == "ParityVerified"] == ["True"]


def forge(world: World, of: str = "", *, owned: bool = True, namespace: str = "team") -> Object:
    """Apply a BatchTest that says to be the twin of a finished one; return its status after a while."""

    async def life() -> None:
        world.begin(a_batch_test())
        await world.until(lambda: world.finished and world.is_quiet)
        record = world.store.newest_of("team", NAME)
        assert record is not None
        owners = [{"kind": "BatchTest", "uid": world.test["metadata"]["uid"]}] if owned else []
        forged = a_batch_test()
        forged["metadata"] = {"name": "forged", "annotations": {PARITY_OF: of or record.id}, "ownerReferences": owners}
        world.cluster.apply(BATCH_TESTS, forged, namespace)
        await world.turns(10)

    asyncio.run(life())
    found: Object = world.cluster.get(BATCH_TESTS, "forged", namespace)["status"]
    return found


@pytest.mark.parametrize(("of", "owned"), [("", False), ("another-1", True)], ids=["not-owned", "of-another"])
def test_who_says_to_be_a_twin_and_is_none_is_refused(world: World, of: str, owned: bool) -> None:
    status = forge(world, of, owned=owned)

    assert (status["phase"], status["reason"]) == ("Failed", "InvalidSpec")
    assert PARITY_OF in status["message"]


def test_a_batch_of_another_namespace_is_nobodys_twin(world: World) -> None:
    status = forge(world, namespace="elsewhere")

    assert (status["phase"], status["reason"]) == ("Failed", "InvalidSpec")


def test_a_batch_that_was_compared_costs_nothing_more(world: World) -> None:
    async def life() -> None:
        world.begin(a_batch_test(parity=ON_RAY))
        await world.until(lambda: world.condition("ParityVerified") and world.is_quiet)
        writes = world.cluster.writes.copy()
        world.kill()
        await world.turns(5)
        assert world.cluster.writes == writes

    asyncio.run(life())
