"""Why an attempt was ended, and its result put together from what the worker said and what the leader saw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from batchyard.decide.prefixes import SHARED, seconds_of
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.trial import AttemptResult, EvaluatorScore, NodeBoundary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from batchyard.engine.attempts import Order
    from batchyard.runners.workers import Gone

STOP_TEXT: dict[str, str] = {
    Reason.INTERRUPTED: "ended because the run was interrupted; `batchyard resume` runs it again",
    Reason.FAIL_FAST: "ended because another trial failed and failFast is set",
    Reason.CANCELLED: "ended because the batch was cancelled",
    Reason.BATCH_BUDGET_EXCEEDED: "ended because the batch's budget was exceeded",
    Reason.DECIDED_EARLY: "not needed: ended because the batch's comparison was over",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an attempt is being ended, and the monotonic instant that its deadline passed."""

    outcome: Outcome
    reason: str
    message: str
    since: float
    accept_completed: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """Puts an attempt's result together."""

    order: Order
    worker: str
    started_at: datetime
    ended_at: datetime
    duration: float

    def by_itself(self, executed: Any) -> AttemptResult:
        """Return the result of an attempt that ended by itself and in time, or paused as it was told to."""
        if executed["stopped"]:
            return self.result(
                Outcome.NEEDS_INPUT, Reason.PAUSED, "paused at a node boundary, as it was told", executed
            )
        return self.result(executed["outcome"], executed["reason"], executed["message"], executed)

    def by_cause(self, executed: Any, cause: Cause, used: Mapping[str, float]) -> AttemptResult:
        """Name a run that was ended; it keeps its boundaries and what it ``used``, but no score."""
        reported = executed.get("metrics", {}) if executed["stopped"] else {}
        kept = {**executed, "score": None, "scores": (), "metrics": {**used, **reported}}
        return self.result(cause.outcome, cause.reason, cause.message, kept)

    def lost(
        self, gone: Gone, cause: Cause | None, boundaries: tuple[NodeBoundary, ...], used: Mapping[str, float]
    ) -> AttemptResult:
        """Return the result of an attempt whose worker is gone, with the cause if we ended it."""
        where = f" in node {boundaries[-1].node!r}" if boundaries and boundaries[-1].status == "running" else ""
        if cause is not None:
            text = cause.message + (where if "node" not in cause.message else "")
            if not gone.confirmed:
                text += "; its end could not be confirmed"
            result = self.result(cause.outcome, cause.reason, text)
        else:
            text = f"the worker process ended{where}: {exit_text(gone.status)}"
            result = self.result(Outcome.ERRORED, Reason.WORKER_LOST, text)
        duration = self.duration + _before(boundaries)
        return replace(result, boundaries=boundaries, metrics=used, duration_seconds=duration)

    def result(self, outcome: str, reason: str, message: str, executed: Any = None) -> AttemptResult:
        """Return a result with this outcome and whatever ``executed`` holds besides."""
        order, extra = self.order, executed or {}
        boundaries = tuple(NodeBoundary(**boundary) for boundary in extra.get("boundaries", ()))
        return AttemptResult(
            trial_id=order.trial_id,
            ordinal=order.ordinal,
            combination=order.combination,
            case=order.case,
            repeat=order.repeat,
            attempt=order.attempt,
            epoch=order.epoch,
            outcome=Outcome(outcome),
            reason=reason,
            message=message,
            started_at=self.started_at,
            ended_at=self.ended_at,
            duration_seconds=self.duration + (_before(boundaries) if order.beginning is not None else 0.0),
            score=extra.get("score"),
            weight=order.weight,
            metrics=extra.get("metrics", {}),
            scores=tuple(EvaluatorScore(**score) for score in extra.get("scores", ())),
            boundaries=boundaries,
            output=extra.get("output"),
            output_digest=extra.get("output_digest", ""),
            thread_id=order.thread_id,
            worker=self.worker,
        )


def _before(boundaries: Sequence[NodeBoundary]) -> float:
    """Return what other trials ran of this one: it took its time too, and combinations are compared by it."""
    return seconds_of(boundary for boundary in boundaries if boundary.status == SHARED)


def exit_text(status: int | None) -> str:
    """Return in words how a process with this exit status ended."""
    if status is None:
        return "cause unknown"
    if status >= 0:
        return f"exit code {status}"
    names = {-9: "SIGKILL (out of memory, or killed from outside)", -11: "SIGSEGV", -6: "SIGABRT", -15: "SIGTERM"}
    return names.get(status, f"signal {-status}")
