"""How a batch ends: its verdict, its one reason and the exit code that tells a script. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.model.outcome import GateOutcome, Outcome, Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

_FAILURES = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.ERRORED, Outcome.NEEDS_INPUT})

EXIT_SUCCEEDED = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BATCH_DEADLINE = 3
EXIT_PLACE_FAILED = 4
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known when the last trial is final.

    ``gate`` is None before the gate was asked. ``no_place`` is why the trials had no place to run in the end.
    """

    counts: Mapping[Outcome, int]
    gate: GateOutcome | None = None
    cancelled: bool = False
    deadline_passed: bool = False
    budget_exceeded: bool = False
    failed_fast: bool = False
    environment_failed: bool = False
    no_place: Reason = Reason.NONE


def ends_batch(outcome: Outcome, *, fail_fast: bool) -> bool:
    """Return whether this final outcome of one trial ends the whole batch."""
    return fail_fast and outcome in _FAILURES


def verdict(ending: Ending) -> tuple[Verdict, Reason]:
    """Return the verdict and its reason; the cause that cut the batch short comes before what its trials said."""
    if ending.cancelled:
        return Verdict.CANCELLED, Reason.CANCELLED
    if ending.no_place:
        return Verdict.FAILED, ending.no_place
    if ending.environment_failed:
        return Verdict.FAILED, Reason.ENVIRONMENT_FAILED
    if ending.deadline_passed:
        return Verdict.FAILED, Reason.BATCH_DEADLINE_EXCEEDED
    if ending.budget_exceeded:
        return Verdict.FAILED, Reason.BATCH_BUDGET_EXCEEDED
    if ending.failed_fast:
        return Verdict.FAILED, Reason.FAIL_FAST
    if ending.counts.get(Outcome.PASSED, 0) == 0:
        return Verdict.FAILED, Reason.ALL_TRIALS_FAILED
    if ending.gate is GateOutcome.FAILED:
        return Verdict.FAILED, Reason.GATE_FAILED
    if ending.gate is GateOutcome.INCONCLUSIVE:
        return Verdict.INCONCLUSIVE, Reason.GATE_INCONCLUSIVE
    return Verdict.SUCCEEDED, Reason.NONE


def exit_code(ended_as: Verdict, reason: str) -> int:
    """Return the documented exit code of a finished batch."""
    if ended_as is Verdict.SUCCEEDED:
        return EXIT_SUCCEEDED
    if ended_as is Verdict.CANCELLED:
        return EXIT_INTERRUPTED
    if reason in {Reason.BATCH_DEADLINE_EXCEEDED, Reason.BATCH_BUDGET_EXCEEDED}:
        return EXIT_BATCH_DEADLINE
    if reason in {Reason.ENVIRONMENT_FAILED, Reason.ENVIRONMENT_DEADLINE_EXCEEDED}:
        return EXIT_PLACE_FAILED
    return EXIT_FAILED
