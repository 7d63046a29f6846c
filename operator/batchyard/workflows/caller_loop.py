"""An event loop that steps aside: it runs on the calling thread and lets that thread run plain functions in between.

LangGraph's synchronous path hands every checkpoint and every write to a thread pool made anew for each run, and waits
for it. Its asynchronous path stores them where it runs, but hands every plain node to a pool. Here neither changes
threads: when the loop wants a function run, it stops, the calling thread runs the function as ``invoke`` would have
(same thread for one node after the other, no running loop to be seen), and the loop goes on. Functions that are due
at once share a pool, and if a function takes longer, another thread turns the loop meanwhile, so that nothing
starves.

Not a general executor: one run at a time.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")
P = ParamSpec("P")

_PATIENCE_SECONDS = 0.01
"""How long a function may keep the calling thread before another thread turns the loop."""

_WAKING_ROUNDS = 50
"""After how many rounds a loop that waits is woken: a signal that came just before it began to wait is heard then."""

_IDLE_ROUNDS = 200
"""After how many rounds without a run the other thread ends."""


class CallerLoop:
    """Runs coroutines on the calling thread, with the functions they give to ``run_in_executor``."""

    def __init__(self) -> None:
        self._executor = _CallerFirstExecutor()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._relief = _Relief()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` to its end and return its result, or raise what it raised.

        Returns only when every function it gave to the pool has ended and every task it left behind is cancelled,
        so that nothing of this run goes on in the next one. A ``BaseException`` that is no ``Exception`` (Ctrl-C,
        ``SystemExit``) drops the run.
        """
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_default_executor(self._executor)
        loop, relief = self._loop, self._relief
        desk = self._executor.desk = _Desk(loop)
        task = loop.create_task(coroutine)
        task.add_done_callback(lambda _: loop.stop())
        relief.begin(loop)
        try:
            while not task.done():
                loop.run_forever()
                desk.serve(relief)
            while pooled := self._executor.pooled():
                with relief.away():
                    wait(pooled)
            _cancel(loop)
        except BaseException:
            self._loop = None
            _drop(loop)
            raise
        finally:
            self._executor.desk = None
            relief.end()
        return task.result()

    def close(self) -> None:
        """Release the loop and the pool; a function that still runs in the pool is not waited for."""
        if self._loop is not None and not self._loop.is_running():
            self._loop.close()
        self._loop = None
        self._executor.shutdown(wait=False)


def _cancel(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what still waits on a loop that stands; what does not end within a second is left."""
    if waiting := asyncio.all_tasks(loop):
        for task in waiting:
            task.cancel()
        loop.run_until_complete(asyncio.wait(waiting, timeout=1))


def _heed() -> None:
    """Do nothing: between two things that a loop does, Python looks for signals."""


def _drop(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what waits on a loop that was broken off, and close it."""
    loop.set_exception_handler(lambda *_: None)
    for _ in range(3):
        try:
            _cancel(loop)
        except BaseException:  # noqa: S112 - the caller gets the first one; these are its echoes
            continue
        break
    loop.close()


class _Job:
    """A function for the calling thread, and the future that waits for it."""

    def __init__(self, function: Callable[[], Any], future: Future[Any]) -> None:
        self._function = function
        self._future = future

    def run(self) -> None:
        if not self._future.set_running_or_notify_cancel():
            return
        try:
            result = self._function()
        except (Exception, asyncio.CancelledError, CancelledError) as error:
            self._future.set_exception(error)
        else:
            self._future.set_result(result)


class _Desk:
    """Where functions for one run's calling thread wait; it takes one at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: deque[_Job] = deque()
        self._free = threading.Lock()  # held from a job's arrival to its end; taken by the loop, released by serve()

    def take(self, job: _Job) -> bool:
        """Accept the job if the calling thread is free, and have the loop step aside."""
        if not self._free.acquire(blocking=False):
            return False
        self._jobs.append(job)
        self._loop.stop()
        return True

    def serve(self, relief: _Relief) -> None:
        """Run the jobs that wait."""
        while self._jobs:
            job = self._jobs.popleft()
            with relief.away():
                try:
                    job.run()
                finally:
                    self._free.release()


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
            future: Future[T] = Future()
            if desk.take(_Job(lambda: fn(*args, **kwargs), future)):
                return future
        pooled = super().submit(fn, *args, **kwargs)
        self._pooled.add(pooled)
        pooled.add_done_callback(self._pooled.discard)
        return pooled

    def pooled(self) -> tuple[Future[Any], ...]:
        """Return what waits or runs in the pool."""
        return tuple(self._pooled)


class _Relief:
    """The other thread, which turns the loop while a function keeps the calling thread.

    Whoever holds ``_turn`` may turn the loop: the caller, but for the time it is ``away``. The thread looks every
    ``_PATIENCE_SECONDS`` and steps in if it meets the same absence twice; it ends when there is no run for a while.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._lock = threading.Lock()  # guards _loop and _thread; taken by begin(), end() and the thread
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._absence = 0
        self._is_away = False
        self._is_turning = False
        self._error: BaseException | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note that the caller begins a run and holds the turn."""
        self._turn.acquire()
        with self._lock:
            self._loop = loop
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="batchyard-relief", daemon=True)
                self._thread.start()

    def end(self) -> None:
        """Note that the run is over."""
        with self._lock:
            self._loop = None
        self._turn.release()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Leave the turn for as long as the caller does something else; raise what broke the loop meanwhile."""
        self._absence += 1
        self._is_away = True
        self._turn.release()
        try:
            yield
        finally:
            self._is_away = False
            if self._is_turning and self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._turn.acquire()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _watch(self) -> None:
        pause = threading.Event()
        met, idle = 0, 0
        for turn in itertools.count(1):
            pause.wait(_PATIENCE_SECONDS)
            if turn % _WAKING_ROUNDS == 0 and (loop := self._loop) is not None:
                # A loop that was broken off may be closed by now.
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(_heed)
            if self._is_away and self._absence == met:
                self._step_in(met)
            met = self._absence
            idle = 0 if self._loop is not None else idle + 1
            if idle > _IDLE_ROUNDS:
                with self._lock:
                    if self._loop is None:
                        self._thread = None
                        return

    def _step_in(self, absence: int) -> None:
        if not self._turn.acquire(blocking=False):
            return
        # Said before looking again: a caller that comes back either is seen here or sees it and stops the loop.
        self._is_turning = True
        try:
            if self._is_away and self._absence == absence and self._loop is not None:
                self._loop.run_forever()
        except BaseException as error:  # SystemExit of an asynchronous node: the caller is who must hear of it
            self._error = error
        finally:
            self._is_turning = False
            self._turn.release()
