"""However long it takes to read a BatchTest, or a batch in the store, the event loop goes on, and it is done once."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.engine.ports import Owner
from batchyard.kube.acceptance import Acceptance
from batchyard.kube.batches import ActiveBatch, Batches, in_a_thread
from batchyard.kube.statuses import StatusWriter
from batchyard.kube.twins import Twins
from kube_fakes import BATCH_TESTS, CONFIG_MAPS, as_client
from kube_fate import Fate
from kube_stories import finish_first
from kube_world import NAME, BenchOperator, World, a_batch_test

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchyard.engine.places import PlaceRequest
    from batchyard.engine.ports import BatchRecord
    from batchyard.model.errors import Fault
    from kube_fakes import Kind, Object

_LONG_SECONDS = 5
_WAITING = [
    ({"amends": "first"}, "AmendedNotReady"),
    (
        {
            "forkFrom": {"batchTest": "first", "node": "retrieve"},
            "checkpoints": {"postgres": {"secretRef": {"name": "threads", "key": "url"}}},
        },
        "ForkSourceNotReady",
    ),
]


class SlowReading:
    """Reading a BatchTest comes to where its place is looked at, and goes on when it is told to."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __call__(self, _request: PlaceRequest) -> Sequence[Fault]:
        self.reached.set()
        assert self.go_on.wait(_LONG_SECONDS), "nobody else had a turn"
        return ()

    async def wait(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, _LONG_SECONDS)


def slow_acceptance(world: World, slow: SlowReading) -> Acceptance:
    """Return what takes BatchTests in for an operator that reads slowly, and has no patience."""
    operator = world.operator_now()
    api, objects = as_client(operator.api), operator.parts.objects
    batches = Batches(operator.store, Owner("host", 1, "slow"), world.clock, world.metrics, in_thread=in_a_thread)
    return Acceptance(
        api, batches, objects, StatusWriter(api, objects, batches, world.clock), world.clock,
        twins=Twins(api, batches, objects, world.clock, lambda: None), recorded=lambda: None,
        faults_of_place=slow, pods_of=lambda _: {}, patience_seconds=0,
    )  # fmt: skip


def accepting(world: World, slow: SlowReading) -> asyncio.Task[ActiveBatch | float | None]:
    """Apply a BatchTest and have it taken in."""
    world.begin(a_batch_test())
    acceptance, objects = slow_acceptance(world, slow), world.operator_now().parts.objects
    return asyncio.create_task(acceptance.accept(objects.see(world.test)))


def test_others_have_their_turn_while_a_batchtest_is_read(world: World) -> None:
    slow = SlowReading()

    async def life() -> None:
        taken = accepting(world, slow)
        await slow.wait()
        slow.go_on.set()
        assert isinstance(await taken, ActiveBatch)

    asyncio.run(life())


def test_a_batchtest_that_is_deleted_while_it_is_read_is_not_accepted(world: World) -> None:
    slow = SlowReading()

    async def life() -> None:
        taken = accepting(world, slow)
        await slow.wait()
        world.operator_now().parts.objects.see(world.test, deleted=True)
        slow.go_on.set()
        assert await taken is None

    asyncio.run(life())

    assert world.store.batches() == []


def test_one_is_read_at_a_time_and_another_comes_back_for_it(world: World) -> None:
    slow, other = SlowReading(), a_batch_test()
    other["metadata"]["name"] = "other"

    async def life() -> None:
        world.begin(a_batch_test())
        second = world.cluster.apply(BATCH_TESTS, other)
        acceptance, objects = slow_acceptance(world, slow), world.operator_now().parts.objects
        first = asyncio.create_task(acceptance.accept(objects.see(world.test)))
        await slow.wait()
        assert await acceptance.accept(objects.see(second)) == 10
        slow.go_on.set()
        assert isinstance(await first, ActiveBatch)
        assert isinstance(await acceptance.accept(objects.see(second)), ActiveBatch)

    asyncio.run(life())


class Beside(BenchOperator):
    """An operator that asks its store in threads. ``readers`` are who looks into specs that the store gives out."""

    def __init__(self, world: World) -> None:
        super().__init__(world, Fate())
        self.readers: set[threading.Thread] = set()
        self._acts = False
        batch, newest_of = self.store.batch, self.store.newest_of

        def noted(record: BatchRecord) -> BatchRecord:
            return replace(record, spec=_Spec(record.spec, self._note))

        def newest(namespace: str, name: str) -> BatchRecord | None:
            found = newest_of(namespace, name)
            return None if found is None else noted(found)

        self.store.batch = lambda reference: noted(batch(reference))  # type: ignore[method-assign]
        self.store.newest_of = newest  # type: ignore[method-assign]

    async def _ask_store(self, call: Callable[[], Any]) -> Any:
        return await in_a_thread(call)

    async def turn(self) -> None:
        self._acts = True
        await super().turn()
        self._acts = False

    def _note(self) -> None:
        # Workers look into it too, in a process of their own.
        if self._acts:
            self.readers.add(threading.current_thread())


class _Spec(dict[str, Any]):
    def __init__(self, spec: Object, note: Callable[[], None]) -> None:
        super().__init__(spec)
        self._note = note

    def __getitem__(self, key: str) -> Any:
        self._note()
        return super().__getitem__(key)


@pytest.mark.parametrize(
    ("spec", "over"),
    [
        ({"amends": "first"}, "Finished"),
        ({"parity": {"enabled": True, "against": "KubeRay", "sampleSize": 2}}, "ParityVerified"),
    ],
    ids=["amended", "twin"],
)
def test_what_the_store_has_of_another_batch_is_read_beside_the_loop(world: World, spec: Object, over: str) -> None:
    finish_first(world)
    world.operator = operator = Beside(world)

    async def life() -> None:
        world.begin(a_batch_test(**spec), code=False)
        await world.until(lambda: world.condition(over) == "True" and world.is_quiet)

    asyncio.run(life())

    assert operator.readers
    assert threading.main_thread() not in operator.readers


async def until_it_waits(world: World, spec: Object, reason: str) -> list[Kind]:
    """Have a BatchTest wait for another; return the kinds of all that its operator gets from then on."""
    world.begin(a_batch_test(cases=3, **spec))
    await world.until(lambda: world.status.get("reason") == reason)
    asked: list[Kind] = []

    async def note(kind: Kind) -> None:
        asked.append(kind)

    world.operator_now().api.on_get = note
    return asked


@pytest.mark.parametrize(("spec", "reason"), _WAITING, ids=["amends", "fork"])
def test_a_batchtest_that_waits_for_another_is_not_read_each_time(world: World, spec: Object, reason: str) -> None:
    async def life() -> None:
        asked = await until_it_waits(world, spec, reason)
        await world.turns(35)
        assert asked.count(BATCH_TESTS) >= 3
        assert CONFIG_MAPS not in asked

    asyncio.run(life())

    assert world.status["reason"] == reason


@pytest.mark.parametrize(("spec", "reason"), _WAITING, ids=["amends", "fork"])
def test_another_spec_is_read_although_the_batchtest_that_it_waits_for_is_not_over(
    world: World, spec: Object, reason: str
) -> None:
    async def life() -> None:
        await until_it_waits(world, spec, reason)
        world.cluster.change(BATCH_TESTS, NAME, {"repeats": -1})
        await world.until(lambda: world.finished, 15)

    asyncio.run(life())

    assert world.status["reason"] == "InvalidSpec"
