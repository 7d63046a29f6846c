"""How BatchTests are taken in: whole, or with everything that is wrong with them said at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.apiserver.errors import Forbidden
from batchyard.engine.cluster_ports import ClusterRef
from batchyard.kube.acceptance import batch_id_of
from kube_fakes import BATCH_TESTS, CONFIG_MAPS, EVENTS, PLACES, SECRETS
from kube_world import NAME, World, a_batch_test

if TYPE_CHECKING:
    from kube_fakes import Object


def play(world: World, test: Object, turns: int = 10, **given: Any) -> None:
    async def life() -> None:
        world.begin(test, **given)
        await world.turns(turns)

    asyncio.run(life())


def test_everything_that_is_wrong_is_said_at_once_in_the_status_the_trail_and_an_event(world: World) -> None:
    test = a_batch_test(gate={"minSuccessRate": 7})
    test["spec"]["workflow"]["source"]["path"] = "."
    test["spec"]["cases"][0]["weight"] = -1

    play(world, test)

    status = world.status
    assert (status["phase"], status["reason"]) == ("Failed", "InvalidSpec")
    for place in ("spec.gate.minSuccessRate", "spec.cases[0].weight", "spec.workflow.source.path"):
        assert place in status["message"]
    assert (world.condition("Accepted"), world.condition("Finished")) == ("False", "True")
    assert (world.condition("Ready"), world.condition("Stalled")) == ("False", "True")
    (record,) = world.store.batches()
    (entry,) = world.store.audit_entries(record.id)
    assert entry.entry.message == status["message"]
    assert [event["reason"] for event in world.cluster.all(EVENTS)] == ["SpecInvalid"]


def test_what_a_place_would_not_have_is_refused_before_there_is_one(world: World) -> None:
    template = {"hostNetwork": True, "hostPID": True, "nodeSelector": {"pool": "gpu"}}

    play(world, a_batch_test(environment={"template": template}))

    assert (world.status["phase"], world.status["reason"]) == ("Failed", "InvalidSpec")
    assert world.status["message"].startswith("2 faults: spec.environment.template.hostNetwork: ")
    assert "spec.environment.template.hostPID: " in world.status["message"]
    assert world.cluster.all(PLACES) == []


def test_what_a_template_may_not_say_is_told_beside_every_other_fault(world: World) -> None:
    runner = {"name": "runner", "image": "x", "securityContext": {"privileged": True}}
    template = {"hostNetwork": True, "foo": 1, "containers": [runner]}
    gate = {"baseline": {"combination": "nix"}}

    play(world, a_batch_test(environment={"template": template}, gate=gate))

    message = world.status["message"]
    for place in ("template.hostNetwork", "template.foo", "template.containers[runner].image", "gate.baseline"):
        assert place in message


def test_a_rejected_spec_is_looked_at_once_whatever_happens_to_its_operator(world: World) -> None:
    test = a_batch_test()
    test["spec"]["workflow"]["source"]["path"] = "."

    async def life() -> None:
        world.begin(test)
        await world.until(lambda: world.finished and world.is_quiet)
        writes = world.cluster.writes.copy()
        for _ in range(3):
            world.kill()
            await world.turns(5)
        assert world.cluster.writes == writes

    asyncio.run(life())

    assert len(world.store.batches()) == 1


def test_a_corrected_spec_is_accepted_and_each_wrong_one_is_kept_as_a_record(world: World) -> None:
    async def life() -> None:
        test = a_batch_test()
        test["spec"]["workflow"]["source"]["path"] = "."
        world.begin(test)
        await world.until(lambda: world.finished)
        world.cluster.change(BATCH_TESTS, NAME, {"repeats": -1})
        await world.until(lambda: world.status["observedGeneration"] == 2)
        assert world.finished
        world.cluster.change(BATCH_TESTS, NAME, {"repeats": 1, "workflow": {"source": {"path": None}}})
        await world.until(lambda: world.status["phase"] == "Succeeded" and world.is_quiet)

    asyncio.run(life())

    phases = sorted((record.phase.value, record.total) for record in world.store.batches())
    assert phases == [("Failed", 0), ("Failed", 0), ("Succeeded", 4)]
    assert world.condition("Accepted") == "True"
    reasons = [event["reason"] for event in world.cluster.all(EVENTS)]
    assert reasons.count("SpecInvalid") == 2
    assert {event["regarding"]["uid"] for event in world.cluster.all(EVENTS)} == {world.test["metadata"]["uid"]}


def test_configmaps_that_are_missing_are_all_named_and_waited_for_with_one_write(world: World) -> None:
    test = a_batch_test(casesFrom=[{"configMapRef": {"name": "more-cases", "key": "more.jsonl"}}])

    async def life() -> None:
        world.begin(test, code=False)
        await world.turns(60)
        assert (world.status["phase"], world.status["reason"]) == ("Pending", "ConfigMapMissing")
        assert "ConfigMap code, more-cases in namespace team" in world.status["message"]
        assert (world.condition("Accepted"), world.condition("Finished")) == ("False", "False")
        assert world.condition("Reconciling") == "True"
        assert world.cluster.writes == {"patch status batchtests": 1}

        world.apply_code()
        cases = '{"name": "another"}\n'
        world.cluster.apply(CONFIG_MAPS, {"metadata": {"name": "more-cases"}, "data": {"more.jsonl": cases}})
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert world.status["phase"] == "Succeeded"
    assert world.status["trials"]["total"] == 6


@pytest.mark.parametrize("name", ["../secrets/passwords", "../../../other/configmaps/code", "..", "a/b", "A", "a?b=c"])
def test_a_configmap_is_only_asked_for_by_a_name_that_one_can_have(world: World, name: str) -> None:
    test = a_batch_test(casesFrom=[{"configMapRef": {"name": name, "key": "passwords.jsonl"}}])
    world.cluster.apply(SECRETS, {"metadata": {"name": "passwords"}, "data": {"passwords.jsonl": "secret"}})

    play(world, test)

    assert world.status["reason"] == "InvalidSpec"
    assert name in world.status["message"]


def test_a_read_that_is_refused_is_tried_again(world: World) -> None:
    refused = [True]
    get = world.cluster.find

    def find(kind: Any, namespace: str | None, name: str) -> Object:
        if kind == CONFIG_MAPS and refused:
            raise Forbidden(403, "Forbidden", "configmaps is forbidden")
        return get(kind, namespace, name)

    world.cluster.find = find  # type: ignore[method-assign]

    async def life() -> None:
        world.begin(a_batch_test())
        await world.turns(5)
        assert world.store.batches() == []
        refused.clear()
        await world.until(lambda: world.finished)

    asyncio.run(life())

    assert world.status["phase"] == "Succeeded"


def test_a_batchtest_that_is_being_deleted_is_not_accepted(world: World) -> None:
    test = a_batch_test()
    test["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"

    play(world, test)

    assert world.store.batches() == []
    assert not world.cluster.writes


def test_a_name_of_any_length_makes_an_id_that_is_its_own() -> None:
    long = "a" * 253
    ids = {batch_id_of(ClusterRef("team", name, uid)) for name in ("a", long) for uid in ("uid-1", "uid-2")}

    assert len(ids) == 4
    assert max(map(len, ids)) <= 63
