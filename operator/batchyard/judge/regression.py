"""Whether a combination is worse than the baseline, case by case: it is, it is not, or the cases do not show it.

"No difference was found" is no answer here: few cases find none. So there are two claims, each of which must be shown
with the gate's confidence: that the difference is above the margin (not worse: passed), and that it is below (worse:
failed). See ``paired`` for the interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from batchyard.judge.paired import difference, holm
from batchyard.model.outcome import GateOutcome

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from batchyard.judge.cases import CaseTable, Pairs
    from batchyard.judge.paired import Difference
    from batchyard.judge.ranking import Measure
    from batchyard.model.trial import JSON

MOST_UNPAIRED = 0.05
"""With a larger share of cases lost by one of the two, what is left need not be like the whole."""


@dataclass(frozen=True, slots=True)
class GateDifference:
    """The paired difference to the baseline, as the status has it; bounds are one-sided, each of ``confidence``.

    The lower one allows for the choice: ``combination`` is the best of several. ``look`` of ``looks`` made it, in a
    gate that looks several times.
    """

    combination: str
    against: str
    estimate: float
    low: float
    high: float
    confidence: float
    p_value: float
    cases: int
    groups: int
    unpaired: int
    cases_needed: int | None
    look: int | None = None
    looks: int | None = None

    def to_json(self) -> dict[str, JSON]:
        """Return it as the contract writes it."""
        told: dict[str, JSON] = {
            "combination": self.combination,
            "against": self.against,
            "estimate": self.estimate,
            "low": self.low,
            "high": self.high,
            "confidence": self.confidence,
            "pValue": self.p_value,
            "cases": self.cases,
            "groups": self.groups,
            "unpaired": self.unpaired,
            "casesNeeded": self.cases_needed,
        }
        return told if self.look is None else {**told, "look": self.look, "looks": self.looks}


@dataclass(frozen=True, slots=True)
class Shown:
    """What the cases show of one candidate. ``difference`` is None if no case was judged for both."""

    outcome: GateOutcome
    margin: float
    compared: int
    difference: GateDifference | None
    why: str = ""

    def text(self, baseline: str) -> str:
        """Return it in words, to follow what the candidate reached; ``baseline`` is what the baseline reached."""
        found = self.difference
        if found is None:
            return f"cannot be held against {baseline}: {self.why}"
        sure = f"{found.confidence * 100:g}% sure"
        span = f"{found.low:+.4f} to {found.high:+.4f} over {_counted(found)}"
        many = f", the best of {self.compared}" if self.compared > 1 else ""
        if found.look is not None:
            many += f"; look {found.look} of {found.looks}"
        match self.outcome:
            case GateOutcome.PASSED:
                said = f"is not more than {self.margin:g} below {baseline}, {sure}"
            case GateOutcome.FAILED:
                said = f"is more than {self.margin:g} below {baseline}, {sure}"
            case _:
                said = f"may or may not be more than {self.margin:g} below {baseline}{self.why}"
        return f"{said} (difference {found.estimate:+.4f}, {span}{many})"


def against(
    table: CaseTable,
    base: str,
    others: Sequence[str],
    candidate: str,
    measure: Measure,
    max_regression: float,
    confidence: float,
) -> Shown:
    """Hold ``candidate``, the best of ``others``, against the combination ``base``.

    That it is not worse must be shown as if each of the others had had the chance to show it (Holm), and so the lower
    bound holds for whichever was chosen (Bonferroni). That it is worse needs no such care, since the best was chosen
    for being the least so.
    """
    error, margin = 1.0 - confidence, -max_regression
    paired, found = differences(table, base, others, measure)
    claims = [found[name].p_above(margin) if name in found else 1.0 for name in others]
    adjusted = dict(zip(others, holm(claims), strict=True))
    mine = found.get(candidate)
    if mine is None:
        return nothing_shown(max_regression, len(others))
    unpaired = paired[candidate].unpaired
    outcome, why = judged(mine, unpaired, margin, passes=adjusted[candidate] <= error, to_fail=error)
    needed = None
    if outcome is GateOutcome.INCONCLUSIVE and not why:
        needed = mine.cases_needed(margin, 1 - error / len(others))
    made = GateDifference(
        combination=candidate,
        against=base,
        confidence=confidence,
        p_value=adjusted[candidate],
        unpaired=unpaired,
        cases_needed=needed,
        **measured(mine, 1.0 - error / len(others), confidence),
    )
    return Shown(outcome, max_regression, len(others), made, why + cases_that_would_do(needed))


class Measured(TypedDict):
    """What of a ``GateDifference`` the cases alone say."""

    estimate: float
    low: float
    high: float
    cases: int
    groups: int


def measured(mine: Difference, above: float, below: float) -> Measured:
    """Return what the cases say, with one-sided bounds: ``above`` is how sure the lower one is."""
    return Measured(
        estimate=mine.estimate, low=mine.low(above), high=mine.high(below), cases=mine.cases, groups=mine.groups
    )


def differences(
    table: CaseTable, base: str, others: Sequence[str], measure: Measure, among: Container[str] | None = None
) -> tuple[dict[str, Pairs], dict[str, Difference]]:
    """Return the pairs of each of ``others`` with ``base``, and their difference where there are any."""
    paired = {name: table.pairs(base, name, measure, among) for name in others}
    return paired, {name: difference(one.pairs) for name, one in paired.items() if one.pairs}


def judged(mine: Difference, unpaired: int, margin: float, *, passes: bool, to_fail: float) -> tuple[GateOutcome, str]:
    """Return what is shown, ``passes`` being whether the first claim is, and why it is nothing if cases were lost.

    ``to_fail`` is the p-value that the other claim must not exceed.
    """
    every = unpaired + mine.cases
    if unpaired / every > MOST_UNPAIRED:
        why = f": one of the two lost its trials of {unpaired} of {every} cases with their place"
        return GateOutcome.INCONCLUSIVE, why
    if passes:
        return GateOutcome.PASSED, ""
    return GateOutcome.FAILED if mine.p_below(margin) <= to_fail else GateOutcome.INCONCLUSIVE, ""


def nothing_shown(max_regression: float, compared: int, why: str = "no case was judged for both") -> Shown:
    """Return what cases show that are not there."""
    return Shown(GateOutcome.INCONCLUSIVE, max_regression, compared, None, why)


def cases_that_would_do(needed: int | None) -> str:
    """Return in words how many cases would decide it, nothing if none would."""
    return f"; about {needed:,} cases like these would show it" if needed else ""


def _counted(found: GateDifference) -> str:
    if found.groups < found.cases:
        return f"{found.cases} cases in {found.groups} groups"
    return f"{found.cases} case{'' if found.cases == 1 else 's'}"
