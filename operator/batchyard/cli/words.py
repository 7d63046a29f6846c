"""Amounts as the commands say them; numbers are said as reports say them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.reports.words import counted, first_line, metric, number, p_value, rate, seconds, signed

if TYPE_CHECKING:
    from batchyard.model.matrix import Plan

__all__ = ["counted", "first_line", "metric", "number", "p_value", "plan_sentence", "rate", "seconds", "signed"]


def plan_sentence(plan: Plan) -> str:
    """Return how many trials there are, and of what."""
    parts = [counted(len(plan.combinations), "combination"), counted(len(plan.cases), "case")]
    if plan.repeats > 1:
        parts.append(counted(plan.repeats, "repeat"))
    sampled = "a sample of " if plan.only is not None else ""
    return f"{counted(len(plan), 'trial')} ({sampled}{' x '.join(parts)})"
