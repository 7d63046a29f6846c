"""A runner that does what a function says, on a ``FakeClock``: for sessions without workers. A fake.

It runs up to ``parallelism`` orders at once, in order, and checks its caller: nothing is submitted twice, nothing after
a stop. Waiting for it moves the clock on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from batchyard.engine.attempts import Ended, Late, Order, RunnerEvent, Started, Stop
from batchyard.model.outcome import Outcome
from batchyard.model.trial import AttemptResult

if TYPE_CHECKING:
    from batchyard.testing.fake_clock import FakeClock

Answer = Callable[[Order], Ended | None]
"""How an attempt ends by itself, or None if only a stop ends it."""


def ended(order: Order, clock: FakeClock, outcome: Outcome = Outcome.PASSED, **fields: object) -> Ended:
    """Return the end of an attempt that took a second up to now."""
    plain: dict[str, object] = {
        "trial_id": order.trial_id,
        "ordinal": order.ordinal,
        "combination": order.combination,
        "case": order.case,
        "repeat": order.repeat,
        "attempt": order.attempt,
        "epoch": order.epoch,
        "outcome": outcome,
        "reason": "",
        "message": "",
        "started_at": clock.now(),
        "ended_at": clock.now(),
        "duration_seconds": 1.0,
        "weight": order.weight,
        "score": 1.0 if outcome is Outcome.PASSED else None,
        "thread_id": order.thread_id,
    }
    return Ended(AttemptResult(**{**plain, **fields}))  # type: ignore[arg-type]


class FakeRunner:
    """See ``BatchTestRunner``. ``extra`` events are told before any other; every attempt takes ``seconds``."""

    def __init__(self, clock: FakeClock, answer: Answer | None = None, *, parallelism: int = 1, seconds: float = 1.0):
        """Have each attempt end as ``answer`` says, by default passing."""
        self._clock = clock
        self.answer = answer or (lambda order: ended(order, clock))
        self._parallelism = parallelism
        self._seconds = seconds
        self._waiting: deque[Order] = deque()
        self._running: deque[Order] = deque()
        self.extra: deque[RunnerEvent] = deque()
        self.submitted: list[Order] = []
        self.stops: list[Stop] = []
        self.pauses: list[int] = []
        self.waits: list[float | None] = []
        self.most_in_flight = 0

    def submit(self, order: Order) -> None:
        """Queue the order."""
        if self.stops:
            raise AssertionError(f"{order.trial_id} was submitted after the stop")
        if any((order.ordinal, order.attempt) == (known.ordinal, known.attempt) for known in self.submitted):
            raise AssertionError(f"{order.trial_id}#{order.attempt} was submitted twice")
        self.submitted.append(order)
        self._waiting.append(order)
        self.most_in_flight = max(self.most_in_flight, len(self._waiting) + len(self._running))

    def next_event(self, timeout: float | None) -> RunnerEvent | None:
        """Return what comes next; if nothing does, let ``timeout`` pass."""
        self.waits.append(timeout)
        if self.extra:
            return self.extra.popleft()
        if self._waiting and len(self._running) < self._parallelism:
            order = self._waiting.popleft()
            self._running.append(order)
            return Started(order, f"worker-{len(self._running)}", self._clock.now())
        for order in list(self._running):
            event = self._end_of(order)
            if event is not None:
                self._running.remove(order)
                self._clock.advance(self._seconds)
                return event
        if timeout is None:
            raise AssertionError("the session waits for ever")
        self._clock.advance(timeout)
        return None

    def pause(self, ordinal: int) -> None:
        """Note that it was asked."""
        self.pauses.append(ordinal)

    def stop(self, stop: Stop) -> Sequence[Order]:
        """Give back what waits; what runs ends with the next events."""
        self.stops.append(stop)
        returned = list(self._waiting)
        self._waiting.clear()
        return returned

    def close(self) -> None:
        """Have nothing to close."""

    def _end_of(self, order: Order) -> Ended | None:
        by_itself = self.answer(order)
        if by_itself is not None or not self.stops:
            return by_itself
        stop = self.stops[0]
        return ended(order, self._clock, stop.outcome, reason=stop.reason)


def late(order: Order) -> Late:
    """Return a result that came too late."""
    return Late(order, Outcome.PASSED)
