"""Why one running attempt has to end, seen from outside, and when to look at it again. Acts on nothing.

Reads what the worker shows without its help: the page it shares, its memory. How an attempt is ended is the leader's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.decide.budgets import REASON_OF, exceeded, no_step_left, sentence
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.usage import Kind, Usage
from batchyard.runners.finish import STOP_TEXT, Cause

if TYPE_CHECKING:
    from batchyard.engine.attempts import Order, Stop
    from batchyard.runners.leader import Limits
    from batchyard.runners.workers import LedWorker

_MEMORY_CHECK_SECONDS = 0.2
_USAGE_CHECK_SECONDS = 0.1


class Watch:
    """Watches one attempt that began at the monotonic instant ``started``."""

    def __init__(
        self, limits: Limits, order: Order, worker: LedWorker, memory_bytes: int | None, started: float
    ) -> None:
        """Look at ``worker`` only."""
        self._limits, self._worker, self._memory_bytes = limits, worker, memory_bytes
        self._started = self._moved = started
        self._trial_seconds = order.deadline_seconds or limits.trial
        self._reads_usage = bool(limits.allowed) or limits.tells_usage or limits.idle is not None
        self.used = Usage()

    # -- why it has to end -------------------------------------------------------------------------------------

    def cause(self, now: float, ending: Stop | None) -> Cause | None:
        """Return why the running attempt has to end, if it does."""
        if self._reads_usage:
            self.read_usage()
        return (
            self._passed_deadline(now)
            or (_stopped(ending, now) if ending is not None else None)
            or self._over_budget(now)
            or self._stuck(now)
            or self._out_of_memory(now)
        )

    def cause_at_end(self, now: float, *, stopped: bool) -> Cause | None:
        """Return why an attempt that ended by ``now`` does not count; ``stopped``: it stopped before its end."""
        if self._reads_usage:
            self.read_usage()
        return self._passed_deadline(now) or self._over_budget(now, stopped=stopped)

    def read_usage(self) -> None:
        """Read what was used; what cannot be read at the moment is what was read last."""
        read = self._worker.usage()
        if read is not None:
            self.used, moved = read
            self._moved = max(self._moved, moved)

    def _passed_deadline(self, now: float) -> Cause | None:
        """Return the batch's or the trial's deadline if it has passed."""
        if now >= self._limits.batch_until:
            text = "the batch's deadline passed while this trial ran"
            return Cause(Outcome.TIMED_OUT, Reason.BATCH_DEADLINE_EXCEEDED, text, self._limits.batch_until)
        until = self._started + self._trial_seconds
        if now >= until:
            text = f"over its deadline of {self._trial_seconds:g} s"
            return Cause(Outcome.TIMED_OUT, Reason.TRIAL_DEADLINE_EXCEEDED, text, until)
        return None

    def _over_budget(self, now: float, *, stopped: bool = False) -> Cause | None:
        allowed = self._limits.allowed
        kind = exceeded(allowed, self.used)
        if kind is None and stopped and no_step_left(allowed, self.used):
            text = f"over its budget: {sentence(Kind.STEPS, allowed, self.used)}, and more were due"
            return Cause(Outcome.FAILED, Reason.STEP_BUDGET_EXCEEDED, text, now)
        if kind is None:
            return None
        text = f"over its budget: {sentence(kind, allowed, self.used)}"
        return Cause(Outcome.FAILED, REASON_OF[kind], text, now)

    def _stuck(self, now: float) -> Cause | None:
        """Return the deadline of the running node, or that of no progress, if it has passed."""
        limit = self._limits.node
        node = self._worker.node() if limit is not None else None
        if node is not None and limit is not None and now >= node[1] + limit:
            text = f"node {node[0]!r} over its deadline of {limit:g} s"
            return Cause(Outcome.TIMED_OUT, Reason.NODE_DEADLINE_EXCEEDED, text, node[1] + limit)
        idle = self._limits.idle
        if idle is not None and now >= self._moved + idle:
            text = f"made no progress for {idle:g} s: nothing began, ended or was reported"
            return Cause(Outcome.TIMED_OUT, Reason.IDLE_DEADLINE_EXCEEDED, text, self._moved + idle)
        return None

    def _out_of_memory(self, now: float) -> Cause | None:
        bound = self._memory_bytes
        if bound is None or self._worker.memory() <= bound:
            return None
        text = f"its processes held more than {bound} bytes (environment resources.memory)"
        return Cause(Outcome.ERRORED, Reason.OUT_OF_MEMORY, text, now)

    # -- when to look again ------------------------------------------------------------------------------------

    def next_look(self, now: float) -> float:
        """Return the instant by which the attempt has to be looked at again."""
        looks = [self._started + self._trial_seconds, self._limits.batch_until]
        if self._limits.node is not None:
            node = self._worker.node()
            # With no node running now, none can be over its limit before that limit from now.
            looks.append((node[1] if node else now) + self._limits.node)
        if self._limits.idle is not None:
            looks.append(self._moved + self._limits.idle)
        if self._limits.allowed or self._limits.tells_usage:
            looks.append(now + _USAGE_CHECK_SECONDS)
        if self._memory_bytes is not None:
            looks.append(now + _MEMORY_CHECK_SECONDS)
        return min(looks)


def _stopped(stop: Stop, now: float) -> Cause:
    accepts = stop.outcome is Outcome.CANCELLED
    return Cause(stop.outcome, stop.reason, STOP_TEXT.get(stop.reason, "ended early"), now, accept_completed=accepts)


def usage_metrics(used: Usage, always: tuple[str, ...]) -> dict[str, float]:
    """Return what was used as metrics of an attempt that could not say itself; ``always`` names those that may be 0."""
    return {kind.value: getattr(used, kind) for kind in Kind if getattr(used, kind) > 0 or kind in always}
