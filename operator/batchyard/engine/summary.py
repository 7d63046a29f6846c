"""What a session knows of its batch as a whole while it runs: counts, the comparison so far, the first failures.

Bounded whatever the number of trials; a gate that compares by case adds combinations x cases. Not for rows: those are
in the store.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from typing import TYPE_CHECKING

from batchyard.engine.looking import case_table
from batchyard.judge.comparison import Comparison, ComparisonBuilder
from batchyard.model.outcome import Outcome, Reason

if TYPE_CHECKING:
    from batchyard.engine.ports import BatchRecord
    from batchyard.judge.gate import GateResult
    from batchyard.model.matrix import Plan
    from batchyard.model.spec_evaluation import Gate
    from batchyard.model.trial import JSON, AttemptResult

_FAILURES_KEPT = 20
_NO_FAILURE = frozenset({Outcome.PASSED, Outcome.NOT_RUN, Outcome.CANCELLED})


class Summary:
    """Adds up final results as they come; their order changes nothing of what it says in the end."""

    def __init__(self, plan: Plan, gate: Gate | None = None) -> None:
        """Begin with nothing finished. What each case came to is kept only for a ``gate`` that asks for it."""
        self._plan = plan
        by_case = gate is not None and gate.baseline is not None and gate.baseline.confidence is not None
        self.cases = case_table(plan) if by_case else None
        self._builder = ComparisonBuilder(plan.combinations)
        self._failures: list[AttemptResult] = []
        self._no_place = 0
        self._past_deadline = 0
        self._over_budget = 0
        self._cancelled = 0
        self._not_needed = 0
        self.counts: Counter[Outcome] = Counter()
        self.retried = 0
        self.carried = 0

    def add(self, result: AttemptResult) -> None:
        """Count one trial's final result."""
        self.counts[result.outcome] += 1
        self._no_place += result.reason == Reason.ENVIRONMENT_FAILED
        self._past_deadline += result.reason == Reason.BATCH_DEADLINE_EXCEEDED
        self._over_budget += result.reason == Reason.BATCH_BUDGET_EXCEEDED
        self._cancelled += result.reason == Reason.CANCELLED
        self._not_needed += result.reason == Reason.DECIDED_EARLY
        self._builder.add(result)
        if self.cases is not None:
            self.cases.add(result)
        if result.outcome not in _NO_FAILURE:
            # The first by ordinal, not by time: a status says the same whichever trial happened to end before another.
            insort(self._failures, result, key=lambda failure: failure.ordinal)
            del self._failures[_FAILURES_KEPT:]

    @property
    def environment_failed(self) -> bool:
        """Return whether every trial that was tried failed for want of a place to run."""
        tried = self.finished - self.counts[Outcome.NOT_RUN] - self.counts[Outcome.CANCELLED]
        return 0 < tried == self._no_place

    @property
    def past_deadline(self) -> bool:
        """Return whether the batch's deadline ended any trial or left it unrun."""
        return self._past_deadline > 0

    @property
    def over_budget(self) -> bool:
        """Return whether the batch's budget ended any trial or left it unrun."""
        return self._over_budget > 0

    @property
    def cancelled(self) -> bool:
        """Return whether a cancel ended any trial or left it unrun."""
        return self._cancelled > 0

    @property
    def decided_early(self) -> bool:
        """Return whether any trial was not needed because the gate's comparison was over."""
        return self._not_needed > 0

    @property
    def finished(self) -> int:
        """Return how many trials are final."""
        return self.counts.total()

    def comparison(self) -> Comparison:
        """Return the combinations compared, by what has been added."""
        return self._builder.build()

    def progress(self) -> str:
        """Return in words how many trials are final."""
        return f"{self.finished} of {len(self._plan)} trials finished"

    def sentence(self) -> str:
        """Return in one line how the trials ended."""
        parts = [f"{self.counts[outcome]} {outcome}" for outcome in Outcome if self.counts[outcome]]
        return f"{self.progress()}: {', '.join(parts) or 'none yet'}"

    def status(self, record: BatchRecord, *, running: int, gate: GateResult | None) -> dict[str, JSON]:
        """Return the contract's ``status``; bounded by the number of combinations."""
        comparison = self.comparison()
        counts = self.counts
        return {
            "observedGeneration": 1,
            "phase": record.phase.value,
            "reason": record.reason,
            "message": record.message,
            "trials": {
                "total": len(self._plan),
                "pending": max(0, len(self._plan) - self.finished - running),
                "running": running,
                "passed": counts[Outcome.PASSED],
                "failed": counts[Outcome.FAILED],
                "timedOut": counts[Outcome.TIMED_OUT],
                "needsInput": counts[Outcome.NEEDS_INPUT],
                "errored": counts[Outcome.ERRORED],
                "cancelled": counts[Outcome.CANCELLED],
                "notRun": counts[Outcome.NOT_RUN],
                "retried": self.retried,
                **({"carriedOver": self.carried} if self.carried else {}),
            },
            "combinations": [row.to_json() for row in comparison.rows],
            "best": comparison.best.to_json() if comparison.best else None,
            "gate": gate.to_json() if gate else None,
            "failures": [
                {
                    "trial": result.trial_id,
                    "attempt": result.attempt,
                    "outcome": result.outcome.value,
                    "reason": result.reason,
                    "message": result.message[:500],
                }
                for result in self._failures
            ],
        }
