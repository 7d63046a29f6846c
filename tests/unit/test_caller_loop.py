"""Coroutines run on the calling thread, and so do the functions they give away, without anything starving."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.workflows.caller_loop import CallerLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def caller() -> Iterator[CallerLoop]:
    made = CallerLoop()
    yield made
    made.close()


async def give(*functions: Callable[[], Any]) -> list[Any]:
    loop = asyncio.get_running_loop()
    return await asyncio.gather(*(loop.run_in_executor(None, function) for function in functions))


def test_what_a_coroutine_returns_or_raises_is_the_runs(caller: CallerLoop) -> None:
    async def fail() -> None:
        raise LookupError("gone")

    assert caller.run(asyncio.sleep(0, "result")) == "result"
    with pytest.raises(LookupError, match="gone"):
        caller.run(fail())


def test_a_function_runs_on_the_calling_thread_which_sees_no_loop(caller: CallerLoop) -> None:
    def look() -> tuple[int, str]:
        return threading.get_ident(), asyncio.run(asyncio.sleep(0, "its own loop"))

    assert caller.run(give(look)) == [(threading.get_ident(), "its own loop")]


def test_functions_that_are_due_at_once_run_at_once(caller: CallerLoop) -> None:
    meeting = threading.Barrier(4, timeout=20)

    threads = caller.run(give(*[lambda: (meeting.wait(), threading.get_ident())[1]] * 4))

    assert len(set(threads)) == 4
    assert threading.get_ident() in threads


def test_the_loop_goes_on_while_a_function_keeps_the_calling_thread(caller: CallerLoop) -> None:
    async def ask_back() -> str:
        loop = asyncio.get_running_loop()

        def wait_for_the_loop() -> str:
            return asyncio.run_coroutine_threadsafe(asyncio.sleep(0.001, "answer"), loop).result(20)

        return f"{await asyncio.to_thread(str, 'pool')} and {await give(wait_for_the_loop)}"

    assert caller.run(ask_back()) == "pool and ['answer']"


def test_the_calling_thread_takes_the_loop_back(caller: CallerLoop) -> None:
    async def turn_by_turn() -> list[int]:
        loop = asyncio.get_running_loop()
        turners: list[int] = []

        async def note() -> None:
            turners.append(threading.get_ident())

        def long_one() -> None:
            asyncio.run_coroutine_threadsafe(note(), loop).result(20)

        await give(long_one)
        # What follows at once may still be turned by the other thread; it is asked to step back, not torn away.
        while turners[-1] == turners[0]:
            await asyncio.sleep(0)
            await note()
        return turners

    relief, *_, back = caller.run(turn_by_turn())

    assert relief != threading.get_ident()
    assert back == threading.get_ident()


@pytest.mark.parametrize("where", ["function", "coroutine", "coroutine while the caller is away"])
def test_an_exit_passes_through_and_the_next_run_is_sound(caller: CallerLoop, where: str) -> None:
    away = threading.Event()

    def leave() -> None:
        raise SystemExit(7)

    def stay_away() -> None:
        away.set()
        task_is_done.wait(20)

    async def leave_here() -> None:
        raise SystemExit(7)

    async def leave_behind() -> None:
        async def later() -> None:
            await asyncio.to_thread(away.wait, 20)
            raise SystemExit(7)

        task = asyncio.get_running_loop().create_task(later())
        await give(stay_away)
        await task

    task_is_done = threading.Event()
    if where == "coroutine while the caller is away":
        threading.Timer(0.2, task_is_done.set).start()

    made = {"function": lambda: give(leave), "coroutine": leave_here}.get(where, leave_behind)()
    with pytest.raises(SystemExit, match="7"):
        caller.run(made)

    assert caller.run(give(lambda: "sound")) == ["sound"]


@pytest.fixture
def ctrl_c_is_heard() -> Iterator[None]:
    """Whoever starts the tests in the background has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_is_heard")
@pytest.mark.parametrize(
    "send",
    [
        lambda: os.kill(os.getpid(), signal.SIGINT),
        # As a signal in the moment before the wait: nothing in the calling thread wakes by itself.
        lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT),
    ],
    ids=["to the process", "to another thread"],
)
def test_ctrl_c_ends_a_run_that_waits(caller: CallerLoop, send: Callable[[], None]) -> None:
    cancelled: list[str] = []

    async def wait_for_ever() -> None:
        threading.Timer(0.05, send).start()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("cancelled")
            raise

    with pytest.raises(KeyboardInterrupt):
        caller.run(wait_for_ever())

    assert cancelled == ["cancelled"]
    assert caller.run(asyncio.sleep(0, "sound")) == "sound"


def test_a_run_is_over_when_its_functions_are(caller: CallerLoop) -> None:
    failed = threading.Event()
    ended: list[str] = []

    def linger() -> None:
        failed.wait(20)
        ended.append("ended")

    async def fail_early() -> None:
        loop = asyncio.get_running_loop()
        started = [loop.run_in_executor(None, linger) for _ in range(3)]
        await asyncio.sleep(0)
        loop.call_later(0.05, failed.set)
        del started
        raise LookupError("early")

    with pytest.raises(LookupError):
        caller.run(fail_early())

    assert ended == ["ended"] * 3


def test_a_task_that_is_left_behind_does_not_go_on_in_the_next_run(caller: CallerLoop) -> None:
    cancelled: list[str] = []

    async def leave_a_task() -> asyncio.Task[None]:
        async def tick() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append("cancelled")
                raise

        task = asyncio.get_running_loop().create_task(tick())
        await asyncio.sleep(0)
        return task

    task = caller.run(leave_a_task())

    assert cancelled == ["cancelled"]
    assert task.cancelled()


def test_an_exception_of_cancelled_work_is_an_exception_of_the_run(caller: CallerLoop) -> None:
    def cancel() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        caller.run(give(cancel))
