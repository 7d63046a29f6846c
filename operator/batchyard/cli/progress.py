"""How far a batch is, counted from the events it publishes. Not for drawing: ``live`` and ``plain`` do.

The handler runs in the thread that moves the batch, hundreds of times a second: it counts and does nothing else.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.model.events import EventType
from batchyard.model.outcome import Outcome, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.clock import Clock
    from batchyard.model.events import Event

OUTCOME_OF = {
    EventType.TRIAL_PASSED: Outcome.PASSED,
    EventType.TRIAL_FAILED: Outcome.FAILED,
    EventType.TRIAL_TIMED_OUT: Outcome.TIMED_OUT,
    EventType.TRIAL_NEEDS_INPUT: Outcome.NEEDS_INPUT,
    EventType.TRIAL_CANCELLED: Outcome.CANCELLED,
    EventType.TRIAL_ERRORED: Outcome.ERRORED,
}
HEARD = frozenset(
    {
        *OUTCOME_OF,
        EventType.TRIAL_STARTED,
        EventType.TRIAL_RETRIED,
        EventType.TRIALS_NOT_RUN,
        EventType.TRIAL_CARRIED_OVER,
    }
)


@dataclass(frozen=True, slots=True)
class RunningTrial:
    """A trial that runs now."""

    trial: str
    attempt: int
    worker: str
    since: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How a batch stands at one moment. ``remaining_seconds`` is an estimate, None while nothing is known."""

    total: int
    counts: Mapping[Outcome, int]
    retried: int
    running: tuple[RunningTrial, ...]
    elapsed: float
    remaining_seconds: float | None

    @property
    def done(self) -> int:
        """Return how many trials have ended, in whatever way."""
        return sum(self.counts.values())

    def sentence(self) -> str:
        """Return the counts in words."""
        parts = [f"{self.counts[outcome]} {outcome}" for outcome in Outcome if self.counts.get(outcome)]
        if self.retried:
            parts.append(f"{self.retried} retried")
        return ", ".join(parts)


class Progress:
    """Counts trials as they begin and end."""

    def __init__(self, total: int, parallelism: int, clock: Clock, finished: Mapping[Outcome, int]) -> None:
        """Begin with the trials that earlier sessions finished."""
        self._total, self._parallelism, self._clock = total, max(1, parallelism), clock
        self._lock = threading.Lock()  # guards all below; taken by the batch's thread and the one that draws
        self._counts = Counter(finished)
        self._retried = 0
        self._running: dict[str, RunningTrial] = {}
        self._ended, self._ended_seconds = 0, 0.0
        self._began = clock.monotonic()

    def on_event(self, event: Event) -> None:
        """Count an event."""
        with self._lock:
            outcome = OUTCOME_OF.get(event.type)
            if outcome is not None:
                self._running.pop(event.trial_id, None)
                # An interrupted attempt is no result: its trial is run again by `resume`.
                if event.details.get("reason") != Reason.INTERRUPTED:
                    self._counts[outcome] += 1
                    self._ended += 1
                    self._ended_seconds += float(event.details.get("milliseconds", 0.0)) / 1000
            elif event.type is EventType.TRIAL_STARTED:
                self._running[event.trial_id] = RunningTrial(
                    event.trial_id, event.attempt, event.message, self._clock.monotonic()
                )
            elif event.type is EventType.TRIAL_RETRIED:
                # Only what the place broke is tried again; the attempt was counted as the trial's end just now.
                self._counts[Outcome.ERRORED] -= 1
                self._retried += 1
            elif event.type is EventType.TRIAL_CARRIED_OVER:
                self._counts[Outcome(event.details["outcome"])] += 1
            elif event.type is EventType.TRIALS_NOT_RUN:
                self._counts[Outcome.NOT_RUN] += int(event.details.get("count", 0))

    def standing(self) -> Standing:
        """Return how the batch stands now; the trials that have run longest come first."""
        with self._lock:
            running = tuple(self._running.values())
            counts = +self._counts
            ended, ended_seconds = self._ended, self._ended_seconds
            retried = self._retried
        now = self._clock.monotonic()
        left = None
        waiting = max(0, self._total - counts.total() - len(running))
        if ended and (waiting or running):
            # What runs for long already tells that the mean of those that ended, often the quick ones, is too short.
            so_far = ended_seconds + sum(now - trial.since for trial in running)
            mean = max(ended_seconds / ended, so_far / (ended + len(running)))
            # What runs now is taken to be half done.
            left = mean * (waiting + len(running) / 2) / self._parallelism
        return Standing(self._total, counts, retried, running, now - self._began, left)
