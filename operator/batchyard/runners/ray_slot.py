"""What runs inside a Ray actor: one leader with a zygote of its own, and a way to hear from it.

The actor's process never runs the user's code: its leader's worker processes do, exactly as on one machine. So the
actor always answers, whatever a trial does. It knows nothing of Ray.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import batchyard
from batchyard import config, logs
from batchyard.clock import SystemClock
from batchyard.engine.attempts import Ended, Order, RunnerEvent, Stop
from batchyard.engine.records import redacted
from batchyard.events.redact import Redactor
from batchyard.model.outcome import Outcome, Reason
from batchyard.runners.leader import Leader, Limits
from batchyard.runners.zygotes import Interpreters, Zygotes

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from batchyard.engine.ports import EnvironmentProvider
    from batchyard.model.trial import NodeBoundary
    from batchyard.runners.worker import Setup

_COMPANY_SECONDS = 0.002
"""How long a start waits for the end of a quick attempt, so that one answer tells both."""

_RAYS_OWN = ("PYTHONBREAKPOINT", "RAY_AUTH_TOKEN")
"""What Ray puts into its processes' environment and trials are not to have: its debugger, and the power over it."""


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """Everything that leads a trial, to be sent to any node. ``batch_until`` is UTC by the driver's clock.

    The folders of ``setup`` and ``provider`` are made on the actor's node, and there ``interpreters`` is called, for
    trials with packages of their own. ``limits.batch_until`` is not used.
    """

    batch_id: str
    parts: str
    provider: EnvironmentProvider
    setup: Setup
    limits: Limits
    batch_until: datetime
    read_boundaries: Callable[[Path, str], tuple[NodeBoundary, ...]]
    interpreters: Callable[[], Interpreters]
    take_thread: Callable[..., bytes] | None = None


class SlotHost:
    """Leads one attempt at a time. ``run`` and ``more`` may wait long; call the others from another thread."""

    def __init__(self, number: int, plan: SlotPlan) -> None:
        """Start the zygote and the leader of slot ``number``."""
        redactor = Redactor((*config.inherited_secrets().values(), *config.mounted_secrets()))
        self._redact = redactor.text
        logs.take_over(plan.setup.logs)
        logs.mask(redactor.mask)
        config.forget(*_RAYS_OWN)
        plan.provider.ensure(plan.batch_id)
        Path(plan.setup.checkpoints).mkdir(parents=True, exist_ok=True)
        clock = SystemClock()
        # The instant travels as UTC, since every node's monotonic clock has a zero of its own.
        left = (plan.batch_until - clock.now()).total_seconds()
        self._inbox: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[RunnerEvent] = queue.SimpleQueue()
        self._over = threading.Event()
        self._pauses: set[int] = set()
        self._zygotes = Zygotes(clock, plan.parts, plan.interpreters())
        self._leader = Leader(
            number,
            inbox=self._inbox,
            outbox=self._events.put,
            provider=plan.provider,
            spawn=self._zygotes.spawn,
            setup=plan.setup,
            limits=replace(plan.limits, batch_until=clock.monotonic() + left),
            batch_id=plan.batch_id,
            clock=clock,
            read_boundaries=plan.read_boundaries,
            take_thread=plan.take_thread,
            pauses=self._pauses,
        )
        self._leader.start()

    def version(self) -> str:
        """Return the version of this package on the actor's node."""
        return batchyard.__version__

    def run(self, order: Order) -> tuple[RunnerEvent, ...]:
        """Begin an attempt and return the first that is heard of it."""
        self._inbox.put(order)
        return self.more()

    def more(self) -> tuple[RunnerEvent, ...]:
        """Wait for what comes next; an attempt is over with its ``Ended``. Texts have this node's secrets masked."""
        told = [self._events.get()]
        while not isinstance(told[-1], Ended):
            try:
                told.append(self._events.get(timeout=_COMPANY_SECONDS))
            except queue.Empty:
                break
        return tuple(map(self._masked, told))

    def pause(self, ordinal: int) -> None:
        """Have the trial's attempt pause at its next node boundary."""
        self._pauses.add(ordinal)
        self._leader.look_around()

    def stop(self, stop: Stop) -> None:
        """End what runs, softly first; nothing begins any more."""
        self._leader.stop_running(stop)

    def live(self) -> None:
        """Return when the slot is closed: whoever waits for it learns of the actor's death at once."""
        self._over.wait()

    def close(self) -> None:
        """End what runs, the worker and the zygote; returns when none is left."""
        self.stop(Stop(Outcome.CANCELLED, Reason.INTERRUPTED))
        self._inbox.put(None)
        self._leader.join()
        self._zygotes.close()
        self._over.set()

    def _masked(self, event: RunnerEvent) -> RunnerEvent:
        return replace(event, result=redacted(event.result, self._redact)) if isinstance(event, Ended) else event
