"""The queue of BatchTests to look at."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from batchyard.clock import SystemClock
from batchyard.kube.queue import WorkQueue, pause_after
from batchyard.model.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Broken(Exception):
    """What cannot be mended by trying again."""


async def running(queue: WorkQueue, until: Callable[[], bool]) -> None:
    """Let the queue work until the condition holds; fails after ten seconds."""
    task = asyncio.create_task(queue.run())
    async with asyncio.timeout(10):
        while not until() and not task.done():  # noqa: ASYNC110 - the condition is anything at all
            await asyncio.sleep(0)
    if task.done():
        task.result()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def counting(seen: Counter[str]) -> Callable[[str], Awaitable[float | None]]:
    async def work(key: str) -> float | None:
        seen[key] += 1
        await asyncio.sleep(0)
        return None

    return work


def test_a_key_that_is_added_many_times_before_its_turn_is_looked_at_once() -> None:
    async def scenario() -> Counter[str]:
        seen: Counter[str] = Counter()
        queue = WorkQueue(counting(seen), SystemClock())
        for _ in range(5):
            queue.add("a")
        queue.add("b")
        await running(queue, lambda: seen.total() == 2)
        assert queue.depth == 0
        return seen

    assert asyncio.run(scenario()) == {"a": 1, "b": 1}


def test_a_key_that_is_added_while_it_is_worked_on_is_looked_at_again_afterwards_and_never_twice_at_once() -> None:
    async def scenario() -> tuple[int, int]:
        active, most, looks = 0, 0, 0

        async def work(key: str) -> float | None:
            nonlocal active, most, looks
            active, looks = active + 1, looks + 1
            most = max(most, active)
            if looks < 3:
                queue.add(key)
            await asyncio.sleep(0)
            active -= 1
            return None

        queue = WorkQueue(work, SystemClock())
        queue.add("a")
        await running(queue, lambda: looks == 3)
        return most, looks

    assert asyncio.run(scenario()) == (1, 3)


def test_a_key_comes_back_after_the_time_its_work_asked_for() -> None:
    async def scenario() -> int:
        looks = 0

        async def work(_key: str) -> float | None:
            nonlocal looks
            looks += 1
            return 0.01 if looks < 3 else None

        queue = WorkQueue(work, SystemClock())
        queue.add("a")
        await running(queue, lambda: looks == 3)
        return looks

    assert asyncio.run(scenario()) == 3


def test_the_sooner_of_two_times_to_come_back_counts() -> None:
    async def scenario() -> None:
        seen: Counter[str] = Counter()
        queue = WorkQueue(counting(seen), SystemClock())
        queue.add_after("a", 3600)
        queue.add_after("a", 0.01)
        queue.add_after("a", 3600)
        await running(queue, lambda: seen["a"] == 1)

    asyncio.run(scenario())


def test_a_key_that_fails_is_tried_again_and_stops_no_other() -> None:
    async def scenario() -> Counter[str]:
        seen: Counter[str] = Counter()

        async def work(key: str) -> float | None:
            seen[key] += 1
            if key == "bad" and seen[key] == 1:
                raise ValueError("not today")
            return None

        queue = WorkQueue(work, SystemClock(), workers=1)
        queue.add("bad")
        queue.add("good")
        await running(queue, lambda: seen == {"bad": 2, "good": 1})
        return seen

    assert asyncio.run(scenario()) == {"bad": 2, "good": 1}


@pytest.mark.parametrize(
    ("error", "lines"), [(StoreError("no room"), 1), (ValueError("a fault of ours"), 2)], ids=["expected", "a-fault"]
)
def test_what_explains_itself_is_logged_in_one_line_and_only_a_fault_of_ours_with_its_traceback(
    error: Exception, lines: int
) -> None:
    with capture_logs() as logged:

        async def work(_key: str) -> float | None:
            raise error

        queue = WorkQueue(work, SystemClock())
        queue.add("a")
        asyncio.run(running(queue, lambda: bool(logged)))

    assert [bool(line.get("exc_info")) for line in logged] == [lines > 1]


def test_a_key_that_fails_again_and_again_waits_longer_each_time_up_to_a_limit_and_for_ever() -> None:
    assert [pause_after(failures) for failures in (1, 2, 3, 4)] == [0.5, 1, 2, 4]
    assert {pause_after(failures) for failures in (7, 100, 1_000_000)} == {20.0}


def test_what_cannot_be_mended_ends_the_queue() -> None:
    async def scenario() -> None:
        async def work(_key: str) -> float | None:
            raise Broken

        queue = WorkQueue(work, SystemClock(), fatal=Broken)
        queue.add("a")
        await running(queue, lambda: False)

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(scenario())
    assert raised.group_contains(Broken)
