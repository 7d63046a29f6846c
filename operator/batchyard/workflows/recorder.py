"""What one run of a workflow did, node by node: told to the probe as it happens and kept as node boundaries.

Not tied to a framework: every state adapter reports its nodes here, so that all of them mean the same by a boundary.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.model.trial import NodeBoundary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batchyard.clock import Clock
    from batchyard.engine.ports import Probe

MESSAGE_LIMIT = 2000
"""The longest error text that is kept; a trial's message is for reading, not for data."""


@dataclass(slots=True)
class Visit:
    """One run of one top-level node. Retries by the framework belong to the same visit."""

    node: str
    step: int
    started: float
    task: str
    ended: float | None = None
    status: str = "running"
    exception: BaseException | None = None


class Recorder:
    """Keeps the visits of one run and which checkpoint stands before and after each step.

    Called from the threads that run nodes and the one that stores checkpoints. Each visit is written by its own
    thread; the dictionaries are only ever added to, one atomic operation at a time, so no lock is needed.
    """

    __slots__ = ("_checkpoints", "_clock", "_probe", "_running", "_settle", "_steps", "_visits", "culprits")

    def __init__(
        self,
        probe: Probe,
        clock: Clock,
        settle: Callable[[], None] = lambda: None,
        *,
        done: Iterable[Visit] = (),
    ) -> None:
        """Record one run.

        ``settle`` makes durable whatever waits; it is called before a node begins. ``done`` has the visits that an
        earlier run of the thread completed in the step that this one goes on with.
        """
        self._settle = settle
        self._running: set[str] = set()
        self._probe = probe
        self._clock = clock
        self._visits: dict[str, Visit] = {}
        self._steps: dict[int, list[Visit]] = {}
        for visit in done:
            self._steps.setdefault(visit.step, []).append(visit)
        self._checkpoints: dict[int, str] = {}
        self.culprits: dict[str, str] = {}
        """Which task wrote a state key that could not be stored."""

    def enter(self, node: str, step: int, task: str) -> Visit:
        """Note that ``node`` begins; ``task`` tells two runs of it in one step apart and stays over retries."""
        self._running.add(task)
        self._settle()
        self._probe.node_started(node, task)
        visit = self._visits.get(task)
        if visit is None:
            visit = self._visits[task] = Visit(node, step, self._clock.monotonic(), task)
            self._steps.setdefault(step, []).append(visit)
        else:
            visit.status, visit.ended, visit.exception = "running", None, None
        return visit

    def leave(self, visit: Visit, status: str, exception: BaseException | None = None) -> None:
        """Note how the node ended: ``completed``, ``failed`` or ``interrupted``."""
        visit.ended = self._clock.monotonic()
        visit.exception = exception
        visit.status = status
        self._running.discard(visit.task)
        self._probe.node_finished(visit.node, visit.task)

    @property
    def idle(self) -> bool:
        """Return whether no node is under way."""
        return not self._running

    def stored(self, step: int, checkpoint_id: str) -> None:
        """Note that the state after ``step`` is durable under this id."""
        self._checkpoints[step] = checkpoint_id

    def ran_in(self, step: int) -> str:
        """Return what completed in ``step`` as the text a checkpoint file keeps: JSON pairs of node and seconds."""
        ran = [
            (visit.node, round(visit.ended - visit.started, 6))
            for visit in self._steps.get(step, ())
            if visit.status == "completed" and visit.ended is not None
        ]
        return json.dumps(ran) if ran else ""

    def visits(self) -> tuple[Visit, ...]:
        """Return every visit in the order the nodes began."""
        return tuple(self._visits.values())

    def unstored(self) -> tuple[Visit, ...]:
        """Return the visits of the step whose state is not durable; none if the last step's is."""
        last = max(self._checkpoints, default=-1)
        return tuple(visit for visit in self._visits.values() if visit.step > last)

    def completed_beside(self) -> tuple[Visit, ...]:
        """Return what completed in the step that is not over, in this run and before it."""
        last = max(self._checkpoints, default=-1)
        return tuple(
            visit
            for step, visits in self._steps.items()
            for visit in visits
            if step > last and visit.status == "completed"
        )

    def node_of(self, task: str) -> str | None:
        """Return the node that a task's id belongs to."""
        return next((visit.node for key, visit in self._visits.items() if key.endswith(task)), None)

    @property
    def last_checkpoint(self) -> str | None:
        """Return the newest durable checkpoint."""
        return self._checkpoints[max(self._checkpoints)] if self._checkpoints else None

    def boundaries(self) -> tuple[NodeBoundary, ...]:
        """Return the run's node boundaries in the order the nodes began."""
        now = self._clock.monotonic()
        return tuple(
            NodeBoundary(
                node=visit.node,
                status=visit.status,
                duration_seconds=(now if visit.ended is None else visit.ended) - visit.started,
                entry_checkpoint=self._checkpoints.get(visit.step - 1),
                exit_checkpoint=self._checkpoints.get(visit.step) if visit.status == "completed" else None,
                step=visit.step,
                error=describe(visit.exception) if visit.exception is not None else "",
            )
            for visit in self.visits()
        )


def describe(error: BaseException) -> str:
    """Return ``Type: message``, bounded, even for an exception that cannot be printed."""
    try:
        text = str(error)
    except Exception:  # the user's __str__ may raise anything; the type's name is still worth telling
        text = "its message cannot be printed"
    name = type(error).__name__
    return clip(f"{name}: {text}" if text else name)


def clip(text: str) -> str:
    """Return ``text`` cut to what a message may hold."""
    return text if len(text) <= MESSAGE_LIMIT else f"{text[:MESSAGE_LIMIT]}… ({len(text)} characters)"
