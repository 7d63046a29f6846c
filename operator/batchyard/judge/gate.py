"""The gate: whether a finished comparison is good enough to go on. Not for exit codes or verdicts, which follow it.

Each configured threshold is one check; what cannot be known fails its check and says why, it never passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING

from batchyard.judge.exact import as_written, finite
from batchyard.judge.ranking import Measure, leader, measure_of
from batchyard.judge.regression import Shown, against, nothing_shown
from batchyard.judge.sequential import Looks
from batchyard.model.outcome import GateOutcome

if TYPE_CHECKING:
    from batchyard.judge.cases import CaseTable
    from batchyard.judge.comparison import Comparison
    from batchyard.judge.regression import GateDifference
    from batchyard.judge.row import CombinationRow
    from batchyard.model.spec_evaluation import Baseline, Gate
    from batchyard.model.trial import JSON

_NAMES_SHOWN = 8
_NOTHING_PASSED = "no combination passed a trial"
_WORDS = {Measure.SCORE: "score", Measure.SUCCESS_RATE: "success rate"}


@dataclass(frozen=True, slots=True)
class Check:
    """One threshold and how the batch did. ``actual`` and ``threshold`` are None where there is nothing to compare.

    ``difference`` is there for a rule that was decided by case.
    """

    name: str
    outcome: GateOutcome
    actual: float | None
    threshold: float | None
    message: str
    difference: GateDifference | None = None

    @property
    def passed(self) -> bool:
        """Return whether the rule is met."""
        return self.outcome is GateOutcome.PASSED

    def to_json(self) -> dict[str, JSON]:
        """Return the check as the contract writes it."""
        return {
            "name": self.name,
            "passed": self.passed,
            "outcome": self.outcome.value,
            "actual": self.actual,
            "threshold": self.threshold,
            "message": self.message,
            **({"difference": self.difference.to_json()} if self.difference else {}),
        }


@dataclass(frozen=True, slots=True)
class GateResult:
    """All checks, and what they come to: one that failed is a failure, else one that shows nothing leaves it open."""

    checks: tuple[Check, ...]

    @property
    def outcome(self) -> GateOutcome:
        """Return what the gate came to; one without checks passes."""
        came_to = {made.outcome for made in self.checks}
        for worst in (GateOutcome.FAILED, GateOutcome.INCONCLUSIVE):
            if worst in came_to:
                return worst
        return GateOutcome.PASSED

    @property
    def passed(self) -> bool:
        """Return whether every rule is met."""
        return self.outcome is GateOutcome.PASSED

    def to_json(self) -> dict[str, JSON]:
        """Return the contract's ``gate``."""
        return {
            "passed": self.passed,
            "outcome": self.outcome.value,
            "checks": [check.to_json() for check in self.checks],
        }


def check(comparison: Comparison, gate: Gate | None, cases: CaseTable | None = None) -> GateResult:
    """Hold the comparison against the gate.

    ``minSuccessRate`` and ``minScore`` ask it of the leading combination. ``baseline`` asks that the best of the
    others is at most ``maxRegression`` below the baseline, by score, or by success rate in a batch without scores:
    case by case and with its ``confidence``, or without one by the means alone. Raises ``ValueError`` if ``cases`` are
    not there for that.
    """
    checks: list[Check] = []
    if gate is not None:
        first = leader(comparison.rows)
        if gate.min_success_rate is not None:
            checks.append(_minimum("minSuccessRate", first, Measure.SUCCESS_RATE, gate.min_success_rate))
        if gate.min_score is not None:
            checks.append(_minimum("minScore", first, Measure.SCORE, gate.min_score))
        if gate.baseline is not None:
            checks.append(_against_baseline(comparison.rows, gate.baseline, cases))
    return GateResult(tuple(checks))


def _minimum(name: str, row: CombinationRow | None, measure: Measure, threshold: float) -> Check:
    word = _WORDS[measure]
    if row is None:
        return Check(
            name,
            GateOutcome.FAILED,
            None,
            threshold,
            f"{_NOTHING_PASSED}, so there is no {word} to hold against {threshold:g}",
        )
    actual = measure.of(row)
    if actual is None or not finite(actual):
        advice = "; configure spec.evaluation.evaluators or drop gate.minScore" if measure is Measure.SCORE else ""
        return Check(name, GateOutcome.FAILED, None, threshold, f"combination {row.name!r} has no {word}{advice}")
    passed = actual >= threshold
    relation = "reaches" if passed else "is below"
    said = f"{word} {_shown(actual)} of {row.name!r} {relation} {threshold:g}"
    return Check(name, _outcome(passed), actual, threshold, said)


def _outcome(passed: bool) -> GateOutcome:
    return GateOutcome.PASSED if passed else GateOutcome.FAILED


def _against_baseline(rows: tuple[CombinationRow, ...], baseline: Baseline, cases: CaseTable | None) -> Check:
    """Compare the best of the other combinations with the baseline."""
    base = next((row for row in rows if row.name == baseline.combination), None)
    if base is None:
        names = sorted(row.name for row in rows)
        known = ", ".join([*names[:_NAMES_SHOWN], *(["..."] if len(names) > _NAMES_SHOWN else [])])
        return _unknown(f"baseline {baseline.combination!r} is not a combination of this batch ({known})")
    measure = measure_of(rows)
    word = _WORDS[measure]
    wanted = measure.of(base)
    if wanted is None or not finite(wanted):
        return _unknown(f"baseline {base.name!r} has no {word}: none of its trials has one")
    candidate = leader([row for row in rows if row is not base])
    if candidate is None:
        return _unknown("no combination other than the baseline passed a trial")
    shown = None
    if baseline.confidence is not None:
        if cases is None:
            raise ValueError("a gate with a confidence is asked with the table of cases")
        shown = _shown_by_case(rows, baseline, baseline.confidence, candidate.name, measure, cases)
        if (found := shown.difference) is not None:
            # A look has cases of its own, of which another one may be the best.
            candidate = next(row for row in rows if row.name == found.combination)
    actual = measure.of(candidate)
    if actual is None or not finite(actual):
        return _unknown(f"combination {candidate.name!r} has no {word} to hold against the baseline")
    threshold = float(as_written(wanted) - as_written(baseline.max_regression))
    means = f"{word} {_shown(actual)} of {candidate.name!r}"
    of_base = f"the {_shown(wanted)} of baseline {base.name!r}"
    if shown is not None:
        if shown.difference is not None and shown.difference.look != shown.difference.looks:
            means += ", by all trials that ran,"  # the difference is of the look's cases only
        return Check("baseline", shown.outcome, actual, threshold, f"{means} {shown.text(of_base)}", shown.difference)
    passed = actual >= threshold
    relation = "is not more than" if passed else "is more than"
    said = f"{means} {relation} {baseline.max_regression:g} below {of_base}"
    return Check("baseline", _outcome(passed), actual, threshold, said)


def _shown_by_case(
    rows: tuple[CombinationRow, ...],
    baseline: Baseline,
    confidence: float,
    candidate: str,
    measure: Measure,
    cases: CaseTable,
) -> Shown:
    if baseline.sequential is None:
        others = [row.name for row in rows if row.name != baseline.combination and row.passed]
        return against(cases, baseline.combination, others, candidate, measure, baseline.max_regression, confidence)
    looked = Looks(baseline, cases.cases, [row.name for row in rows]).go_on(cases)
    if looked is None:
        return nothing_shown(baseline.max_regression, len(rows) - 1, "the batch ended before the first look")
    return looked.shown


def _unknown(message: str) -> Check:
    return Check("baseline", GateOutcome.FAILED, None, None, message)


def _shown(value: float) -> str:
    # Cut, not rounded: 0.89999 must not be shown as 0.9 where it is below 0.9.
    return str(as_written(value).quantize(Decimal("0.0001"), rounding=ROUND_DOWN).normalize())
