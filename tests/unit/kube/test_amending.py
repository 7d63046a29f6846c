"""A BatchTest that amends a finished one takes over its results before it gets a place, and runs what is missing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.model.outcome import Outcome
from kube_fakes import BATCH_TESTS, CONFIG_MAPS, EVENTS
from kube_fate import Fate
from kube_stories import finish_first
from kube_world import NAME, a_batch_test

if TYPE_CHECKING:
    from kube_fakes import Object
    from kube_world import Stage, World


def amend(world: World, **spec: Any) -> None:
    """Apply a BatchTest that amends ``first``, and go on until it is over."""

    async def life() -> None:
        world.begin(a_batch_test(amends="first", **spec), code=not world.cluster.has(CONFIG_MAPS, "code"))
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())


def told(world: World) -> list[str]:
    return [event["note"] for event in world.cluster.all(EVENTS) if event["reason"] == "BatchAmended"]


def results(world: World, name: str) -> dict[str, tuple[str, float | None]]:
    return {one.trial_id: (one.outcome.value, one.score) for one in world.store.results(world.store.batch(name).id)}


def judged(status: Object) -> dict[str, Any]:
    counts = {name: count for name, count in status["trials"].items() if name != "carriedOver"}
    return {name: status[name] for name in ("phase", "message", "combinations", "best", "gate")} | counts


def one_fails(world: World) -> None:
    world.outcome = lambda trial, _: Outcome.FAILED if trial.id == "v0/c1/0" else Outcome.PASSED


def test_only_what_is_missing_is_run(world: World) -> None:
    source = finish_first(world)

    amend(world, cases=3)

    assert sorted(world.executed) == ["v0/c2/0", "v1/c2/0"]
    assert world.status["trials"]["carriedOver"] == 4
    assert told(world) == [f"4 of 6 trials carried over from {source}, 2 to run: 2 new"]
    ran_in = {one.trial_id: one.thread_id.partition("/")[0] for one in world.store.results(world.store.batch(NAME).id)}
    assert [trial for trial, batch in ran_in.items() if batch == source] == ["v0/c0/0", "v0/c1/0", "v1/c0/0", "v1/c1/0"]


def test_the_whole_is_judged_as_one_that_ran_anew(stage: Stage) -> None:
    gate = {"minSuccessRate": 0.5, "baseline": {"combination": "v0", "confidence": 0.9}}
    world = stage.world()
    one_fails(world)
    finish_first(world)
    amend(world, cases=3, gate=gate)
    together, rows = judged(world.status), results(world, NAME)

    anew = stage.world()
    one_fails(anew)

    async def life() -> None:
        anew.begin(a_batch_test(cases=3, gate=gate))
        await anew.until(lambda: anew.finished and anew.is_quiet)

    asyncio.run(life())

    assert judged(anew.status) == together
    assert results(anew, NAME) == rows


def test_where_nothing_is_missing_no_place_is_ever_made(world: World) -> None:
    finish_first(world, cases=3)

    amend(world)

    assert world.status["phase"] == "Succeeded"
    assert world.executed == []
    assert world.store.environments(world.store.batch(NAME).id) == []
    assert world.status["trials"]["carriedOver"] == world.status["trials"]["total"] == 4


def test_a_crash_after_the_last_result_was_carried_over_loses_no_word_of_it(stage: Stage) -> None:
    world = stage.world()
    finish_first(world)
    # Leadership, the batch, its session, that it was accepted, and then the results: killed once they are written.
    world.fates = [Fate(strikes={(4, "after"): "crash"})]

    amend(world)

    trail = [sealed.entry.type.value for sealed in world.store.audit_entries(world.store.batch(NAME).id)]
    assert trail[:2] == ["BatchAccepted", "TrialCarriedOver"]
    assert (trail.count("TrialCarriedOver"), trail.count("BatchAmended")) == (4, 1)
    assert len(told(world)) == 1


def test_it_waits_for_the_batch_that_it_amends(world: World) -> None:
    first = a_batch_test()
    first["metadata"]["name"] = "first"

    async def life() -> None:
        world.begin(a_batch_test(cases=3, amends="first"))
        await world.turns(12)
        assert (world.status["phase"], world.status["reason"]) == ("Pending", "AmendedNotReady")
        assert "waiting for BatchTest first in namespace team to finish; apply it" in world.status["message"]
        world.cluster.apply(BATCH_TESTS, first)
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert world.status["trials"]["carriedOver"] == 4
    assert sorted(world.executed)[-2:] == ["v1/c1/0", "v1/c2/0"]
    assert len(world.executed) == 6


def test_one_that_fits_not_is_refused_with_all_that_differs(world: World) -> None:
    finish_first(world)
    code = world.cluster.get(CONFIG_MAPS, "code")
    world.cluster.update(CONFIG_MAPS, {**code, "data": {"graph.py": "another"}})

    amend(
        world,
        limits={"recursionLimit": 50},
        environment={"template": {"spec": {"nodeSelector": {"disk": "fast"}}}},
    )

    assert (world.status["phase"], world.status["reason"]) == ("Failed", "InvalidSpec")
    said = world.status["message"]
    assert said.startswith("3 faults: spec.amends")
    assert "cannot be amended: code: graph.py is another" in said
    assert "cannot be amended: spec.environment.template is another" in said
    assert "cannot be amended: spec.limits is another" in said
    assert world.executed == []


def test_code_that_can_change_while_a_batch_runs_is_not_known(world: World) -> None:
    finish_first(world)
    code = world.cluster.get(CONFIG_MAPS, "code")
    world.cluster.update(CONFIG_MAPS, {name: value for name, value in code.items() if name != "immutable"})

    amend(world)

    assert world.status["reason"] == "InvalidSpec"
    assert "the code of this batch is not known: ConfigMap code can change" in world.status["message"]


def test_one_that_names_itself_is_refused(world: World) -> None:
    async def life() -> None:
        world.begin(a_batch_test(amends=NAME))
        await world.until(lambda: world.finished)

    asyncio.run(life())

    assert "spec.amends" in world.status["message"]
    assert "is this BatchTest itself" in world.status["message"]


def test_a_failure_that_was_carried_over_ends_a_batch_that_fails_fast_without_a_place(world: World) -> None:
    one_fails(world)
    finish_first(world)

    amend(world, cases=3, failFast=True)

    assert (world.status["phase"], world.status["reason"]) == ("Failed", "FailFast")
    assert (world.status["trials"]["notRun"], world.executed) == (2, [])


def test_what_was_carried_over_is_not_paid_for_twice(world: World) -> None:
    finish_first(world, budgets={"batch": {"tokens": 1000}})
    with world.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE attempts SET metrics = ?", (json.dumps({"tokens": 200}),))
    manifests: list[Any] = []
    world.on_turn = lambda now: manifests.extend(worker.manifest for worker in now.workers.values() if worker.manifest)

    amend(world, cases=3, budgets={"batch": {"tokens": 1000}})

    assert manifests[0].finished == ((0, 1), (3, 4))
    assert manifests[0].used["tokens"] == 0


@pytest.mark.parametrize("provider", ["InProcess", "KubeRay"])
def test_another_place_is_refused_and_the_same_is_not(world: World, provider: str) -> None:
    finish_first(world, provider="KubeRay")

    amend(world, provider=provider)

    if provider == "KubeRay":
        assert world.status["trials"]["carriedOver"] == 4
    else:
        assert "place: worker processes of a pod, was KubeRay" in world.status["message"]
