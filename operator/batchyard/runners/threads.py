"""ThreadPoolBatchTestRunner: as many threads as trials may run at once, each leading one warm worker."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

from batchyard.engine.attempts import Stop
from batchyard.model.outcome import Outcome, Reason
from batchyard.runners.leader import Leader, Limits, Spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from batchyard.clock import Clock
    from batchyard.engine.attempts import Order, RunnerEvent
    from batchyard.engine.ports import EnvironmentProvider
    from batchyard.model.trial import NodeBoundary
    from batchyard.runners.worker import Setup


class ThreadPoolBatchTestRunner:
    """Runs attempts in parallel, each under its deadlines; events come out of ``next_event`` as they happen.

    The environment provider decides what each combination's worker sees and where each attempt's files go.
    Use as a context manager: leaving it ends every worker.
    """

    def __init__(
        self,
        *,
        provider: EnvironmentProvider,
        spawn: Spawn,
        setup: Setup,
        limits: Limits,
        parallelism: int,
        batch_id: str,
        clock: Clock,
        read_boundaries: Callable[[Path, str], tuple[NodeBoundary, ...]],
        take_thread: Callable[..., bytes] | None = None,
    ) -> None:
        """Start ``parallelism`` leaders; workers are made with their first order."""
        self._inbox: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[RunnerEvent] = queue.SimpleQueue()
        self._pauses: set[int] = set()  # shared with the leaders; its single operations are atomic
        self._leaders = [
            Leader(
                slot,
                inbox=self._inbox,
                outbox=self._events.put,
                provider=provider,
                spawn=spawn,
                setup=setup,
                limits=limits,
                batch_id=batch_id,
                clock=clock,
                read_boundaries=read_boundaries,
                take_thread=take_thread,
                pauses=self._pauses,
            )
            for slot in range(parallelism)
        ]
        for leader in self._leaders:
            leader.start()

    def submit(self, order: Order) -> None:
        """Queue an attempt; a free leader takes it."""
        self._inbox.put(order)

    def next_event(self, timeout: float | None) -> RunnerEvent | None:
        """Return the next event, or None if none came within ``timeout`` seconds."""
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    def pause(self, ordinal: int) -> None:
        """Have the trial's attempt pause at its next node boundary."""
        self._pauses.add(ordinal)
        for leader in self._leaders:
            leader.look_around()

    def stop(self, stop: Stop) -> Sequence[Order]:
        """End all that runs, softly first, and return the orders that had not begun."""
        waiting: list[Order] = []
        while True:
            try:
                order = self._inbox.get_nowait()
            except queue.Empty:
                break
            if order is not None:
                waiting.append(order)
        for leader in self._leaders:
            leader.stop_running(stop)
        return waiting

    def close(self) -> None:
        """End what runs, then every leader and worker; returns when none is left."""
        self.stop(Stop(Outcome.CANCELLED, Reason.INTERRUPTED))
        for _ in self._leaders:
            self._inbox.put(None)
        for leader in self._leaders:
            leader.join()

    def __enter__(self) -> ThreadPoolBatchTestRunner:
        """Return the runner itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the runner."""
        self.close()
