"""What is written down of attempts: results without secrets, audit details, trials that never ran. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchyard.model.outcome import Outcome, Reason
from batchyard.model.trial import JSON, AttemptResult, Trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from batchyard.decide.forking import ForkPoint
    from batchyard.engine.attempts import Ended

_NOT_NEEDED = "not needed: the batch's comparison was over before this trial began"


def not_run(trial: Trial, attempt: int, epoch: int, reason: str, now: datetime) -> AttemptResult:
    """Return the final result of a trial that the batch's early end left without an attempt."""
    return AttemptResult(
        trial_id=trial.id,
        ordinal=trial.ordinal,
        combination=trial.combination.name,
        case=trial.case.name,
        repeat=trial.repeat,
        attempt=attempt,
        epoch=epoch,
        outcome=Outcome.NOT_RUN,
        reason=reason,
        message=_NOT_NEEDED if reason == Reason.DECIDED_EARLY else "the batch ended before this trial began",
        started_at=now,
        ended_at=now,
        duration_seconds=0.0,
        weight=trial.case.weight,
    )


def redacted(result: AttemptResult, redact: Callable[[str], str]) -> AttemptResult:
    """Return the result with secrets masked in every text that may have come from user code."""
    # A trial may pass though nodes of it failed, if something else in its workflow made up for them.
    errors = any(score.error for score in result.scores) or any(boundary.error for boundary in result.boundaries)
    if not (result.message or errors):
        return result
    return replace(
        result,
        message=redact(result.message),
        scores=tuple(replace(score, error=redact(score.error)) for score in result.scores),
        boundaries=tuple(replace(boundary, error=redact(boundary.error)) for boundary in result.boundaries),
    )


def details_of(event: Ended, result: AttemptResult, fork: ForkPoint | None = None) -> dict[str, JSON]:
    """Return what the audit keeps of an attempt's end, and where it began in a fork: never inputs or outputs."""
    details: dict[str, JSON] = {
        "outcome": result.outcome,
        "combination": result.combination,
        "milliseconds": round(result.duration_seconds * 1000, 3),
        "worker": result.worker,
    }
    if result.reason:
        details["reason"] = result.reason
    if result.score is not None:
        details["score"] = result.score
    if event.signals:
        details["signals"] = list(event.signals)
    if event.overrun_seconds is not None:
        details["overrunMilliseconds"] = round(event.overrun_seconds * 1000, 3)
    if not event.confirmed:
        details["confirmed"] = False
    if fork is not None:
        details["forkedFrom"] = {"thread": fork.thread_id, "checkpoint": fork.checkpoint, "trial": fork.trial_id}
    if event.kept or event.not_kept:
        details["kept"] = event.kept
    if event.not_kept:
        details["notKept"] = event.not_kept
    return details
