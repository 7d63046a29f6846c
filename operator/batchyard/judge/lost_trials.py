"""The trials that the gate's baseline passed and another combination did not: case by case, repeat by repeat. Pure.

Not for whether a combination is worse (``regression``): some cases are lost by any that wins others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, NamedTuple, Protocol

from batchyard.judge.comparison import JUDGED
from batchyard.judge.first_difference import MOST_NAMES, Difference
from batchyard.model.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchyard.model.trial import JSON

MOST_LOST = 10
"""How many lost trials are named and looked into."""


class Final(Protocol):
    """As much of a final result as says whether a trial was lost."""

    @property
    def ordinal(self) -> int:
        """Return the trial's number."""

    @property
    def combination(self) -> str:
        """Return the name of its combination."""

    @property
    def case(self) -> str:
        """Return the name of its case."""

    @property
    def repeat(self) -> int:
        """Return which repeat it is."""

    @property
    def outcome(self) -> Outcome:
        """Return how it ended."""


class Lost(NamedTuple):
    """The numbers of a trial that did not pass and of the baseline's trial of the same case and repeat, which did."""

    ordinal: int
    baseline: int


@dataclass(slots=True)
class LostTrials:
    """Takes final results in any order; memory is that of the failures and of what the baseline passed."""

    baseline: str
    _passed: dict[tuple[str, int], int] = field(default_factory=dict)
    _failed: dict[str, list[tuple[tuple[str, int], int]]] = field(default_factory=dict)

    def add(self, result: Final) -> None:
        """Count one final result."""
        key = (result.case, result.repeat)
        if result.combination == self.baseline:
            if result.outcome is Outcome.PASSED:
                self._passed[key] = result.ordinal
        elif result.outcome in JUDGED and result.outcome is not Outcome.PASSED:
            self._failed.setdefault(result.combination, []).append((key, result.ordinal))

    def by_combination(self, first: str = "") -> dict[str, list[Lost]]:
        """Return what each combination lost: ``first`` first, then those that lost most."""
        found = {
            name: [Lost(ordinal, self._passed[key]) for key, ordinal in failed if key in self._passed]
            for name, failed in self._failed.items()
        }
        ranked = sorted(found, key=lambda name: (name != first, -len(found[name]), name))
        return {name: found[name] for name in ranked if found[name]}


def worst(lost: Mapping[str, list[Lost]], most: int = MOST_LOST) -> Iterator[Lost]:
    """Yield a bounded number: the first of each combination, then the second of each, and so on."""
    turns = zip_longest(*lost.values())
    return islice((one for one in chain.from_iterable(turns) if one is not None), most)


@dataclass(frozen=True, slots=True)
class Regression:
    """One trial that did not pass where the baseline's did, and what first tells the two runs apart."""

    trial: str
    against: str
    outcome: Outcome
    reason: str
    difference: Difference

    def to_json(self, baseline: str) -> dict[str, JSON]:
        """Return it as ``--output json`` shows it."""
        found = self.difference
        return {
            "trial": self.trial,
            "baselineTrial": self.against,
            "outcome": self.outcome.value,
            "reason": self.reason,
            "how": found.how.value,
            "nodes": list(found.nodes[:MOST_NAMES]),
            "keys": list(found.keys[:MOST_NAMES]),
            "message": found.sentence(baseline),
        }


@dataclass(frozen=True, slots=True)
class Regressions:
    """What the other combinations lost to the baseline: how many trials each, and some of them looked into."""

    baseline: str
    lost: Mapping[str, int]
    rows: tuple[Regression, ...]

    @property
    def total(self) -> int:
        """Return how many trials were lost."""
        return sum(self.lost.values())

    def sentence(self) -> str:
        """Return how many were lost, by whom."""
        combinations = next(iter(self.lost)) if len(self.lost) == 1 else f"{len(self.lost)} combinations"
        trials = "1 trial" if self.total == 1 else f"{self.total:,} trials"
        return f"{trials} of {combinations} did not pass where {self.baseline} passed"

    def sentences(self) -> dict[str, str]:
        """Return what is known of each trial that was looked into, by its id."""
        return {row.trial: row.difference.sentence(self.baseline) for row in self.rows}

    def to_json(self) -> dict[str, JSON]:
        """Return it as ``--output json`` shows it."""
        return {
            "baseline": self.baseline,
            "total": self.total,
            "combinations": dict(self.lost),
            "trials": [row.to_json(self.baseline) for row in self.rows],
        }
