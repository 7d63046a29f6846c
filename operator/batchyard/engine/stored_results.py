"""Results as a store has them, held against the plan of their batch. Not for reading them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.model.errors import RecordDamaged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batchyard.model.matrix import Plan
    from batchyard.model.trial import AttemptResult

_NAMES = ("trial", "combination", "case", "repeat", "weight")


def check_place(result: AttemptResult, plan: Plan, batch_id: str) -> None:
    """Raise ``RecordDamaged`` if a result is not of the trial whose number it has."""
    if fault := _misplacement(result, plan):
        raise RecordDamaged.of(f"the row of trial {result.trial_id} in batch {batch_id}", fault)


def of_plan(results: Iterable[AttemptResult], plan: Plan, batch_id: str) -> Iterator[AttemptResult]:
    """Yield the results, each of which must be of the trial whose number it has. Raises ``RecordDamaged``."""
    for result in results:
        check_place(result, plan, batch_id)
        yield result


def _misplacement(result: AttemptResult, plan: Plan) -> str:
    if not 0 <= result.ordinal < len(plan):
        return f"the batch has no trial number {result.ordinal}"
    trial = plan.trial(result.ordinal)
    known = (trial.id, trial.combination.name, trial.case.name, trial.repeat, trial.case.weight)
    found = (result.trial_id, result.combination, result.case, result.repeat, result.weight)
    for name, right, has in zip(_NAMES, known, found, strict=True):
        if right != has:
            return f"its {name} is {has!r}, and that of trial number {result.ordinal} is {right!r}"
    return ""
