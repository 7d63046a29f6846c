"""Leadership by a Lease: who may take it, who keeps it, and who has to notice that it is lost."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.apiserver.errors import Unreachable
from batchyard.kube.lease import LeadershipLost, LeaseLock
from batchyard.testing.fake_clock import FakeClock
from kube_fakes import LEASES, FakeApi, FakeCluster, as_client
from kube_fate import Fate

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from kube_fakes import Kind, Object

SECONDS = 15.0


class SkewedClock:
    """The same monotonic time as another clock, and a time of day that is far off."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds

    def now(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return self._clock.monotonic()


class Sleeper:
    """Lets time go on instead of sleeping; after ``left`` times it sleeps for ever."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.left, self.slept = 10_000, 0
        self.is_tired = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        if self.left == 0:
            self.is_tired.set()
            await asyncio.Event().wait()
        self.left, self.slept = self.left - 1, self.slept + 1
        self._clock.advance(seconds)
        await asyncio.sleep(0)


class Bench:
    """One Lease in a fake cluster. Time goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.cluster = FakeCluster(self.clock)
        self.api = FakeApi(self.cluster, Fate())
        self.sleepers: dict[str, Sleeper] = {}

    def lock(self, identity: str, *, skew: float = 0.0) -> LeaseLock:
        clock = SkewedClock(self.clock, skew)
        sleep = self.sleepers[identity] = Sleeper(self.clock)
        return LeaseLock(as_client(self.api), "batchyard", "operator", identity, clock, seconds=SECONDS, sleep=sleep)

    async def renewals(self, lock: LeaseLock, identity: str, count: int) -> None:
        """Have the Lease kept for so many renewals."""
        sleeper = self.sleepers[identity]
        sleeper.left = count
        sleeper.is_tired.clear()
        kept = asyncio.create_task(lock.keep())
        await sleeper.is_tired.wait()
        kept.cancel()
        await asyncio.gather(kept, return_exceptions=True)

    @property
    def lease(self) -> Object:
        found: Object = self.cluster.get(LEASES, "operator", "batchyard")["spec"]
        return found

    def refuse(self, *refused: str) -> None:
        def answer(verb: str, _kind: Kind, _body: Object) -> Unreachable | None:
            return Unreachable("no answer") if verb in refused else None

        self.cluster.refuse = answer


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 20))


def test_the_first_one_makes_the_lease_as_clients_of_kubernetes_do() -> None:
    async def scenario() -> None:
        bench = Bench()

        await bench.lock("one").acquire()

        assert bench.lease == {
            "holderIdentity": "one",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-01-02T03:04:05.000000Z",
            "renewTime": "2026-01-02T03:04:05.000000Z",
            "leaseTransitions": 0,
        }
        assert bench.sleepers["one"].slept == 0

    run(scenario())


def test_a_lease_that_is_kept_is_renewed_five_times_in_its_time_and_stays_one_term() -> None:
    async def scenario() -> None:
        bench = Bench()
        lock = bench.lock("one")
        await lock.acquire()

        await bench.renewals(lock, "one", 5)

        assert bench.lease["renewTime"] == "2026-01-02T03:04:20.000000Z"
        assert bench.lease["acquireTime"] == "2026-01-02T03:04:05.000000Z"
        assert bench.lease["leaseTransitions"] == 0
        assert bench.cluster.writes["update leases"] == 5

    run(scenario())


def test_a_lease_that_is_given_back_is_taken_at_once_and_counted_as_another_term() -> None:
    async def scenario() -> None:
        bench = Bench()
        one, two = bench.lock("one"), bench.lock("two")
        await one.acquire()
        await one.release()
        assert bench.lease["holderIdentity"] == ""

        await two.acquire()

        assert bench.sleepers["two"].slept == 0
        assert (bench.lease["holderIdentity"], bench.lease["leaseTransitions"]) == ("two", 1)

    run(scenario())


@pytest.mark.parametrize("skew", [-86_400.0, 0.0, 86_400.0])
def test_a_silent_holder_is_waited_for_as_long_as_it_promised_whatever_the_clocks_say(skew: float) -> None:
    async def scenario() -> None:
        bench = Bench()
        await bench.lock("one").acquire()
        begun = bench.clock.monotonic()

        await bench.lock("two", skew=skew).acquire()

        assert SECONDS < bench.clock.monotonic() - begun <= SECONDS + 3
        assert (bench.lease["holderIdentity"], bench.lease["leaseTransitions"]) == ("two", 1)

    run(scenario())


@pytest.mark.parametrize("skew", [-86_400.0, 86_400.0])
def test_a_holder_that_renews_keeps_the_lease_whatever_the_clocks_say(skew: float) -> None:
    async def scenario() -> None:
        bench = Bench()
        one, two = bench.lock("one", skew=skew), bench.lock("two")
        await one.acquire()
        waiting = asyncio.create_task(two.acquire())

        await bench.renewals(one, "one", 40)

        assert not waiting.done()
        assert bench.lease["holderIdentity"] == "one"
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    run(scenario())


def test_of_two_that_want_a_free_lease_one_gets_it() -> None:
    async def scenario() -> None:
        bench = Bench()
        locks = [bench.lock(name) for name in ("one", "two", "three")]

        waiting = [asyncio.create_task(lock.acquire()) for lock in locks]
        done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)

        assert (len(done), len(left)) == (1, 2)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    run(scenario())


def test_a_holder_whose_lease_another_has_taken_notices_at_its_next_renewal() -> None:
    async def scenario() -> None:
        bench = Bench()
        one, two = bench.lock("one"), bench.lock("two")
        await one.acquire()
        bench.clock.advance(60)
        await two.acquire()
        assert bench.lease["holderIdentity"] == "two"

        with pytest.raises(LeadershipLost):
            await one.keep()

        await one.release()
        assert bench.lease["holderIdentity"] == "two"

    run(scenario())


def test_a_holder_that_cannot_renew_gives_up_before_another_may_take_over() -> None:
    async def scenario() -> None:
        bench = Bench()
        lock = bench.lock("one")
        await lock.acquire()
        begun = bench.clock.monotonic()
        bench.refuse("update")

        with pytest.raises(LeadershipLost):
            await lock.keep()

        assert bench.clock.monotonic() - begun < SECONDS

    run(scenario())


def test_a_renewal_that_fails_once_loses_nothing() -> None:
    async def scenario() -> None:
        bench = Bench()
        lock = bench.lock("one")
        await lock.acquire()
        bench.refuse("update")
        await bench.renewals(lock, "one", 1)
        bench.refuse()

        await bench.renewals(lock, "one", 20)

        assert bench.lease["holderIdentity"] == "one"
        assert lock.is_fresh

    run(scenario())


def test_somebody_elses_change_of_the_lease_at_the_same_moment_is_no_loss() -> None:
    async def scenario() -> None:
        bench = Bench()
        lock = bench.lock("one")
        await lock.acquire()

        def annotate(*_: object) -> None:
            bench.cluster.refuse = lambda *_: None
            known = bench.cluster.get(LEASES, "operator", "batchyard")
            bench.cluster.update(LEASES, {**known, "metadata": {**known["metadata"], "annotations": {"seen": "yes"}}})

        bench.cluster.refuse = annotate
        await bench.renewals(lock, "one", 1)
        assert bench.lease["renewTime"] == bench.lease["acquireTime"]
        await bench.renewals(lock, "one", 3)

        assert bench.lease["renewTime"] > bench.lease["acquireTime"]
        assert bench.cluster.get(LEASES, "operator", "batchyard")["metadata"]["annotations"] == {"seen": "yes"}

    run(scenario())


def test_a_renewal_without_an_answer_is_given_up_in_time() -> None:
    """In real time: what hangs is the network, and no clock of ours goes on meanwhile."""

    async def scenario() -> None:
        bench = Bench()
        lock = LeaseLock(as_client(bench.api), "batchyard", "operator", "one", bench.clock, seconds=0.3)
        await lock.acquire()

        async def hang(_: Kind) -> None:
            await asyncio.Event().wait()

        bench.api.on_get = hang

        with pytest.raises(LeadershipLost):
            await asyncio.wait_for(lock.keep(), 10)

    run(scenario())


def test_a_lease_that_cannot_be_read_is_not_fresh() -> None:
    async def scenario() -> None:
        bench = Bench()
        lock = bench.lock("one")
        fresh = [lock.is_fresh]
        await lock.acquire()
        fresh.append(lock.is_fresh)

        bench.clock.advance(2 * SECONDS)

        assert [*fresh, lock.is_fresh] == [False, True, False]

    run(scenario())


def test_a_lease_that_cannot_be_given_back_runs_out_by_itself() -> None:
    async def scenario() -> None:
        bench = Bench()
        one = bench.lock("one")
        await one.acquire()
        bench.refuse("update")

        await one.release()

        bench.refuse()
        await bench.lock("two").acquire()
        assert bench.lease["holderIdentity"] == "two"

    run(scenario())
