"""ThreadPoolBatchTestRunner: as many threads as trials may run at once, each leading one warm worker."""

from __future__ import annotations

import queue
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from batchyard.engine.attempts import Stop
from batchyard.model.errors import EnvironmentUnavailable, Fault
from batchyard.model.outcome import Outcome, Reason
from batchyard.runners.leader import Leader, Limits, Spawn
from batchyard.runners.workers import LedWorker, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from batchyard.clock import Clock
    from batchyard.engine.attempts import Order, RunnerEvent
    from batchyard.engine.ports import EnvironmentProvider, RuntimeEnvironment
    from batchyard.model.trial import JSON, Combination, NodeBoundary
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
    ) -> None:
        """Start ``parallelism`` leaders; workers are made with their first order."""
        self._inbox: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[RunnerEvent] = queue.SimpleQueue()
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


def check_workflow(
    worker: LedWorker,
    setup: Setup,
    runtime: RuntimeEnvironment,
    combinations: Sequence[Combination],
    inputs: Sequence[tuple[str, JSON]],
    *,
    seconds: float,
    wake: int,
    clock: Clock,
) -> list[Fault]:
    """Build the workflow of every combination and check every input, in a worker, before anything else is made.

    ``inputs`` are (path in the file, state). Returns every fault found. The check as a whole may take ``seconds``.
    """
    until = clock.monotonic() + seconds

    def ask(message: dict[str, Any]) -> Any:
        worker.send(message)
        reply = worker.wait(until, wake)
        if isinstance(reply, Message):
            return reply.body
        if reply is None:
            worker.kill()
            raise EnvironmentUnavailable(
                f"importing and building the workflow took over {seconds:g} s; raise spec.deadlines.environmentSeconds"
            )
        words = worker.last_words()
        raise EnvironmentUnavailable(f"the worker that builds the workflow died; its last words: {words!r}")

    error = ask({"op": "setup", "setup": asdict(replace(setup, env={**runtime.env}))})["error"]
    if error:
        return [Fault("spec", "", str(error))]
    faults: list[Fault] = []
    for combination in combinations:
        error = str(ask({"op": "prepare", "variants": dict(combination.variants)})["error"])
        if error and not any(fault.message == error for fault in faults):
            faults.append(Fault("spec.workflow.factory", setup.factory, error))
    if setup.input_schema and not faults:
        faults += [Fault(**fault) for fault in ask({"op": "check", "inputs": inputs})["faults"]]
    return faults
