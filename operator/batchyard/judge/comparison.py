"""The comparison matrix: one row a combination, built from final results as they come, in any order.

Memory is combinations x metrics, whatever the number of trials; nothing is kept a trial or a case. Sums are exact,
so the order of the results changes nothing. Not for ranking (``ranking``) nor for scoring a trial (``engine``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchyard.judge.exact import ExactMean, finite
from batchyard.judge.ranking import Best, best, rank
from batchyard.judge.row import CombinationRow, MetricMean
from batchyard.model.outcome import Outcome, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.model.trial import JSON, AttemptResult, Combination

# The trial ran to an end of its own making. The other outcomes say something of the place or of the user's
# patience, nothing of the combination: they are counted and shown, and are part of no rate or mean.
JUDGED = frozenset({Outcome.PASSED, Outcome.FAILED, Outcome.TIMED_OUT, Outcome.NEEDS_INPUT})


@dataclass(frozen=True, slots=True)
class Comparison:
    """All combinations, best first, with the names of all metrics in order and the best if there is one."""

    rows: tuple[CombinationRow, ...]
    best: Best | None
    metrics: tuple[str, ...]

    def to_json(self) -> dict[str, JSON]:
        """Return ``combinations`` (best first), ``best`` and ``metrics`` as ``--output json`` prints them."""
        return {
            "combinations": [row.to_json() for row in self.rows],
            "best": self.best.to_json() if self.best else None,
            "metrics": list(self.metrics),
        }


class ComparisonBuilder:
    """Takes final results one at a time and gives the comparison of all so far.

    Which trials count, weighted by their case's weight:

    * success rate: passed over passed, failed, timed out and needing input. Errored, cancelled and not run trials
      are outside it.
    * score: the same trials. One that was scored (passed, or failed for being below the threshold) counts with its
      score; any other that did not pass counts as 0, so that failing never beats answering badly. One that passed
      without a score is left out: unknown is not zero. In a batch without any score no row has one.
    * seconds and metrics: plain means over the same trials, for a metric over those that have it.
    """

    def __init__(self, combinations: Sequence[Combination]) -> None:
        """Start with a row for every combination, so that one without any result is shown too."""
        self._tallies = {combination.name: _Tally(combination) for combination in combinations}

    def add(self, result: AttemptResult) -> None:
        """Count a trial's final result, each trial once. Raises ``ValueError`` if its combination is unknown."""
        tally = self._tallies.get(result.combination)
        if tally is None:
            known = ", ".join(self._tallies)
            raise ValueError(
                f"trial {result.trial_id}: combination {result.combination!r} is not in this batch ({known})"
            )
        tally.add(result)

    def build(self) -> Comparison:
        """Return the comparison of what came so far; more may be added afterwards."""
        scored = any(tally.scored for tally in self._tallies.values())
        rows = rank(tally.row(scored=scored) for tally in self._tallies.values())
        names = {name for tally in self._tallies.values() for name in tally.metrics}
        return Comparison(rows=rows, best=best(rows), metrics=tuple(sorted(names)))


@dataclass(slots=True)
class _Tally:
    combination: Combination
    counts: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    passes: ExactMean = field(default_factory=ExactMean)
    scored: bool = False
    scores: ExactMean = field(default_factory=ExactMean)
    seconds: ExactMean = field(default_factory=ExactMean)
    metrics: dict[str, ExactMean] = field(default_factory=dict)

    def add(self, result: AttemptResult) -> None:
        self.counts[result.outcome] += 1
        if result.outcome not in JUDGED:
            return
        self.passes.add(1.0 if result.outcome is Outcome.PASSED else 0.0, result.weight)
        score = earned(result)
        self.scored |= score is not None and result.weight > 0
        worth = counted(result.outcome, score)
        if worth is not None:
            self.scores.add(worth, result.weight)
        if finite(result.duration_seconds):
            self.seconds.add(result.duration_seconds)
        for name, value in result.metrics.items():
            if finite(value):
                self.metrics.setdefault(name, ExactMean()).add(float(value))

    def row(self, *, scored: bool) -> CombinationRow:
        means = {name: (metric.mean(), metric.count) for name, metric in sorted(self.metrics.items())}
        return CombinationRow(
            name=self.combination.name,
            variants=dict(self.combination.variants),
            counts=dict(self.counts),
            success_rate=self.passes.mean(),
            score=self.scores.mean() if scored else None,
            mean_seconds=self.seconds.mean(),
            metrics={name: MetricMean(mean, count) for name, (mean, count) in means.items() if mean is not None},
        )


def counted(outcome: Outcome, score: float | None) -> float | None:
    """Return the score that a judged trial counts with in a batch with scores; ``score`` is what it earned."""
    return 0.0 if score is None and outcome is not Outcome.PASSED else score


def earned(result: AttemptResult) -> float | None:
    """Return the score that the workflow's answer was given, None if none was or if the judging itself failed."""
    judged = result.outcome is Outcome.PASSED or result.reason == Reason.BELOW_THRESHOLD
    if not judged or result.score is None or not 0.0 <= result.score <= 1.0:
        return None
    return float(result.score)
