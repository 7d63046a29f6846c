"""How a batch whose trials are all final ends: gate, verdict, and what is told of it.

The same for a session on this machine and for the operator. Not for which trials were not run: the caller adds those
to the summary first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.decide.finish import Ending, verdict
from batchyard.judge.gate import GateResult, check
from batchyard.model.events import EventType
from batchyard.model.outcome import GateOutcome, Phase, Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.engine.summary import Summary
    from batchyard.model.spec import Gate
    from batchyard.model.trial import JSON

NOT_RUN_CHUNK = 500
"""How many trials that were not run are written in one step."""

PHASE_OF: Mapping[Verdict, Phase] = {
    Verdict.SUCCEEDED: Phase.SUCCEEDED,
    Verdict.FAILED: Phase.FAILED,
    Verdict.INCONCLUSIVE: Phase.FAILED,
    Verdict.CANCELLED: Phase.CANCELLED,
}

_GATE_EVENTS: Mapping[GateOutcome, EventType] = {
    GateOutcome.PASSED: EventType.GATE_PASSED,
    GateOutcome.FAILED: EventType.GATE_FAILED,
    GateOutcome.INCONCLUSIVE: EventType.GATE_INCONCLUSIVE,
}

_NO_PLACE = frozenset({Reason.ENVIRONMENT_FAILED, Reason.ENVIRONMENT_DEADLINE_EXCEEDED, Reason.WORKFLOW_INVALID})


@dataclass(frozen=True, slots=True)
class Conclusion:
    """How the batch ended; ``told`` holds the events that say so, in order."""

    verdict: Verdict
    reason: Reason
    message: str
    gate: GateResult
    told: tuple[tuple[EventType, str, Mapping[str, JSON]], ...]


def conclude(summary: Summary, gate: Gate, stop: str, why: str = "") -> Conclusion:
    """Return how a batch ends that was cut short for the reason ``stop``, "" if it was not; ``why`` says more of it."""
    checked = check(summary.comparison(), gate, summary.cases)
    ended, reason = verdict(
        Ending(
            counts=summary.counts,
            gate=checked.outcome,
            cancelled=stop == Reason.CANCELLED,
            environment_failed=summary.environment_failed,
            deadline_passed=stop == Reason.BATCH_DEADLINE_EXCEEDED,
            budget_exceeded=stop == Reason.BATCH_BUDGET_EXCEEDED,
            failed_fast=stop == Reason.FAIL_FAST,
            no_place=Reason(stop) if stop in _NO_PLACE else Reason.NONE,
        )
    )
    text = summary.sentence()
    if not why and summary.decided_early:
        why = "ended early, as its comparison needed no more trials"
    if why:
        text = f"{why}; {text}"
    told: list[tuple[EventType, str, Mapping[str, JSON]]] = []
    if ended is Verdict.CANCELLED:
        told.append((EventType.BATCH_CANCELLED, why or "cancelled", {}))
    elif checked.checks:
        told.append(
            (_GATE_EVENTS[checked.outcome], "; ".join(made.message for made in checked.checks), checked.to_json())
        )
    said = f"{ended}{f' ({reason})' if reason else ''}: {text}"
    told.append((EventType.BATCH_FINISHED, said, {"verdict": ended}))
    return Conclusion(ended, reason, text, checked, tuple(told))
