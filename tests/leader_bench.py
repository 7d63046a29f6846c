"""A leader on a scripted worker and a clock that only moves when asked: everything a leader does, in no time."""

from __future__ import annotations

import queue
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batchyard.engine.attempts import Ended, Late, Order, RunnerEvent, Stop
from batchyard.runners.leader import Leader, Limits
from batchyard.runners.worker import Setup
from batchyard.runners.workers import Gone
from batchyard.testing.fake_clock import FakeClock
from batchyard.testing.fake_worker import FakeWorker, Script
from runner_bench import FolderProvider, an_order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from batchyard.model.trial import NodeBoundary
    from batchyard.runners.workers import LedWorker

LOST = Gone(-9, confirmed=True)
NEVER_ENDS = Script(run=None)


@dataclass
class Led:
    """A leader that has led all its orders: what it told and the workers it had."""

    provider: FolderProvider
    clock: FakeClock = field(default_factory=FakeClock)
    events: list[RunnerEvent] = field(default_factory=list)
    workers: list[FakeWorker] = field(default_factory=list)
    began: float = 0.0

    @property
    def ended(self) -> list[Ended]:
        return [event for event in self.events if isinstance(event, Ended)]

    @property
    def only(self) -> Ended:
        (ended,) = self.ended
        return ended

    @property
    def late(self) -> list[Late]:
        return [event for event in self.events if isinstance(event, Late)]

    def calls(self, worker: int = 0) -> list[tuple[float, str]]:
        """What was asked of a worker, in seconds after the beginning."""
        return [(round(at - self.began, 6), what) for at, what in self.workers[worker].calls]


Lead = Any


def leading_in(tmp_path: Path) -> Lead:
    """Return what leads orders on scripted workers, one after the other; the last script serves all further ones."""

    def lead(
        *scripts: Script,
        orders: Sequence[Order] = (an_order(),),
        provider: FolderProvider | None = None,
        stop: Stop | None = None,
        stop_after: Callable[[Led], bool] | None = None,
        boundaries: Callable[[Path, str], tuple[NodeBoundary, ...]] = lambda _file, _thread: (),
        **changes: Any,
    ) -> Led:
        led = Led(provider or FolderProvider(tmp_path / "workspaces"))
        led.began = led.clock.monotonic()
        remaining = list(scripts)

        def spawn(_wanted: object) -> LedWorker:
            script = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            led.workers.append(FakeWorker(script, led.clock))
            return led.workers[-1]

        inbox: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        for order in orders:
            inbox.put(order)
        inbox.put(None)

        def hear(event: RunnerEvent) -> None:
            led.events.append(event)
            if stop is not None and stop_after is not None and stop_after(led):
                leader.stop_running(stop)

        batch = changes.pop("batch", 3600.0) or 0.0
        fields: Any = {"trial": 100.0, "grace": 5.0, "environment": 600.0, "node": None, **changes}
        leader = Leader(
            0,
            inbox=inbox,
            outbox=hear,
            provider=led.provider,
            spawn=spawn,
            setup=Setup("f", "", str(tmp_path), [], 0.5, 100, "sync"),
            limits=Limits(batch_until=led.began + batch, **fields),
            batch_id="b",
            clock=led.clock,
            read_boundaries=boundaries,
        )
        leader.run()
        return led

    return lead
