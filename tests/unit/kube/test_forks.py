"""A BatchTest that is forked from another waits for it, and its worker is told where each trial begins."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchyard.engine.cluster_ports import ClusterRef
from batchyard.engine.cluster_source import load_from_cluster
from batchyard.engine.ports import BatchRecord, BatchUpdate, Owner
from batchyard.model.outcome import Outcome, Phase
from batchyard.model.trial import NodeBoundary
from kube_fakes import BATCH_TESTS
from kube_worker import a_result
from kube_world import World, a_batch_test

if TYPE_CHECKING:
    from kube_fakes import Object

DATABASE = {"postgres": {"secretRef": {"name": "threads", "key": "url"}}}
FORK = {"batchTest": "first", "node": "retrieve"}


def a_fork(**spec: Any) -> Object:
    return a_batch_test(checkpoints=DATABASE, forkFrom=FORK, **spec)


def finish_first(world: World, batch_id: str = "first-1", namespace: str = "team") -> None:
    """Put a batch of the same trials into the store; all of them but the first ended the node."""
    test = a_batch_test()
    test["metadata"]["name"] = "first"
    code = {"metadata": {"name": "code"}, "data": {"graph.py": "..."}}
    loaded, now = load_from_cluster(test, {"code": code}), world.clock.now()
    record = BatchRecord(
        batch_id, "first", loaded.to_json(), loaded.digest, "", len(loaded.plan), now, now, phase=Phase.RUNNING
    )
    store = world.store
    store.create_cluster_batch(record, ClusterRef(namespace, "first", f"uid-of-{batch_id}"))
    session = store.open_session(batch_id, Owner("h", 1, "s"), now)
    results = [a_result(trial, Outcome.PASSED, 1, 1, world.clock) for trial in loaded.plan]
    ended = [
        replace(result, thread_id=f"{batch_id}/{result.ordinal}", boundaries=boundaries(result.ordinal))
        for result in results
    ]
    update = BatchUpdate(Phase.SUCCEEDED, completed_at=now)
    store.commit(session, results=[(result, True) for result in ended], batch=update)


def boundaries(ordinal: int) -> tuple[NodeBoundary, ...]:
    return (NodeBoundary("retrieve", "completed", 0.1, None, f"c{ordinal}", 1),) if ordinal else ()


def play(world: World, test: Object, turns: int = 12) -> None:
    async def life() -> None:
        world.begin(test)
        await world.turns(turns)

    asyncio.run(life())


def test_a_fork_waits_for_the_other_batch_and_then_begins_by_itself(world: World) -> None:
    async def life() -> None:
        world.begin(a_fork())
        await world.turns(15)
        assert (world.status["phase"], world.status["reason"]) == ("Pending", "ForkSourceNotReady")
        assert "BatchTest first in namespace team" in world.status["message"]
        assert world.cluster.writes == {"patch status batchtests": 1}
        finish_first(world)
        await world.until(lambda: world.finished and world.is_quiet)

    asyncio.run(life())

    assert world.status["phase"] == "Succeeded"


def test_a_batch_that_still_runs_is_waited_for(world: World) -> None:
    held = a_batch_test(suspend=True)
    held["metadata"]["name"] = "first"
    world.cluster.apply(BATCH_TESTS, held)

    play(world, a_fork())

    assert (world.status["reason"], world.condition("Accepted")) == ("ForkSourceNotReady", "False")
    assert "it is Suspended" in world.status["message"]


def test_the_worker_is_told_where_each_trial_begins(world: World) -> None:
    finish_first(world)
    manifests: list[Any] = []
    world.on_turn = lambda now: manifests.extend(worker.manifest for worker in now.workers.values() if worker.manifest)

    play(world, a_fork(), turns=20)

    told = manifests[0].forks
    assert told[0] == ("v0/c0/0", "", "")
    assert told[3] == ("v1/c1/0", "first-1/3", "c3")
    assert len(told) == 4


def test_what_a_name_meant_at_acceptance_it_means_for_good(world: World) -> None:
    finish_first(world)
    play(world, a_fork())
    (accepted,) = (record for record in world.store.batches() if record.name != "first")

    world.clock.advance(60)
    finish_first(world, "first-2")

    assert world.store.batch(accepted.id).spec["forkedFrom"] == "first-1"


def test_a_batch_of_another_namespace_is_none_to_fork_from(world: World) -> None:
    finish_first(world, namespace="other-team")

    play(world, a_fork())

    assert world.status["reason"] == "ForkSourceNotReady"


def test_a_fork_that_does_not_fit_is_refused_with_all_reasons(world: World) -> None:
    finish_first(world)

    play(world, a_fork(cases=3, repeats=2))

    assert (world.status["phase"], world.status["reason"]) == ("Failed", "InvalidSpec")
    assert "has no case c2" in world.status["message"]
    assert "spec.repeats: " in world.status["message"]


def test_a_fork_asks_for_a_database_in_a_cluster(world: World) -> None:
    play(world, a_batch_test(forkFrom=FORK))

    assert world.status["reason"] == "InvalidSpec"
    assert "spec.forkFrom: needs the database" in world.status["message"]
