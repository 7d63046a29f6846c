"""What passes between the engine and a runner: orders in, what happened out. Plain data and one Protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from batchyard.model.outcome import Outcome
    from batchyard.model.trial import JSON, AttemptResult


@dataclass(frozen=True, slots=True)
class Order:
    """Everything an attempt needs, as JSON, so that it can travel to any worker.

    ``state`` is the case's input with the batch's initial state merged under it.
    """

    trial_id: str
    ordinal: int
    combination: str
    variants: Mapping[str, str]
    case: str
    repeat: int
    attempt: int
    epoch: int
    thread_id: str
    state: Mapping[str, JSON]
    expected: JSON = None
    weight: float = 1.0
    deadline_seconds: float | None = None
    workspace: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """An attempt began on a worker."""

    order: Order
    worker: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt ended. ``confirmed`` is False if its code may still run; ``signals`` were needed to end it.

    ``overrun_seconds`` is how long after its deadline it was over, None if no deadline passed.
    """

    result: AttemptResult
    confirmed: bool = True
    signals: tuple[str, ...] = ()
    overrun_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Late:
    """A result that came after its attempt had been ended: it changes nothing and is told as such."""

    order: Order
    outcome: str


RunnerEvent = Started | Ended | Late


@dataclass(frozen=True, slots=True)
class Stop:
    """Why everything that runs has to end now, and the outcome that its attempts get."""

    outcome: Outcome
    reason: str


class BatchTestRunner(Protocol):
    """Runs attempts in parallel. Every order submitted comes back as one ``Ended``, or from ``stop``."""

    def submit(self, order: Order) -> None:
        """Queue an attempt; never blocks."""
        ...

    def next_event(self, timeout: float | None) -> RunnerEvent | None:
        """Return the next event, or None if none came within ``timeout`` seconds."""
        ...

    def stop(self, stop: Stop) -> Sequence[Order]:
        """End all that runs, softly first, and return the orders that had not begun."""
        ...

    def close(self) -> None:
        """End every worker; returns when none is left."""
        ...
