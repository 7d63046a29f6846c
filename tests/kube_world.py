"""A small world for an operator: a cluster that goes on by itself, workers that run trials, and a clock that stands.

Everything happens one thing after another and alike each time, so that the same world can be lived through again with
an operator that dies at a chosen write, and the ends compared.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from batchyard.engine.places import PlaceState
from batchyard.engine.ports import Owner
from batchyard.kube.assembly import Assembly
from batchyard.kube.health import Health
from batchyard.kube.settings import OperatorSettings
from batchyard.metrics import Metrics
from batchyard.model.errors import EnvironmentUnavailable, StaleLeader, StoreError
from batchyard.model.outcome import Outcome
from batchyard.model.spec_environment import Provider
from batchyard.store.cluster import SqlClusterStore
from batchyard.store.connect import make_engine, parse_target
from batchyard.store.faults import StoreBusy
from batchyard.store.opening import open_cluster_store
from batchyard.testing.fake_clock import FakeClock
from fake_events import in_this_thread
from kube_fakes import BATCH_TESTS, CONFIG_MAPS, PLACES, SECRETS, FakeApi, FakeCluster, FakePlace, Object, as_client
from kube_fate import Crash, Fate
from kube_worker import FakeWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batchyard.model.trial import Trial

T = TypeVar("T")

NAME = "docs-search"
SETTINGS = OperatorSettings(store="", namespace="batchyard", identity="operator", results_url="http://results")


def a_batch_test(*, provider: str = "InProcess", cases: int = 2, variants: int = 2, **spec: Any) -> Object:
    """Return a BatchTest with ``variants`` times ``cases`` trials, whose code and cases are in ConfigMaps."""
    environment = {"provider": provider, **spec.pop("environment", {})}
    if provider == "KubeRay":
        environment.setdefault("kubeRay", {"workers": {"replicas": 1}})
    body = {
        "workflow": {"factory": "graph:build", "source": {"configMapRef": {"name": "code"}}},
        "variants": {"matrix": {"act": [f"v{number}" for number in range(variants)]}},
        "cases": [{"name": f"c{number}"} for number in range(cases)],
        "environment": environment,
        **spec,
    }
    return {
        "apiVersion": "batchyard.dev/v1alpha1", "kind": "BatchTest", "metadata": {"name": NAME}, "spec": body,
    }  # fmt: skip


class MortalStore(SqlClusterStore):
    """A real store whose user can die, or meet an error, at any commit."""

    def __init__(self, engine: sa.Engine, fate: Fate, epoch: int | None = None) -> None:
        super().__init__(engine, epoch)
        self._fate = fate

    def fenced(self, epoch: int) -> MortalStore:
        return MortalStore(self._engine, self._fate, epoch)

    @contextmanager
    def _write(self, action: str) -> Iterator[sa.Connection]:
        self._fate.enter(f"commit: {action}", StoreBusy)
        with super()._write(action) as connection:
            yield connection
        self._fate.leave(StoreBusy)

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        self._fate.check()
        with super()._read() as connection:
            yield connection


class BenchOperator:
    """An operator without watch, queue and ports: looks at what changed, and at what is due, when it is its turn."""

    def __init__(self, world: World, fate: Fate, identity: str = "operator") -> None:
        self.world, self.fate = world, fate
        self.api = FakeApi(world.cluster, fate)
        store = MortalStore(world.engine, fate)
        self.store = store.fenced(store.take_leadership(identity, world.clock.now()))
        self.parts = Assembly(
            SETTINGS,
            api=as_client(self.api),
            store=self.store,
            places={
                Provider.IN_PROCESS: FakePlace(self.api, has_driver=False),
                Provider.KUBE_RAY: FakePlace(self.api, has_driver=True),
            },
            owner=Owner("host", 1, identity),
            clock=world.clock,
            metrics=world.metrics,
            health=Health(world.clock),
            wake=self.wake,
            heard=lambda: None,
            in_thread=self._ask_store,
        )
        self.due: dict[str, float] = {}
        self.failures: list[Exception] = []
        self._begun, self._posted_after, self._post_at = False, 0, 0.0
        self._heard = len(world.cluster.changes)

    async def _ask_store(self, call: Callable[[], T]) -> T:
        await self.fate.gate()
        return await in_this_thread(call)

    def wake(self, uid: str) -> None:
        self.due[uid] = self.world.clock.monotonic()

    async def turn(self) -> None:
        if not self._begun:
            await self.parts.inventory.take()
            self._begun = True
        self._listen()
        for uid in [uid for uid, at in self.due.items() if at <= self.world.clock.monotonic()]:
            del self.due[uid]
            again: float | None = 1.0
            try:
                again = await self.parts.reconciler.reconcile(uid)
            except (EnvironmentUnavailable, StoreError) as err:
                self.failures.append(err)
            if again is not None:
                at = self.world.clock.monotonic() + again
                self.due[uid] = min(at, self.due.get(uid, at))
        # Asked only when it may have something to do, to be quick.
        if self._posted_after != len(self.fate.done) or self.world.clock.monotonic() >= self._post_at:
            await self._post()

    async def _post(self) -> None:
        try:
            self._post_at = self.world.clock.monotonic() + await self.parts.publisher.post_due()
        except StaleLeader as err:
            self.failures.append(err)
        self._posted_after = len(self.fate.done)

    def _listen(self) -> None:
        changes, self._heard = self.world.cluster.changes[self._heard :], len(self.world.cluster.changes)
        for change, kind, body in changes:
            if kind == BATCH_TESTS:
                self.wake(self.parts.objects.see(body, deleted=change == "DELETED").ref.uid)
            for owner in body["metadata"].get("ownerReferences") or []:
                if owner.get("kind") == "BatchTest":
                    self.wake(owner["uid"])


# Of no interest here, and slow to make.
_METRICS = Metrics()


class World:
    """A cluster with one BatchTest, and an operator that may die. ``fates`` are those of its operators, in order.

    ``outcome`` and ``hangs`` say how trials end and which do not, ``place_status`` what a place is like, and
    ``on_turn`` is what people do.
    """

    def __init__(self, engine: sa.Engine, fates: Sequence[Fate] = ()) -> None:
        """``engine`` is that of an empty store."""
        self.engine, self.store = engine, SqlClusterStore(engine)
        self.clock, self.metrics = FakeClock(), _METRICS
        self.cluster = FakeCluster(self.clock)
        self.fates = list(fates)
        self.operator: BenchOperator | None = None
        self.workers: dict[str, FakeWorker] = {}
        self.executed: list[str] = []
        self.down_for = 0
        self.outcome: Callable[[Trial, int], Outcome] = lambda _trial, _attempt: Outcome.PASSED
        self.hangs: Callable[[FakeWorker, Trial], bool] = lambda _worker, _trial: False
        self.place_status: Callable[[Object], Mapping[str, str]] = lambda _place: {"state": "Ready"}
        self.on_turn: Callable[[World], None] = lambda _world: None
        self.has_workers, self.trials_a_turn = True, 1.0

    def begin(self, test: Object, *, code: bool = True) -> None:
        """Apply a BatchTest with its code."""
        if code:
            self.apply_code()
        self.cluster.apply(BATCH_TESTS, test)

    def apply_code(self) -> None:
        code = {"metadata": {"name": "code"}, "data": {"graph.py": "..."}, "immutable": True}
        self.cluster.apply(CONFIG_MAPS, code)

    # -- going on ----------------------------------------------------------------------------------------------------

    async def turn(self) -> None:
        """Let a second pass."""
        self.on_turn(self)
        self._run_cluster()
        for worker in list(self.workers.values()):
            await self.or_crash(worker.turn)
        if self.operator is None and self.down_for <= 0:
            await self.or_crash(self._start)
        self.down_for -= 1
        if self.operator is not None:
            await self.or_crash(self.operator.turn)
        self.clock.advance(1)

    async def turns(self, count: int) -> None:
        for _ in range(count):
            await self.turn()

    async def until(self, holds: Callable[[], object], turns: int = 400) -> None:
        for _ in range(turns):
            if holds():
                return
            await self.turn()
        raise AssertionError(f"it did not come to that; status: {self.status}")

    async def _start(self) -> None:
        fate = self.fates.pop(0) if self.fates else Fate()
        try:
            self.operator = BenchOperator(self, fate)
        except StoreError:
            # The process ends, and is started again.
            self.down_for = 1

    async def or_crash(self, act: Callable[[], Any]) -> None:
        """Let the operator do something; if it dies of it, it is gone."""
        try:
            await act()
        except Crash:
            self.operator = None

    def kill(self, seconds: int = 0) -> None:
        """End the operator between two of its acts; the next one begins after so many seconds."""
        self.operator, self.down_for = None, seconds

    def _run_cluster(self) -> None:
        self.cluster.collect_garbage()
        for place in self.cluster.all(PLACES):
            metadata, status = place["metadata"], place["status"]
            if metadata.get("deletionTimestamp"):
                self.cluster.remove(PLACES, place)
                self.workers.pop(metadata["name"], None)
                continue
            if not self.cluster.has(SECRETS, f"{metadata['name']}-token"):
                continue
            told = dict(self.place_status(place))
            if told.get("state") == PlaceState.READY and status.get("state") == PlaceState.RUNNING:
                told["state"] = PlaceState.RUNNING.value
            wanted = {"identity": metadata["uid"], **told}
            if wanted != status:
                place = self.cluster.update(PLACES, {**place, "status": wanted})
            self._run_worker(place)
        for name in set(self.workers) - {place["metadata"]["name"] for place in self.cluster.all(PLACES)}:
            del self.workers[name]

    def _run_worker(self, place: Object) -> None:
        name, labels, state = place["metadata"]["name"], place["metadata"]["labels"], place["status"]["state"]
        uid = labels["batchyard.dev/uid"]
        (test,) = (one for one in self.cluster.all(BATCH_TESTS) if one["metadata"]["uid"] == uid)
        provider = test["spec"]["environment"]["provider"]
        runs = state == PlaceState.RUNNING or (state == PlaceState.READY and provider == "InProcess")
        if not runs:
            self.workers.pop(name, None)
        elif name not in self.workers and self.has_workers:
            self.workers[name] = FakeWorker(self, labels["batch"], int(labels["attempt"]))

    def operator_now(self) -> BenchOperator:
        """Return the operator, a new one if there is none."""
        if self.operator is None:
            self.operator = BenchOperator(self, Fate())
        return self.operator

    # -- what came of it ---------------------------------------------------------------------------------------------

    @property
    def test(self) -> Object:
        return self.cluster.get(BATCH_TESTS, NAME)

    @property
    def has_test(self) -> bool:
        return self.cluster.has(BATCH_TESTS, NAME)

    @property
    def status(self) -> Object:
        found: Object = self.test.get("status", {}) if self.has_test else {}
        return found

    def condition(self, kind: str) -> str:
        return next((one["status"] for one in self.status.get("conditions", []) if one["type"] == kind), "")

    @property
    def finished(self) -> bool:
        return self.condition("Finished") == "True"

    @property
    def settled(self) -> int:
        """How many trials have a final result in the store."""
        with self.engine.connect() as connection:
            found: int = connection.exec_driver_sql("SELECT count(*) FROM attempts WHERE final").scalar_one()
        return found

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is left in the cluster and nothing is left to be told."""
        if self.cluster.all(PLACES) or self.cluster.all(SECRETS):
            return False
        with self.engine.connect() as connection:
            untold = connection.exec_driver_sql("SELECT count(*) FROM outbox").scalar_one()
        return untold == 0 and not self.store.open_batches()


class Stage:
    """Where one world is set after another: the store is emptied in between, and nothing else is kept."""

    def __init__(self, folder: Path) -> None:
        """Make an empty store in ``folder``."""
        self._path, self._empty = folder / "store.db", folder / "empty.db"
        open_cluster_store(str(self._empty)).close()
        self._engine = make_engine(parse_target(str(self._path)))

        @sa.event.listens_for(self._engine, "connect")
        def hurry(connection: Any, _record: object) -> None:
            # The operator's process dies here, never the machine.
            connection.execute("PRAGMA synchronous=OFF")

    def world(self, fates: Sequence[Fate] = ()) -> World:
        """Return a new world; the one before is over."""
        self.close()
        for ending in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
        shutil.copyfile(self._empty, self._path)
        return World(self._engine, fates)

    def close(self) -> None:
        """Let go of the store."""
        self._engine.dispose()
