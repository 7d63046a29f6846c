"""Whole operators on one fake cluster and one store: only the leader acts, and whoever leads no more ends."""

from __future__ import annotations

import asyncio
import http.client
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.clock import SystemClock
from batchyard.kube.app import EXIT_LOST, EXIT_STOPPED, Operator
from batchyard.kube.settings import OperatorSettings
from batchyard.store.pages import StoreReader
from fake_events import until
from kube_fakes import BATCH_TESTS, LEASES, FakeApi, as_client
from kube_fate import Fate
from kube_world import MortalStore, World, a_batch_test
from reserved_port import reserved_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence

    import kopf

JOBS = ("batch/v1", "jobs")
LEASE = "batchyard-operator"


async def no_watch(_registry: kopf.OperatorRegistry, _namespaces: Sequence[str], stop: asyncio.Event) -> None:
    """Stand in for Kopf: hear nothing until told to stop."""
    await stop.wait()


class Running:
    """One operator that runs as a task; ``fate.done`` is all that it wrote."""

    def __init__(
        self,
        world: World,
        identity: str,
        *,
        namespaces: tuple[str, ...] = (),
        lease_seconds: float = 6.0,
        metrics_port: int = 0,
    ) -> None:
        self.fate, self.metrics_port = Fate(), metrics_port
        self.api = FakeApi(world.cluster, self.fate)
        settings = OperatorSettings(
            store="", namespace="batchyard", identity=identity, results_url="http://results", metrics_port=metrics_port,
            results_port=0, metrics_host="127.0.0.1", results_host="127.0.0.1", lease_seconds=lease_seconds,
            namespaces=namespaces,
        )  # fmt: skip
        store = MortalStore(world.engine, self.fate)
        self.operator = Operator(
            settings, as_client(self.api), store, StoreReader(store), SystemClock(), watch=no_watch
        )  # fmt: skip
        self.task = asyncio.create_task(self.operator.run())

    async def end(self) -> int:
        """Stop it, and return its exit code."""
        self.operator.stop()
        return await asyncio.wait_for(self.task, 10)


@asynccontextmanager
async def operators(world: World, *identities: str) -> AsyncIterator[list[Running]]:
    running = [Running(world, identity) for identity in identities]
    try:
        yield running
    finally:
        for one in running:
            one.operator.stop()
        await asyncio.gather(*(one.task for one in running), return_exceptions=True)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 60))


def holder(world: World) -> str:
    if not world.cluster.has(LEASES, LEASE, "batchyard"):
        return ""
    return str(world.cluster.get(LEASES, LEASE, "batchyard")["spec"]["holderIdentity"])


def acts(running: Running) -> list[str]:
    return [what for what in running.fate.done if what != "commit: make the token key" and "lease" not in what]


def test_of_two_operators_one_acts_and_the_other_writes_nothing(world: World) -> None:
    async def scenario() -> None:
        world.begin(a_batch_test())
        async with operators(world, "one", "two") as both:
            await until(lambda: world.status.get("phase") == "Provisioning" and world.cluster.all(JOBS))
            leader, standby = sorted(both, key=lambda one: len(acts(one)), reverse=True)

            assert acts(standby) == []
            assert acts(leader).count("create jobs") == 1
            assert acts(leader).count("commit: take leadership") == 1

    run(scenario())


def test_a_leader_that_is_stopped_gives_the_lease_back_and_the_other_goes_on_with_its_batches(world: World) -> None:
    async def scenario() -> None:
        world.begin(a_batch_test())
        async with operators(world, "one", "two") as both:
            await until(lambda: world.cluster.all(JOBS))
            first = next(one for one in both if acts(one))
            second = next(one for one in both if one is not first)

            assert await first.end() == EXIT_STOPPED

            await until(lambda: "commit: open a session" in acts(second))
            assert world.store.leadership() == (2, holder(world))
            assert world.cluster.get(LEASES, LEASE, "batchyard")["spec"]["leaseTransitions"] == 1
            assert len(world.cluster.all(JOBS)) == 1

    run(scenario())


def test_a_standby_that_is_stopped_leaves_the_lease_alone(world: World) -> None:
    async def scenario() -> None:
        async with operators(world, "one") as (leader,):
            await until(lambda: "commit: take leadership" in leader.fate.done)
            standby = Running(world, "two")
            await until(lambda: standby.operator is not None and holder(world) == "one")

            assert await standby.end() == EXIT_STOPPED
            assert holder(world) == "one"

    run(scenario())


def test_a_leader_that_the_store_refuses_ends(world: World) -> None:
    async def scenario() -> None:
        world.begin(a_batch_test())
        async with operators(world, "one") as (old,):
            await until(lambda: world.cluster.all(JOBS) and world.status.get("phase") == "Provisioning")
            world.store.take_leadership("another", world.clock.now())
            (job,) = world.cluster.all(JOBS)
            world.cluster.remove(JOBS, job)

            assert await asyncio.wait_for(old.task, 30) == EXIT_LOST

            assert world.cluster.all(JOBS) == []
            assert world.store.leadership() == (2, "another")

    run(scenario())


def test_a_leader_whose_lease_another_has_taken_ends_without_taking_it_back(world: World) -> None:
    async def scenario() -> None:
        async with operators(world, "one") as (old,):
            await until(lambda: "commit: take leadership" in old.fate.done)
            lease = world.cluster.get(LEASES, LEASE, "batchyard")
            world.cluster.update(LEASES, {**lease, "spec": {**lease["spec"], "holderIdentity": "another"}})

            assert await asyncio.wait_for(old.task, 30) == EXIT_LOST

            assert holder(world) == "another"

    run(scenario())


def test_the_lease_is_kept_while_everything_is_looked_at_however_long_that_takes(world: World) -> None:
    async def scenario() -> None:
        go_on = asyncio.Event()

        async def hold_up(kind: tuple[str, str]) -> None:
            if kind == BATCH_TESTS:
                await go_on.wait()

        running = Running(world, "one", lease_seconds=2.0)
        running.api.on_list = hold_up
        await until(lambda: running.fate.done.count("update leases") >= 6)
        assert not running.task.done()
        go_on.set()
        assert await running.end() == EXIT_STOPPED

    run(scenario())


@pytest.mark.parametrize("namespaces", [(), ("team",), ("elsewhere",)])
def test_a_leader_knows_the_batchtests_of_the_namespaces_that_it_watches(
    world: World, namespaces: tuple[str, ...]
) -> None:
    async def scenario() -> None:
        world.begin(a_batch_test())
        running = Running(world, "one", namespaces=namespaces)
        await until(lambda: "create secrets" in running.fate.done)
        expected = namespaces != ("elsewhere",)
        if expected:
            await until(lambda: world.status.get("phase") == "Provisioning")
        assert bool(world.store.batches()) == expected
        await running.end()

    run(scenario())


def scraped(port: int) -> dict[str, float]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_a_scrape_of_the_leader_tells_how_things_stand(world: World) -> None:
    async def scenario(port: int) -> None:
        world.begin(a_batch_test())
        running = Running(world, "one", metrics_port=port)
        await until(lambda: world.status.get("phase") == "Provisioning" and world.cluster.all(JOBS))

        told = await asyncio.to_thread(scraped, running.metrics_port)

        assert told['batchyard_batches{phase="Provisioning"}'] == 1
        assert told['batchyard_environments{provider="InProcess",state="Requested"}'] == 1
        assert told["batchyard_trials_pending"] == 4
        assert told["batchyard_leading"] == 1
        await running.end()

    with reserved_port() as port:
        run(scenario(port))


def test_a_scrape_of_a_standby_tells_that_it_does_not_lead(world: World) -> None:
    async def scenario(port: int) -> None:
        async with operators(world, "one") as (leader,):
            await until(lambda: "commit: take leadership" in leader.fate.done)
            looked = asyncio.Event()

            async def note(_kind: tuple[str, str]) -> None:
                looked.set()

            standby = Running(world, "two", metrics_port=port)
            standby.api.on_get = note
            await looked.wait()

            told = await asyncio.to_thread(scraped, standby.metrics_port)

            assert told["batchyard_leading"] == 0
            assert "batchyard_watch_last_event_age_seconds" not in told
            await standby.end()

    with reserved_port() as port:
        run(scenario(port))
