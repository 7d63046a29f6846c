"""What a batch's spec says, as a store has it, for who shows a batch. Not for who runs it (``sources``).

A store of another version, or a damaged one, may have a spec that says less: what is not there has no value here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.model.trial import Case

if TYPE_CHECKING:
    from batchyard.engine.ports import BatchRecord
    from batchyard.model.trial import JSON


def baseline_of(record: BatchRecord) -> str:
    """Return the combination that the batch's gate holds the others against, empty if it names none."""
    found = _at(record, "gate", "baseline", "combination")
    return found if isinstance(found, str) else ""


def is_sequential(record: BatchRecord) -> bool:
    """Return whether the batch's gate looks more than once."""
    return _at(record, "gate", "baseline", "sequential") is not None


def trial_seconds_of(record: BatchRecord) -> float | None:
    """Return how long a trial may take, None if the batch does not say."""
    found = _at(record, "deadlines", "trialSeconds")
    return float(found) if isinstance(found, (int, float)) else None


def keep_of(record: BatchRecord) -> str:
    """Return whose states the batch keeps, empty if it does not say."""
    found = _at(record, "checkpoints", "keep")
    return found if isinstance(found, str) else ""


def repeats_of(record: BatchRecord) -> int:
    """Return how often each case is repeated."""
    found = _at(record, "repeats")
    return found if isinstance(found, int) else 1


def written_of(record: BatchRecord) -> tuple[str, ...]:
    """Return the files that the batch's run wrote beside its code."""
    found = _inside(record.spec, "setting", "written")
    return tuple(path for path in found if isinstance(path, str)) if isinstance(found, list) else ()


def cases_of(record: BatchRecord) -> tuple[Case, ...]:
    """Return the batch's cases as far as comparisons need them: name, weight and group."""
    found = _at(record, "cases")
    cases = found if isinstance(found, list) else ()
    return tuple(made for spelled in cases if isinstance(spelled, dict) and (made := _case(spelled)))


def _case(spelled: dict[str, JSON]) -> Case | None:
    name, weight, group = (spelled.get(key) for key in ("name", "weight", "group"))
    if not isinstance(name, str):
        return None
    weighs = float(weight) if isinstance(weight, (int, float)) else 1.0
    return Case(name, {}, weight=weighs, group=group if isinstance(group, str) else "")


def _at(record: BatchRecord, *names: str) -> JSON:
    return _inside(record.spec, "spec", *names)


def _inside(found: JSON, *names: str) -> JSON:
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found
