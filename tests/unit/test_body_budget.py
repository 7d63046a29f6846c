"""Whose bodies the operator reads at once: whoever has more than a little leaves some of the rest to others."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from batchyard.kube.body_budget import LATE, BodyBudget, shares_of
from batchyard.kube.limits import Limits
from batchyard.kube.refusals import Refused

if TYPE_CHECKING:
    from batchyard.kube.body_budget import Hold, Shares

MIB = 1024**2
LIMITS = Limits(patience_seconds=0.01)


class Bodies:
    """Bodies that are being read, and what becomes of one more."""

    def __init__(self, stack: AsyncExitStack, limits: Limits = LIMITS) -> None:
        self._stack, self.budget = stack, BodyBudget(limits, bodies=limits.bodies)

    async def read(self, shares: Shares, size: int = 0) -> Hold:
        """Begin to read one for ever."""
        hold = await self._stack.enter_async_context(self.budget.hold(shares))
        hold.grow(size)
        return hold

    async def takes(self, shares: Shares, size: int = 0) -> bool:
        """Return whether one more is read."""
        try:
            async with self.budget.hold(shares) as hold:
                hold.grow(size)
        except Refused:
            return False
        return True


def test_what_a_few_batches_hold_leaves_some_to_each_of_the_others() -> None:
    async def story() -> tuple[int, bool, bool, bool]:
        async with AsyncExitStack() as stack:
            bodies, held = Bodies(stack), 0
            for name in "abc":
                for _ in range(LIMITS.at_once):
                    try:
                        await bodies.read(shares_of("team-a", name), LIMITS.body_bytes)
                        held += 1
                    except Refused:
                        pass
            return (
                held,
                await bodies.takes(shares_of("team-a", "a"), MIB),
                await bodies.takes(shares_of("team-a", "another"), MIB),
                await bodies.takes(shares_of("team-b", "other"), MIB),
            )

    held, more, same_namespace, other_namespace = asyncio.run(story())

    assert held == 9
    assert (more, same_namespace, other_namespace) == (False, True, True)


def test_what_many_batches_of_one_namespace_hold_leaves_some_to_the_other_namespaces() -> None:
    async def story() -> tuple[bool, bool]:
        async with AsyncExitStack() as stack:
            bodies = Bodies(stack)
            for number in range(LIMITS.bodies - LIMITS.bodies // 8):
                await bodies.read(shares_of("team-a", f"b-{number}"), MIB)
            return await bodies.takes(shares_of("team-a", "more")), await bodies.takes(
                shares_of("team-b", "other"), MIB
            )

    assert asyncio.run(story()) == (False, True)


def test_one_body_may_be_as_large_as_the_limits_say() -> None:
    async def story() -> bool:
        async with AsyncExitStack() as stack:
            return await Bodies(stack).takes(shares_of("team-a", "b"), LIMITS.body_bytes + LIMITS.inflated_bytes)

    assert asyncio.run(story())


def test_what_comes_too_late_never_takes_more_than_half() -> None:
    async def story() -> tuple[int, bool]:
        async with AsyncExitStack() as stack:
            bodies, held = Bodies(stack), 0
            for _ in range(LIMITS.bodies):
                try:
                    await bodies.read(LATE)
                    held += 1
                except Refused:
                    pass
            return held, await bodies.takes(shares_of("team-a", "b"), 8 * MIB)

    assert asyncio.run(story()) == (LIMITS.bodies // 2, True)


def test_a_place_that_gets_free_is_not_for_those_who_wait_with_too_many_already() -> None:
    async def story() -> tuple[bool, bool]:
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            bodies = Bodies(stack, Limits(bodies=4, patience_seconds=60.0))
            for _ in range(3):
                await bodies.read(shares_of("team-a", "a"))
            last = AsyncExitStack()
            await last.enter_async_context(bodies.budget.hold(shares_of("team-b", "b")))
            greedy = group.create_task(bodies.takes(shares_of("team-a", "a")))
            modest = group.create_task(bodies.takes(shares_of("team-c", "c")))
            await asyncio.sleep(0)

            await last.aclose()
            taken = await modest
            still_waits = not greedy.done()
            greedy.cancel()
            return taken, still_waits

    assert asyncio.run(story()) == (True, True)


@pytest.mark.parametrize("waits", [1, 5])
def test_whoever_gives_up_waiting_takes_no_place_with_it(waits: int) -> None:
    async def story() -> bool:
        async with AsyncExitStack() as stack:
            bodies = Bodies(stack, Limits(bodies=1, patience_seconds=60.0))
            first = AsyncExitStack()
            await first.enter_async_context(bodies.budget.hold(shares_of("team-a", "a")))
            waiting = [asyncio.ensure_future(bodies.takes(shares_of("team-b", "b"))) for _ in range(waits)]
            await asyncio.sleep(0)

            await first.aclose()
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            return await bodies.takes(shares_of("team-c", "c"))

    assert asyncio.run(story())
