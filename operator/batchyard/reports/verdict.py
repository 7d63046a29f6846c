"""How a batch ended, in one plain sentence: what every report begins with. Pure; decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.model.outcome import Phase
from batchyard.reports.words import counted, number, rate

if TYPE_CHECKING:
    from batchyard.engine.ports import BatchRecord
    from batchyard.model.status import BatchStatus, GateCheck


def sentence(record: BatchRecord, status: BatchStatus) -> str:
    """Return the verdict: how it ended, what of the gate is not met, and which combination is best by how much."""
    if not record.phase.final:
        counts = status.trials
        ended = counts.total - counts.pending - counts.running
        return f"No verdict yet: {ended:,} of {counted(record.total, 'trial')} have ended.{_best(status, ' so far')}"
    if record.phase is Phase.CANCELLED:
        return f"Cancelled before its end.{_best(status, ' so far')}"
    if record.phase is Phase.SUCCEEDED:
        passed = "Passed: the gate is met." if status.gate and status.gate.checks else "Passed."
        return f"{passed}{_best(status)}"
    missed = [check.name for check in status.gate.checks if not check.passed] if status.gate else []
    if missed and record.reason in {"GateFailed", ""}:
        return f"Failed: the gate is not met ({', '.join(missed)}).{_best(status)}"
    why = f" ({record.reason})" if record.reason else ""
    message = f": {record.message.rstrip('.')}" if record.message else ""
    return f"{record.phase}{why}{message}.{_best(status)}"


def _best(status: BatchStatus, when: str = "") -> str:
    best = status.best
    if best is None:
        return ""
    score = f" with a score of {number(best.score)}" if best.score is not None else ""
    if best.margin is None:
        return f" {best.combination} is best{when}{score}."
    if not best.margin:
        return f" {best.combination} is best{when}{score}, level with the next."
    ahead = f"{number(best.margin)} in score" if best.by == "score" else f"{rate(best.margin)} in success rate"
    return f" {best.combination} is best{when}{score}, {ahead} ahead of the next."


def interval(part: object) -> str:
    """Return the interval that a part of the status has, empty if it has none."""
    low, high = getattr(part, "low", None), getattr(part, "high", None)
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
        return ""
    sure = getattr(part, "confidence", None)
    level = f" ({sure * 100:g}%)" if isinstance(sure, (int, float)) else ""
    return f"{number(low)} to {number(high)}{level}"


def check_word(check: GateCheck) -> str:
    """Return what a rule of the gate came to, in one word."""
    said = getattr(check, "verdict", None)
    return str(said) if said else "pass" if check.passed else "FAIL"
