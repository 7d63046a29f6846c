"""What the operator knows of its open batches stays in step with the store, whoever else acts at the same moment."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.apiserver.errors import Unreachable
from batchyard.engine.ports import Owner
from batchyard.kube.batches import ActiveBatch, Batches
from batchyard.metrics import Metrics
from batchyard.model.errors import RecordDamaged, StaleLeader, StoreError
from batchyard.model.events import EventType
from batchyard.model.outcome import Outcome, Phase
from batchyard.model.wire import Done, Segment
from kube_fakes import PLACES
from kube_fate import Fate
from kube_worker import a_result
from kube_world import BenchOperator, World, a_batch_test
from store_damage import corrupt

if TYPE_CHECKING:
    from collections.abc import Callable

    from kube_fakes import Kind


async def run(world: World) -> ActiveBatch:
    """Bring a batch to where its worker runs, and stop the worker."""
    world.hangs = lambda *_: True
    world.begin(a_batch_test())
    await world.until(lambda: world.status.get("phase") == "Running" and world.workers)
    await world.turns(2)
    world.has_workers = False
    world.workers.clear()
    return batch_of(world)


def batch_of(world: World) -> ActiveBatch:
    (batch,) = world.operator_now().parts.batches.all()
    return batch


def entry(world: World, batch: ActiveBatch) -> Any:
    return world.operator_now().parts.batches.entry(batch, EventType.LATE_RESULT, "late")


def test_two_that_open_a_batch_at_once_get_the_same_one_and_one_session(world: World) -> None:
    async def life() -> None:
        batch = await run(world)
        batches, epoch = world.operator_now().parts.batches, world.store.batches()[0].epoch
        batches.forget(batch)

        one, two = await asyncio.gather(batches.open(batch.ref, batch.id), batches.open(batch.ref, batch.id))

        assert one is two
        assert world.store.batches()[0].epoch == epoch + 1

    asyncio.run(life())


def test_a_damaged_batch_that_is_tried_again_and_again_fills_no_store(world: World) -> None:
    async def life() -> None:
        batch = await run(world)
        batches, epoch = world.operator_now().parts.batches, world.store.batches()[0].epoch
        batches.forget(batch)
        corrupt(world.store, "UPDATE audit_entries SET at = at - 100000000000000000 WHERE seq = 1")

        for _ in range(5):
            with pytest.raises(RecordDamaged):
                await batches.open(batch.ref, batch.id)

        assert world.store.batches()[0].epoch == epoch + 1
        corrupt(world.store, "UPDATE audit_entries SET at = at + 100000000000000000 WHERE seq = 1")
        again = await batches.open(batch.ref, batch.id)
        assert again.session.epoch == again.record.epoch == epoch + 2

    asyncio.run(life())


@pytest.mark.parametrize("side", ["before", "after"])
def test_after_a_commit_of_which_nobody_knows_whether_it_happened_the_batch_is_read_anew(
    world: World, side: str
) -> None:
    async def life() -> None:
        batch = await run(world)
        operator = world.operator_now()
        batches, fate = operator.parts.batches, operator.fate
        known = len(list(world.store.audit_entries(batch.id)))
        fate.strikes[len(fate.done), side] = "error"
        if side == "after":
            # So that it cannot be found out either.
            fate.strikes[len(fate.done) + 1, "before"] = "error"

        with pytest.raises(StoreError):
            await batches.commit(batch, entries=[entry(world, batch)])

        assert batches.known(batch.id) is None
        with pytest.raises(StoreError, match="read anew"):
            await batches.commit(batch, entries=[entry(world, batch)])
        again = await batches.open(batch.ref, batch.id)
        assert again is not batch
        assert again.record.audit_entries == known + (side == "after")
        await batches.commit(again, entries=[entry(world, again)])

    asyncio.run(life())


def test_a_look_that_fails_is_counted(world: World) -> None:
    world.metrics = Metrics()

    async def life() -> None:
        batch = await run(world)
        world.cluster.is_away = True
        with pytest.raises(Unreachable):
            await world.operator_now().parts.reconciler.reconcile(batch.ref.uid)

    asyncio.run(life())

    assert "\nbatchyard_reconcile_errors_total 1.0\n" in world.metrics.render()[0].decode()


def test_a_commit_whose_caller_is_cancelled_leaves_nothing_known_that_may_be_wrong(world: World) -> None:
    async def life() -> None:
        batch = await run(world)
        operator = world.operator_now()
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(call: Callable[[], Any]) -> Any:
            reached.set()
            await go_on.wait()
            return call()

        slow = Batches(operator.store, Owner("host", 1, "slow"), world.clock, world.metrics, in_thread=slowly)
        go_on.set()
        mine = await slow.open(batch.ref, batch.id)
        go_on.clear()
        reached.clear()
        committing = asyncio.create_task(slow.commit(mine, entries=[entry(world, mine)]))
        await reached.wait()
        committing.cancel()
        await asyncio.gather(committing, return_exceptions=True)

        assert committing.cancelled()
        assert slow.known(batch.id) is None

    asyncio.run(life())


def test_a_session_that_another_operator_took_over_is_given_up(world: World) -> None:
    async def life() -> None:
        batch = await run(world)
        other = BenchOperator(world, Fate(), "another")
        await other.parts.batches.open(batch.ref, batch.id)

        with pytest.raises(StaleLeader):
            await world.operator_now().parts.batches.commit(batch, entries=[entry(world, batch)])

        assert world.operator_now().parts.batches.known(batch.id) is None

    asyncio.run(life())


def test_what_a_worker_says_last_while_its_place_is_looked_at_is_not_lost(world: World) -> None:
    async def life() -> None:
        batch = await run(world)
        operator = world.operator_now()
        last = Segment(
            results=tuple(
                (a_result(trial, Outcome.PASSED, 1, 1, world.clock), True)
                for trial in map(batch.loaded.plan.trial, range(3))
            ),
            done=Done("WorkflowInvalid", "no such function"),
        )

        async def meanwhile(kind: Kind) -> None:
            if kind == PLACES and batch.newest.done_stop is None:
                await operator.parts.intake.segment(batch.id, 1, batch.newest.segments + 1, last)

        world.place_status = lambda _: {"state": "Ended", "message": "the worker ended"}
        operator.api.on_get = meanwhile
        await world.until(lambda: world.finished and world.is_quiet, 30)

    asyncio.run(life())

    assert (world.status["phase"], world.status["reason"]) == ("Failed", "WorkflowInvalid")
    assert "no such function" in world.status["message"]
    assert world.status["trials"]["passed"] == 3


def test_a_batch_is_read_back_as_it_was_known(world: World) -> None:
    async def life() -> None:
        world.outcome = lambda trial, _: Outcome.FAILED if trial.ordinal == 0 else Outcome.PASSED
        world.hangs = lambda _, trial: trial.ordinal == 3
        world.begin(a_batch_test())
        await world.until(lambda: world.settled == 3)
        await world.turns(3)
        known = batch_of(world)
        batches = world.operator_now().parts.batches
        batches.forget(known)

        again = await batches.open(known.ref, known.id)

        assert (again.final, again.environments, again.limited) == (known.final, known.environments, known.limited)
        assert again.open_trials == 1
        assert again.summary.counts == known.summary.counts
        assert batches.current(again).status["combinations"] == batches.current(known).status["combinations"]
        assert again.record.spec is None

    asyncio.run(life())


def test_the_store_is_given_a_status_with_every_phase_and_else_every_other_second(world: World) -> None:
    async def life() -> None:
        batch = await run(world)
        update = world.operator_now().parts.batches.update
        world.clock.advance(10)

        def has_status(phase: Phase) -> bool:
            return update(batch, phase).status is not None

        assert [has_status(Phase.RUNNING) for _ in range(3)] == [True, False, False]
        assert has_status(Phase.SUSPENDED)
        world.clock.advance(1.9)
        assert not has_status(Phase.RUNNING)
        world.clock.advance(0.2)
        assert has_status(Phase.RUNNING)

    asyncio.run(life())


@given(st.binary(max_size=200).map(lambda data: bytearray(byte & 1 for byte in data)))
def test_the_ranges_of_finished_trials_hold_them_and_no_others(final: bytearray) -> None:
    batch = ActiveBatch.__new__(ActiveBatch)
    batch.final = final

    ranges = batch.finished_ranges()

    held = [number for first, last in ranges for number in range(first, last + 1)]
    assert held == [number for number, is_final in enumerate(final) if is_final]
    assert all(after[0] > before[1] + 1 for before, after in pairwise(ranges))
