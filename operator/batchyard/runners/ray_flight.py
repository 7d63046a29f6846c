"""What the driver knows of an attempt that an actor runs, and what it says of one that the actor never will.

The deadlines are kept by the leader in the actor. The driver only knows when an answer must have come. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.engine.attempts import Ended, Order, Started, Stop
from batchyard.model.outcome import Outcome, Reason
from batchyard.runners.finish import STOP_TEXT, Cause, Finish

if TYPE_CHECKING:
    from datetime import datetime

    from batchyard.model.trial import AttemptResult
    from batchyard.runners.leader import Limits

MARGIN_SECONDS = 1.5
"""How much later than an attempt's latest end its actor's answer may come."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The batch was told to stop at the monotonic instant ``at``."""

    stop: Stop
    at: float


@dataclass(slots=True)
class Flight:
    """One attempt under way; ``sent`` and ``begun`` are monotonic instants of the driver."""

    order: Order
    sent_at: datetime
    sent: float
    begun: float | None = None
    told: Started | None = None

    def begins(self, told: Started, now: float) -> None:
        """Note that the actor said that the attempt began."""
        self.told, self.begun = told, now

    def due(self, limits: Limits, stopped: Stopped | None) -> float:
        """Return the instant by which an actor that is well has told of the end."""
        if self.begun is None:
            # A worker may have to start and to build the workflow first, each within the environment's deadline.
            latest = self.sent + 2 * limits.environment
        else:
            latest = self.begun + (self.order.deadline_seconds or limits.trial) + limits.grace
        ends = [latest, limits.batch_until + limits.grace]
        if stopped is not None:
            ends.append(stopped.at + limits.grace)
        return min(ends) + MARGIN_SECONDS

    def cause(self, limits: Limits, stopped: Stopped | None, now: float) -> Cause | None:
        """Return what had ended the attempt by ``now``, None if nothing had."""
        if now >= limits.batch_until:
            text = "the batch's deadline passed while this trial ran"
            return Cause(Outcome.TIMED_OUT, Reason.BATCH_DEADLINE_EXCEEDED, text, limits.batch_until)
        limit = self.order.deadline_seconds or limits.trial
        if self.begun is not None and now >= self.begun + limit:
            text = f"over its deadline of {limit:g} s"
            return Cause(Outcome.TIMED_OUT, Reason.TRIAL_DEADLINE_EXCEEDED, text, self.begun + limit)
        if stopped is not None:
            text = STOP_TEXT.get(stopped.stop.reason, "ended early")
            return Cause(stopped.stop.outcome, stopped.stop.reason, text, stopped.at)
        return None

    def lost(self, cause: Cause | None, text: str, now_at: datetime, now: float, signals: tuple[str, ...]) -> Ended:
        """Return the end of an attempt whose actor is no more; ``text`` says what became of that."""
        worker = self.told.worker if self.told else ""
        began_at = self.told.at if self.told else self.sent_at
        finish = Finish(self.order, worker, began_at, now_at, now - (self.sent if self.begun is None else self.begun))
        if cause is None:
            return Ended(finish.result(Outcome.ERRORED, Reason.WORKER_LOST, text), confirmed=False, signals=signals)
        result = finish.result(cause.outcome, cause.reason, f"{cause.message}; {text}")
        overrun = now - cause.since if cause.outcome is Outcome.TIMED_OUT else None
        return Ended(result, confirmed=False, signals=signals, overrun_seconds=overrun)


def unsent(order: Order, outcome: Outcome, reason: str, message: str, queued_at: datetime, now: datetime) -> Ended:
    """Return the end of an attempt that no actor ever got."""
    return Ended(_bare(order, outcome, reason, message, queued_at, now))


def _bare(order: Order, outcome: Outcome, reason: str, message: str, begun: datetime, now: datetime) -> AttemptResult:
    return Finish(order, "", begun, now, (now - begun).total_seconds()).result(outcome, reason, message)
