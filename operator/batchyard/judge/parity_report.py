"""What a parity check found: typed discrepancies, the first of them kept and all counted. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.model.trial import JSON


class DiscrepancyKind(StrEnum):
    """What about a trial differs."""

    MISSING_LEFT = "MissingLeft"
    MISSING_RIGHT = "MissingRight"
    OUTCOME = "Outcome"
    REASON = "Reason"
    MESSAGE = "Message"
    SCORE = "Score"
    METRIC_MISSING = "MetricMissing"
    METRIC = "Metric"
    FINAL_STATE = "FinalState"


_MIRRORED = {
    DiscrepancyKind.MISSING_LEFT: DiscrepancyKind.MISSING_RIGHT,
    DiscrepancyKind.MISSING_RIGHT: DiscrepancyKind.MISSING_LEFT,
}


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One difference of one trial. ``subject`` is the metric, the evaluator or the place in the final state.

    ``left`` and ``right`` are short JSON: what each run has there, None where it has nothing.
    """

    kind: DiscrepancyKind
    combination: str
    case: str
    repeat: int
    subject: str = ""
    left: JSON = None
    right: JSON = None

    @property
    def trial(self) -> str:
        """Return the id of the trial."""
        return f"{self.combination}/{self.case}/{self.repeat}"

    def sentence(self, left: str = "left", right: str = "right") -> str:
        """Return the difference in words, with a name for each run."""
        match self.kind:
            case DiscrepancyKind.MISSING_LEFT:
                return f"{self.trial}: there is no result of {left}"
            case DiscrepancyKind.MISSING_RIGHT:
                return f"{self.trial}: there is no result of {right}"
            case _:
                what = " ".join(filter(None, [_WORDS[self.kind], self.subject]))
                if self.left is None and self.right is None:
                    return f"{self.trial}: {what} differs between {left} and {right}"
                return f"{self.trial}: {what} is {_said(self.left)} on {left} and {_said(self.right)} on {right}"

    def without_contents(self) -> Discrepancy:
        """Return it without anything that the workflow said: for where no outputs may stand."""
        return replace(self, left=None, right=None) if self.kind in _CONTENTS else self

    def mirrored(self) -> Discrepancy:
        """Return it as who compares the other way round finds it."""
        return replace(self, kind=_MIRRORED.get(self.kind, self.kind), left=self.right, right=self.left)

    def to_json(self) -> dict[str, JSON]:
        """Return it as ``--output json`` prints it."""
        return {
            "type": self.kind.value,
            "trial": self.trial,
            "combination": self.combination,
            "case": self.case,
            "repeat": self.repeat,
            "subject": self.subject,
            "left": self.left,
            "right": self.right,
        }


_CONTENTS = frozenset({DiscrepancyKind.FINAL_STATE, DiscrepancyKind.MESSAGE})
_WORDS = {
    DiscrepancyKind.OUTCOME: "the outcome",
    DiscrepancyKind.REASON: "the reason",
    DiscrepancyKind.MESSAGE: "the message",
    DiscrepancyKind.SCORE: "the score",
    DiscrepancyKind.METRIC: "metric",
    DiscrepancyKind.METRIC_MISSING: "metric",
    DiscrepancyKind.FINAL_STATE: "the final state at",
}


def _said(value: JSON) -> str:
    return "absent" if value is None else str(value) or "empty"


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What a comparison came to. ``discrepancies`` are the first ones, ``counts`` all of them by kind.

    ``compared`` counts trials that both runs have, ``matching`` those of them without a difference; ``metrics`` how
    many metrics were compared. The seconds are the time that the compared trials took.
    """

    compared: int
    matching: int
    metrics: int
    counts: Mapping[DiscrepancyKind, int]
    discrepancies: tuple[Discrepancy, ...]
    left_seconds: float = 0.0
    right_seconds: float = 0.0

    @property
    def total(self) -> int:
        """Return how many differences there are, kept or not."""
        return sum(self.counts.values())

    @property
    def equivalent(self) -> bool:
        """Return whether something was compared and nothing differs."""
        return self.compared > 0 and self.total == 0

    @property
    def speedup(self) -> float | None:
        """Return how many times faster the right run's trials were, None if that cannot be told."""
        return self.left_seconds / self.right_seconds if self.right_seconds > 0 else None

    def sentence(self) -> str:
        """Return in one line what the comparison came to."""
        if not self.total:
            return f"{self.compared} trials compared, all equal" if self.compared else "there was nothing to compare"
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        total = "1 discrepancy" if self.total == 1 else f"{self.total} discrepancies"
        return f"{self.compared} trials compared, {self.matching} equal; {total}: {kinds}"

    def mirrored(self) -> ParityReport:
        """Return the report of the comparison the other way round."""
        counts = {_MIRRORED.get(kind, kind): count for kind, count in self.counts.items()}
        found = tuple(discrepancy.mirrored() for discrepancy in self.discrepancies)
        return replace(
            self, counts=in_order(counts), discrepancies=found,
            left_seconds=self.right_seconds, right_seconds=self.left_seconds,
        )  # fmt: skip

    def to_json(self) -> dict[str, JSON]:
        """Return the report as ``--output json`` prints it."""
        return {
            "equivalent": self.equivalent,
            "compared": self.compared,
            "matching": self.matching,
            "metricsCompared": self.metrics,
            "total": self.total,
            "counts": {kind.value: count for kind, count in self.counts.items()},
            "discrepancies": [discrepancy.to_json() for discrepancy in self.discrepancies],
            "leftSeconds": round(self.left_seconds, 6),
            "rightSeconds": round(self.right_seconds, 6),
            "speedup": self.speedup,
        }


def in_order(counts: Mapping[DiscrepancyKind, int]) -> dict[DiscrepancyKind, int]:
    """Return the counts as they are always listed, without zeros."""
    return {kind: counts[kind] for kind in DiscrepancyKind if counts.get(kind)}
