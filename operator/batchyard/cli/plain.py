"""Progress where nothing can be drawn twice: a few plain lines for a log. Not for terminals (``live``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.cli.progress import OUTCOME_OF
from batchyard.cli.terminal import printable, say, say_at_once
from batchyard.cli.words import first_line, seconds
from batchyard.model.events import EventType
from batchyard.model.outcome import Outcome, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchyard.cli.progress import Progress
    from batchyard.clock import Clock
    from batchyard.model.events import Event

_STEPS = 10
_LEAST_SECONDS = 1.0
_MOST_SECONDS = 5.0
_TRIALS_NAMED = 20


class PlainView:
    """Says now and then how far the batch is, and at once, for the first few, which trial did not pass."""

    def __init__(self, progress: Progress, total: int, clock: Clock, write: Callable[[str], None] = say) -> None:
        """Begin; subscribe ``on_event`` after ``progress.on_event``."""
        self._progress, self._total, self._clock, self._write = progress, max(1, total), clock, write
        self._named = 0
        self._ended = progress.standing().done
        self._last, self._step = clock.monotonic(), self._ended * _STEPS // self._total

    def on_event(self, event: Event) -> None:
        """Write a line if this event, or the time since the last one, is worth it."""
        outcome = OUTCOME_OF.get(event.type)
        if outcome is None:
            if event.type is EventType.TRIAL_RETRIED:
                self._ended -= 1
            elif event.type is EventType.TRIAL_CARRIED_OVER:
                self._ended += 1
            return
        if event.details.get("reason") == Reason.INTERRUPTED:
            return
        self._ended += 1
        if outcome is not Outcome.PASSED:
            self._name(event, outcome)
        now = self._clock.monotonic()
        step = self._ended * _STEPS // self._total
        quiet = now - self._last
        if quiet >= _MOST_SECONDS or (step > self._step and quiet >= _LEAST_SECONDS):
            self._last, self._step = now, step
            self._say_standing()

    def note(self, text: str) -> None:
        """Write a line, from within a signal handler perhaps."""
        say_at_once(text)

    def say(self, text: str) -> None:
        """Write a line."""
        say_at_once(text)

    def close(self) -> None:
        """Nothing is left to take away."""

    def _name(self, event: Event, outcome: Outcome) -> None:
        self._named += 1
        if self._named <= _TRIALS_NAMED:
            message = "" if event.message == outcome else f": {first_line(event.message)}"
            reason = event.details.get("reason", "")
            why = f" ({reason}{message})" if reason else message
            self._write(printable(f"{outcome} {event.trial_id}#{event.attempt}{why}"))
        elif self._named == _TRIALS_NAMED + 1:
            self._write("further trials that do not pass are counted, not named")

    def _say_standing(self) -> None:
        standing = self._progress.standing()
        left = "" if standing.remaining_seconds is None else f"; about {seconds(standing.remaining_seconds)} left"
        share = standing.done * 100 // self._total
        self._write(f"{standing.done}/{standing.total} trials ({share}%): {standing.sentence()}{left}")


class SilentView:
    """Shows nothing but what has to be said."""

    def note(self, text: str) -> None:
        """Write a line, from within a signal handler perhaps."""
        say_at_once(text)

    def say(self, text: str) -> None:
        """Write a line."""
        say_at_once(text)

    def close(self) -> None:
        """Nothing is left to take away."""
