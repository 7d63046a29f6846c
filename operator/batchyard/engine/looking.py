"""What a batch that ends once it is decided needs of its plan: its looks, and its trials in the order of the cases.

Not for what a look says (``judge.sequential``).
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from batchyard.judge.cases import CaseTable
from batchyard.judge.sequential import Looks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.model.matrix import Plan
    from batchyard.model.spec import BatchTestSpec


def ends_once_decided(spec: BatchTestSpec) -> bool:
    """Return whether a batch ends once its comparison is decided, rather than run all its trials."""
    return spec.gate.baseline is not None and spec.gate.baseline.sequential is not None


def looks_of(spec: BatchTestSpec, plan: Plan) -> Looks | None:
    """Return the looks at a batch, None if it runs all its trials whatever they say."""
    baseline = spec.gate.baseline
    if baseline is None or not ends_once_decided(spec):
        return None
    return Looks(baseline, plan.cases, [combination.name for combination in plan.combinations])


def case_table(plan: Plan) -> CaseTable:
    """Return an empty table for all that the cases of a batch come to."""
    return CaseTable(plan.cases, len(plan.combinations) * plan.repeats)


def case_by_case(plan: Plan, order: Sequence[int]) -> Sequence[int]:
    """Return the numbers of all trials, those of a case together, by the indices of the cases in ``order``.

    Not for a plan that is a sample of another one. Four bytes a trial.
    """
    cases, repeats = len(plan.cases), plan.repeats
    line = array("I")
    for case in order:
        for repeat in range(repeats):
            line.extend(
                (combination * cases + case) * repeats + repeat for combination in range(len(plan.combinations))
            )
    return line
