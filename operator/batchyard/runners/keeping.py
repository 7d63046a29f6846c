"""A runner around another that keeps the threads of attempts elsewhere, and begins attempts from threads kept there.

What takes time, asking a database, is done beside the loop by a few threads; a result is told when its thread is kept,
so that who has the one has the other. Not for where threads are kept (``workflows.postgres_threads``, ``local_files``).
"""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import structlog

from batchyard.engine.attempts import BatchTestRunner, Ended, Order, RunnerEvent, Start, Stop
from batchyard.model.errors import CheckpointsUnavailable, NotKept, StoreError
from batchyard.model.execution import ExecutionError
from batchyard.model.outcome import Outcome, Reason
from batchyard.runners.finish import Finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.clock import Clock
    from batchyard.decide.forking import ForkPoint
    from batchyard.model.spec_forking import ForkFrom

_log = structlog.get_logger(__name__)

_AT_ONCE = 4
_LOOK_SECONDS = 0.02
_AWAY_SECONDS = 30.0


class Threads(Protocol):
    """Where threads are kept after their attempt. Called from several threads at once.

    A thread is a piece, as ``workflows.thread_copy`` takes it out of a checkpoint file.
    """

    def keep(self, thread_id: str, piece: bytes) -> None:
        """Keep a thread, in place of one of its name. Raises ``NotKept`` and ``CheckpointsUnavailable``."""
        ...

    def fetch(self, point: ForkPoint) -> bytes:
        """Return a thread up to the point's checkpoint.

        Raises ``ExecutionError`` if it is not there, ``CheckpointsUnavailable`` if that cannot be found out, and
        ``StoreError`` if what is there is damaged.
        """
        ...

    def tidy(self) -> None:
        """Delete what was kept long enough. Raises ``CheckpointsUnavailable``."""
        ...


class KeepingRunner:
    """Gives orders and events on, once their threads are fetched or kept. See ``BatchTestRunner``."""

    def __init__(self, runner: BatchTestRunner, threads: Threads, fork: ForkFrom | None, clock: Clock) -> None:
        """``fork`` says what is set in the states that attempts begin from, if they are another's."""
        self._runner, self._threads, self._fork, self._clock = runner, threads, fork, clock
        self._pool = ThreadPoolExecutor(_AT_ONCE, "batchyard-threads")
        self._ready: queue.SimpleQueue[Ended | Order] = queue.SimpleQueue()
        self._under_way = 0
        self._stopped = False
        # Until when the place is not asked again, and why; any thread may replace it.
        self._away: tuple[float, str] | None = None
        self._pool.submit(self._tidy)

    def submit(self, order: Order) -> None:
        """Queue an attempt, after fetching what it begins from."""
        if order.fork is None:
            self._runner.submit(order)
            return
        self._under_way += 1
        self._pool.submit(self._fetch, order, order.fork)

    def next_event(self, timeout: float | None) -> RunnerEvent | None:
        """Return the next event; the end of an attempt whose thread is kept comes when it is."""
        until = None if timeout is None else self._clock.monotonic() + timeout
        while True:
            told = self._take_ready()
            if told is not None:
                return told
            left = None if until is None else max(0.0, until - self._clock.monotonic())
            wait = left if not self._under_way else _LOOK_SECONDS if left is None else min(left, _LOOK_SECONDS)
            event = self._runner.next_event(wait)
            if isinstance(event, Ended) and event.thread is not None:
                self._under_way += 1
                self._pool.submit(self._keep, event, event.thread)
            elif event is not None or left == 0:
                return event

    def pause(self, ordinal: int) -> None:
        """Have the trial's attempt pause at its next node boundary."""
        self._runner.pause(ordinal)

    def stop(self, stop: Stop) -> Sequence[Order]:
        """End all that runs. An order whose thread is being fetched is told of as not run."""
        self._stopped = True
        return self._runner.stop(stop)

    def close(self) -> None:
        """End the threads that fetch and keep; whoever made the other runner closes it."""
        self._pool.shutdown(cancel_futures=True)

    def _take_ready(self) -> Ended | None:
        """Return an end that may be told; hand an order on that may begin."""
        while True:
            try:
                ready = self._ready.get_nowait()
            except queue.Empty:
                return None
            self._under_way -= 1
            if isinstance(ready, Ended):
                return ready
            if self._stopped:
                return self._not_begun(ready, Outcome.NOT_RUN, "", "")
            self._runner.submit(ready)

    # -- in the pool's threads -----------------------------------------------------------------------------------

    def _keep(self, ended: Ended, thread: bytes) -> None:
        away, why_not = self._away, ""
        try:
            if away is not None and self._clock.monotonic() < away[0]:
                raise NotKept(away[1])
            self._threads.keep(ended.result.thread_id, thread)
        except NotKept as err:
            why_not = str(err)
        except CheckpointsUnavailable as err:
            # Results are not to wait for one time-out after the other.
            why_not = str(err)
            self._away = (self._clock.monotonic() + _AWAY_SECONDS, why_not)
        except Exception as err:  # a result must be told, whatever became of its thread
            _log.exception("a thread could not be kept", trial=ended.result.trial_id)
            why_not = f"{type(err).__name__}"
        self._ready.put(replace(ended, thread=None, kept=not why_not, not_kept=why_not))

    def _tidy(self) -> None:
        try:
            self._threads.tidy()
        except Exception as err:  # the next batch may have more luck, and this one needs none of it
            _log.warning("old threads could not be deleted", error=str(err))

    def _fetch(self, order: Order, point: ForkPoint) -> None:
        self._ready.put(self._begun_from(order, point))

    def _begun_from(self, order: Order, point: ForkPoint) -> Order | Ended:
        if not point.checkpoint:
            text = f"trial {point.trial_id}, which it would begin from, did not end that node"
            return self._not_begun(order, Outcome.FAILED, Reason.START_REFUSED, text)
        try:
            piece = self._threads.fetch(point)
        except (ExecutionError, StoreError) as err:
            return self._not_begun(order, Outcome.FAILED, Reason.START_REFUSED, str(err))
        except CheckpointsUnavailable as err:
            return self._not_begun(order, Outcome.ERRORED, Reason.ENVIRONMENT_FAILED, str(err))
        except Exception as err:  # whatever else breaks is the place's fault, and may be tried again
            _log.exception("a thread could not be fetched", trial=order.trial_id)
            return self._not_begun(order, Outcome.ERRORED, Reason.ENVIRONMENT_FAILED, type(err).__name__)
        start = Start.from_piece(piece)
        if self._fork is not None and self._fork.set:
            start = replace(start, edits=self._fork.set, as_node=self._fork.node)
        return replace(order, fork=None, start=start)

    def _not_begun(self, order: Order, outcome: Outcome, reason: str, message: str) -> Ended:
        now = self._clock.now()
        return Ended(Finish(order, "", now, now, 0.0).result(outcome, reason, message))
