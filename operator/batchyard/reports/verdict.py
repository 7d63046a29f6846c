"""How a batch ended, in one plain sentence: what every report begins with. Pure; decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.decide.finish import EXIT_SUCCEEDED
from batchyard.decide.parity import exit_code_of
from batchyard.model.outcome import GateOutcome, Phase, Reason
from batchyard.model.status import Truth
from batchyard.reports.words import counted, number, rate, signed

if TYPE_CHECKING:
    from batchyard.engine.ports import BatchRecord
    from batchyard.model.status import BatchStatus, Condition, GateCheck


def sentence(record: BatchRecord, status: BatchStatus) -> str:
    """Return the verdict: how it ended, what of the gate is not met, and which combination is best by how much."""
    if not record.phase.final:
        counts = status.trials
        ended = counts.total - counts.pending - counts.running
        return f"No verdict yet: {ended:,} of {counted(record.total, 'trial')} have ended.{_best(status, ' so far')}"
    if record.phase is Phase.CANCELLED:
        return f"Cancelled before its end.{_best(status, ' so far')}"
    if record.phase is Phase.SUCCEEDED:
        return f"{_succeeded(status)}{_best(status)}"
    missed = {
        outcome: [check.name for check in status.gate.checks if check.outcome is outcome] if status.gate else []
        for outcome in GateOutcome
    }
    if record.reason == Reason.GATE_FAILED and missed[GateOutcome.FAILED]:
        return f"Failed: the gate is not met ({', '.join(missed[GateOutcome.FAILED])}).{_best(status)}"
    if record.reason == Reason.GATE_INCONCLUSIVE:
        unsure = ", ".join(missed[GateOutcome.INCONCLUSIVE])
        return (
            f"Inconclusive: the cases show neither that the gate is met nor that it is not ({unsure}).{_best(status)}"
        )
    why = f" ({record.reason})" if record.reason else ""
    message = f": {record.message.rstrip('.')}" if record.message else ""
    return f"{record.phase}{why}{message}.{_best(status)}"


def is_passed(record: BatchRecord, status: BatchStatus) -> bool:
    """Return whether the exit code of a command that ran the batch is 0, parity with it if that was asked for."""
    if not record.phase.final:
        return False
    return exit_code_of(record.phase, record.reason, status.parity_verified) == EXIT_SUCCEEDED


def _succeeded(status: BatchStatus) -> str:
    gate = bool(status.gate and status.gate.checks)
    match status.parity_verified:
        case Truth.FALSE:
            return f"Failed: the trials differ in another place (parity){', though the gate is met' if gate else ''}."
        case Truth.UNKNOWN:
            return (
                f"Not verified: the trials could not be compared (parity){', though the gate is met' if gate else ''}."
            )
        case _:
            return "Passed: the gate is met." if gate else "Passed."


def _best(status: BatchStatus, when: str = "") -> str:
    best = status.best
    if best is None:
        return ""
    score = f" with a score of {number(best.score)}" if best.score is not None else ""
    ahead = ""
    if best.margin is not None:
        much, measure = number(best.margin), "score"
        if best.by != "score":
            much, measure = rate(best.margin), "success rate"
        ahead = f", {much} ahead of the next in {measure}" if best.margin else ", level with the next"
    return f" {best.combination} is best{when}{score}{ahead}{over_the_baseline(status, best.combination)}."


def over_the_baseline(status: BatchStatus, combination: str) -> str:
    """Return by how much a combination was shown to be ahead of the baseline, and how sure; empty if it was not."""
    for check in status.gate.checks if status.gate else ():
        found = check.difference
        if found is not None and found.combination == combination and found.low > 0:
            sure = f"{found.confidence * 100:g}% sure of at least {signed(found.low)}"
            return f"; {signed(found.estimate)} over {found.against}, {sure}"
    return ""


def interval(check: GateCheck) -> str:
    """Return the interval of the difference that a rule is about, empty if it is about none."""
    found = check.difference
    if found is None:
        return ""
    return f"{signed(found.low)} to {signed(found.high)} ({found.confidence * 100:g}% sure of either)"


def parity_word(found: Condition) -> str:
    """Return what another place came to, in one word."""
    return {Truth.TRUE: "pass", Truth.FALSE: "FAIL", Truth.UNKNOWN: "unknown"}[found.status]


def check_word(check: GateCheck) -> str:
    """Return what a rule of the gate came to, in one word."""
    return _WORDS[check.outcome]


_WORDS = {GateOutcome.PASSED: "pass", GateOutcome.FAILED: "FAIL", GateOutcome.INCONCLUSIVE: "open"}
