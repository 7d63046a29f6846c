"""One combination's line in the comparison: the data that ranking, gate and reports share. No arithmetic here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.model.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.model.trial import JSON


@dataclass(frozen=True, slots=True)
class MetricMean:
    """The mean of one metric over the trials that have it, and how many those are."""

    mean: float
    trials: int


@dataclass(frozen=True, slots=True)
class CombinationRow:
    """What all trials of one combination come to.

    ``counts`` has every outcome. ``success_rate``, ``score`` and ``mean_seconds`` are None if no trial can say:
    none was judged, or there are no scores. See ``ComparisonBuilder`` for which trials count.
    """

    name: str
    variants: Mapping[str, str]
    counts: Mapping[Outcome, int]
    success_rate: float | None
    score: float | None
    mean_seconds: float | None
    metrics: Mapping[str, MetricMean]

    @property
    def passed(self) -> int:
        """Return how many trials passed."""
        return self.counts[Outcome.PASSED]

    def to_json(self) -> dict[str, JSON]:
        """Return the row as the contract writes it: one number a metric, and beside them how many trials had it."""
        return {
            "name": self.name,
            "variants": dict(sorted(self.variants.items())),
            "passed": self.counts[Outcome.PASSED],
            "failed": self.counts[Outcome.FAILED],
            "timedOut": self.counts[Outcome.TIMED_OUT],
            "needsInput": self.counts[Outcome.NEEDS_INPUT],
            "errored": self.counts[Outcome.ERRORED],
            "cancelled": self.counts[Outcome.CANCELLED],
            "notRun": self.counts[Outcome.NOT_RUN],
            "successRate": self.success_rate,
            "score": self.score,
            "meanSeconds": self.mean_seconds,
            "metrics": {name: metric.mean for name, metric in self.metrics.items()},
            "metricTrials": {name: metric.trials for name, metric in self.metrics.items()},
        }
