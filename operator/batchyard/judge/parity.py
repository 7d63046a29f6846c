"""Parity: whether two runs of the same trials in two places came to the same, trial by trial.

Pure, and symmetric: which run is left and which right changes nothing but the names. Memory does not grow with the
number of trials. Not for running anything twice (``compose``), nor for where states differ (``state_difference``).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from batchyard.judge.closeness import Closeness
from batchyard.judge.parity_report import Discrepancy, DiscrepancyKind, ParityReport, in_order
from batchyard.judge.state_difference import differing_places, shown
from batchyard.model.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from batchyard.model.trial import JSON, AttemptResult

MOST_PLACES = 3
"""How many places of one trial's final state are named."""

_BY_ITSELF = frozenset({Outcome.PASSED, Outcome.FAILED, Outcome.NEEDS_INPUT})
# Its score is how fast the trial was.
_TIMED_EVALUATOR: Final = "latency"
_TIME_WORDS = frozenset(
    {"duration", "elapsed", "latency", "microseconds", "millis", "milliseconds", "ms", "nanoseconds", "ns", "sec",
     "seconds", "secs", "time", "us", "wallclock"}
)  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True, slots=True)
class ParityConfig:
    """What counts as equal.

    Numbers are equal if they differ by at most ``absolute_tolerance``, or by at most ``metric_tolerance`` of the larger
    one. Timing metrics are those whose name has a word such as ``seconds`` or ``latency`` in it.
    """

    metric_tolerance: float = 0.01
    absolute_tolerance: float = 1e-6
    ignored_metrics: frozenset[str] = frozenset()
    ignore_timing_metrics: bool = True
    final_state: bool = True
    messages: bool = False
    max_discrepancies: int = 100

    @classmethod
    def strict(cls) -> ParityConfig:
        """Return the strictest comparison that two runs can pass: numbers to the bit, and messages too."""
        return cls(metric_tolerance=0.0, absolute_tolerance=0.0, messages=True)

    @classmethod
    def lenient(cls) -> ParityConfig:
        """Return a comparison for workflows that reckon a little differently each time."""
        return cls(metric_tolerance=0.05, absolute_tolerance=1e-3)

    @property
    def closeness(self) -> Closeness:
        """Return when two numbers count as equal."""
        return Closeness(self.metric_tolerance, self.absolute_tolerance)

    def compares(self, metric: str) -> bool:
        """Return whether this metric is looked at."""
        return metric not in self.ignored_metrics and not (self.ignore_timing_metrics and is_timing(metric))


def key_of(result: AttemptResult) -> tuple[str, str, int]:
    """Return what makes a trial the same trial in every batch."""
    return result.combination, result.case, result.repeat


class ParityChecker:
    """Compares two runs of the same trials."""

    def __init__(self, config: ParityConfig | None = None) -> None:
        """Take what counts as equal."""
        self._config = config or ParityConfig()

    def check(
        self,
        left: Iterable[AttemptResult],
        right: Iterable[AttemptResult],
        *,
        order: Callable[[AttemptResult], Any] = key_of,
    ) -> ParityReport:
        """Compare final results, each trial's one, as they come.

        Both must ascend in ``order``, which is the same for the same trial of both runs and for no other two.

        Raises:
            ValueError: if one of them does not ascend.
        """
        found = _Found(self._config.max_discrepancies)
        for one, other in _joined(_ascending(left, order), _ascending(right, order)):
            if one is not None and other is not None:
                found.add_pair(one, other, self.differences(one, other), self._metrics(one, other))
            elif one is not None:
                found.add(_at(one, DiscrepancyKind.MISSING_RIGHT, left=one.outcome.value))
            elif other is not None:
                found.add(_at(other, DiscrepancyKind.MISSING_LEFT, right=other.outcome.value))
        return found.report()

    def differences(self, left: AttemptResult, right: AttemptResult) -> Iterator[Discrepancy]:
        """Yield what differs between two results of one trial."""
        same_end = left.outcome is right.outcome and left.reason == right.reason
        if left.outcome is not right.outcome:
            yield _at(left, DiscrepancyKind.OUTCOME, "", _ending(left), _ending(right))
        elif left.reason != right.reason:
            yield _at(left, DiscrepancyKind.REASON, "", left.reason, right.reason)
        elif self._config.messages and left.message != right.message:
            yield _at(left, DiscrepancyKind.MESSAGE, "", shown(left.message), shown(right.message))
        scored = left.score is not None and right.score is not None
        # What follows from different ends is no news; how far a trial came by its deadline is chance.
        if scored or (same_end and left.outcome in _BY_ITSELF):
            yield from self._scores(left, right)
            yield from self._metric_differences(left, right)
            if self._config.final_state:
                yield from self._states(left, right)

    def _scores(self, left: AttemptResult, right: AttemptResult) -> Iterator[Discrepancy]:
        close = self._config.closeness
        if any(given.evaluator == _TIMED_EVALUATOR for given in (*left.scores, *right.scores)):
            # Of a score that time has a part in, only the other parts can be the same.
            yield from self._parts(left, right)
        elif not close.equal(left.score, right.score):
            yield _at(left, DiscrepancyKind.SCORE, "", shown(left.score), shown(right.score))

    def _parts(self, left: AttemptResult, right: AttemptResult) -> Iterator[Discrepancy]:
        one, other = (
            [given for given in result.scores if given.evaluator != _TIMED_EVALUATOR] for result in (left, right)
        )
        if [given.evaluator for given in one] != [given.evaluator for given in other]:
            names = (", ".join(given.evaluator for given in scores) for scores in (one, other))
            yield _at(left, DiscrepancyKind.SCORE, "", *names)
            return
        for first, second in zip(one, other, strict=True):
            if not self._config.closeness.equal(first.score, second.score):
                yield _at(left, DiscrepancyKind.SCORE, first.evaluator, shown(first.score), shown(second.score))

    def _metrics(self, left: AttemptResult, right: AttemptResult) -> int:
        return sum(map(self._config.compares, left.metrics.keys() & right.metrics.keys()))

    def _metric_differences(self, left: AttemptResult, right: AttemptResult) -> Iterator[Discrepancy]:
        close = self._config.closeness
        for name in sorted(filter(self._config.compares, left.metrics.keys() | right.metrics.keys())):
            one, other = left.metrics.get(name), right.metrics.get(name)
            if one is None or other is None:
                yield _at(left, DiscrepancyKind.METRIC_MISSING, name, shown(one), shown(other))
            elif not close.equal(one, other):
                yield _at(left, DiscrepancyKind.METRIC, name, shown(one), shown(other))

    def _states(self, left: AttemptResult, right: AttemptResult) -> Iterator[Discrepancy]:
        if left.output_digest == right.output_digest:
            return
        one, other = self._comparable(left.output), self._comparable(right.output)
        places = differing_places(one, other, self._config.closeness, MOST_PLACES)
        for place in places:
            yield _at(left, DiscrepancyKind.FINAL_STATE, place.path, place.left, place.right)
        if not places and (_is_cut(one) or _is_cut(other)):
            # Too large to be kept: only the digests tell.
            yield _at(left, DiscrepancyKind.FINAL_STATE, "$", left.output_digest or None, right.output_digest or None)

    def _comparable(self, output: JSON) -> JSON:
        """Return the state without the metrics in it that are not compared: a workflow reports them there."""
        reported = output.get("metrics") if isinstance(output, dict) else None
        if not isinstance(reported, dict):
            return output
        kept = {name: value for name, value in reported.items() if self._config.compares(name)}
        return {**output, "metrics": kept}


def is_timing(metric: str) -> bool:
    """Return whether a metric's name says that it measures time."""
    return any(word.lower() in _TIME_WORDS for word in _WORD.findall(metric))


def _is_cut(output: JSON) -> bool:
    # A workflow's own state may have a key of that name too.
    return isinstance(output, dict) and output.get("truncated") is True and output.keys() <= {"truncated", "bytes"}


def _ending(result: AttemptResult) -> str:
    return f"{result.outcome} ({result.reason})" if result.reason else result.outcome.value


def _at(
    result: AttemptResult, kind: DiscrepancyKind, subject: str = "", left: JSON = None, right: JSON = None
) -> Discrepancy:
    return Discrepancy(kind, result.combination, result.case, result.repeat, subject, left, right)


@dataclass(slots=True)
class _Found:
    """Adds up what differs, and keeps the first of it."""

    most: int
    compared: int = 0
    matching: int = 0
    metrics: int = 0
    counts: Counter[DiscrepancyKind] = field(default_factory=Counter)
    kept: list[Discrepancy] = field(default_factory=list)
    left_seconds: float = 0.0
    right_seconds: float = 0.0

    def add(self, discrepancy: Discrepancy) -> None:
        self.counts[discrepancy.kind] += 1
        if len(self.kept) < self.most:
            self.kept.append(discrepancy)

    def add_pair(
        self, left: AttemptResult, right: AttemptResult, differences: Iterable[Discrepancy], metrics: int
    ) -> None:
        before = self.counts.total()
        for discrepancy in differences:
            self.add(discrepancy)
        self.compared += 1
        self.matching += self.counts.total() == before
        self.metrics += metrics
        self.left_seconds += left.duration_seconds
        self.right_seconds += right.duration_seconds

    def report(self) -> ParityReport:
        return ParityReport(
            self.compared, self.matching, self.metrics, in_order(self.counts), tuple(self.kept),
            self.left_seconds, self.right_seconds,
        )  # fmt: skip


_Ranked = tuple[Any, "AttemptResult"]


def _ascending(results: Iterable[AttemptResult], order: Callable[[AttemptResult], Any]) -> Iterator[_Ranked]:
    last: Any = None
    for result in results:
        place = order(result)
        if last is not None and not last < place:
            raise ValueError(f"trial {result.trial_id} comes twice or out of order")
        last = place
        yield place, result


def _joined(
    left: Iterator[_Ranked], right: Iterator[_Ranked]
) -> Iterator[tuple[AttemptResult | None, AttemptResult | None]]:
    """Yield the results of both side by side, None where one has none."""
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if one is not None and other is not None and one[0] == other[0]:
            yield one[1], other[1]
            one, other = next(left, None), next(right, None)
        elif one is not None and (other is None or one[0] < other[0]):
            yield one[1], None
            one = next(left, None)
        elif other is not None:
            yield None, other[1]
            other = next(right, None)
