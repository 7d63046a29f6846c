"""An event loop beside a thread that runs plain functions for it.

LangGraph's synchronous path hands every checkpoint and every write to a thread pool made anew for each run; its
asynchronous path stores them on the loop without a thread switch. Here the loop has a thread of its own, and the
thread that asked for the run executes the workflow's plain functions, as ``invoke`` would have it: the same thread
for one node after the other, no running loop seen in it, and a pool only for what runs in parallel.

Not a general executor: one run at a time.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

_Job = tuple["Future[Any]", Callable[[], Any]]


class CallerLoop:
    """Runs coroutines on its own loop thread while the calling thread executes their ``run_in_executor`` calls."""

    def __init__(self) -> None:
        self._executor = _CallerFirstExecutor()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._died: BaseException | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` to its end and return its result, or raise what it raised.

        Returns only when every function it started in the pool has ended too, so that nothing of this run goes on
        in the next one. What is raised in the calling thread meanwhile (Ctrl-C) cancels the coroutine.
        """
        loop = self._running_loop()
        desk = _Desk()
        self._executor.desk = desk
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        future.add_done_callback(lambda _: desk.close())
        try:
            desk.serve()
            self._executor.wait_for_pool()
        except BaseException:
            future.cancel()
            raise
        finally:
            self._executor.desk = None
        if self._died is not None:
            raise self._died
        return future.result()

    def close(self) -> None:
        """Stop the loop's thread and the pool; a function that still runs is not waited for."""
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=1)
        self._loop = self._thread = None
        self._executor.shutdown(wait=False)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._died is not None:
            self._died = None
            self._loop = asyncio.new_event_loop()
            self._loop.set_default_executor(self._executor)
            self._thread = threading.Thread(target=self._main, args=(self._loop,), name="batchyard-loop", daemon=True)
            self._thread.start()
        return self._loop

    def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_forever()
        except BaseException as error:  # asyncio lets SystemExit and KeyboardInterrupt of a task end the whole loop
            loop.set_exception_handler(lambda *_: None)
            self._died = error
        _end_tasks(loop)
        loop.close()
        if (desk := self._executor.desk) is not None:
            desk.close()


def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what still waits on a loop that is about to close; a few rounds, since each may raise again."""
    for _ in range(10):
        waiting = asyncio.all_tasks(loop)
        if not waiting:
            return
        for task in waiting:
            task.cancel()
        try:
            loop.run_until_complete(asyncio.wait(waiting, timeout=1))
        except BaseException:  # noqa: S112 - the first one is what the caller gets; these are its echoes
            continue


class _Desk:
    """Where jobs for one run's calling thread arrive."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._free = True
        self._lock = threading.Lock()  # guards _free; taken by the loop's thread and the caller's

    def take(self, job: _Job) -> bool:
        """Accept the job if the calling thread is free."""
        with self._lock:
            free, self._free = self._free, False
        if free:
            self._jobs.put(job)
        return free

    def close(self) -> None:
        """Let ``serve`` return once the job in hand is done."""
        self._jobs.put(None)

    def serve(self) -> None:
        """Execute jobs until the desk is closed."""
        while (job := self._jobs.get()) is not None:
            future, function = job
            if future.set_running_or_notify_cancel():
                try:
                    result = function()
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del job, future, function
            with self._lock:
                self._free = True


class _CallerFirstExecutor(ThreadPoolExecutor):
    """Gives a function to the calling thread if it is free, to the pool if not."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="batchyard-node")
        self.desk: _Desk | None = None
        self._pooled: set[Future[Any]] = set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule ``fn``."""
        desk = self.desk
        if desk is not None:
            mine: Future[T] = Future()
            if desk.take((mine, lambda: fn(*args, **kwargs))):
                return mine
        future = super().submit(fn, *args, **kwargs)
        self._pooled.add(future)
        future.add_done_callback(self._pooled.discard)
        return future

    def wait_for_pool(self) -> None:
        """Wait until nothing runs in the pool."""
        while pooled := tuple(self._pooled):
            wait(pooled)
