"""A batch's twin: the same trials, or a sample of them, for another place; and the two held against each other.

Not for what counts as equal (``judge.parity``) nor for running either (``compose``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from batchyard.decide.parity import sample
from batchyard.judge.parity import ParityChecker, ParityConfig
from batchyard.model.audit import AuditEntry
from batchyard.model.errors import NotComparable
from batchyard.model.events import EventType, severity_of
from batchyard.model.names import with_suffix
from batchyard.model.spec_environment import Isolation, Provider
from batchyard.model.spec_evaluation import Gate, Parity
from batchyard.model.status import (
    MAX_PARITY_ROWS,
    BatchStatus,
    Condition,
    ConditionType,
    ParityRow,
    ParityStatus,
    Truth,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from batchyard.engine.ports import BatchRecord
    from batchyard.engine.sources import LoadedBatch
    from batchyard.judge.parity_report import Discrepancy, ParityReport
    from batchyard.model.matrix import Plan
    from batchyard.model.trial import JSON, AttemptResult

MOST_ENTRIES = 20
"""How many discrepancies get an entry of their own in the audit trail."""

_MOST_CHARACTERS = 300
_TWIN_NAME = "parity"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A place to run trials in, as a user names it."""

    provider: Provider
    isolation: Isolation = Isolation.PROCESS

    def __str__(self) -> str:
        return f"{self.provider}/{self.isolation}" if self.provider is Provider.IN_PROCESS else self.provider.value


class Finals(Protocol):
    """Gives the final results of one batch."""

    def __call__(self, ordinals: Sequence[int] | None) -> Iterator[AttemptResult]:
        """Yield those of these trials, in this order; all of them, by ordinal, if none are named."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """A batch that ran somewhere, and how its results are had."""

    record: BatchRecord
    loaded: LoadedBatch
    finals: Finals


def place_of(loaded: LoadedBatch) -> Elsewhere:
    """Return where a batch runs by its spec."""
    environment = loaded.batch.spec.environment
    return Elsewhere(environment.provider, environment.isolation)


def config_of(parity: Parity) -> ParityConfig:
    """Return what a spec says counts as equal."""
    return ParityConfig(
        metric_tolerance=parity.metric_tolerance,
        absolute_tolerance=parity.absolute_tolerance,
        ignored_metrics=frozenset(parity.ignored_metrics),
        ignore_timing_metrics=parity.ignore_timing_metrics,
        max_discrepancies=parity.max_discrepancies,
    )


def twin(
    loaded: LoadedBatch,
    there: Elsewhere,
    *,
    of: str = "",
    only: tuple[int, ...] | None = None,
    suffix: str = _TWIN_NAME,
) -> LoadedBatch:
    """Return the batch for another place, under a name with a suffix; ``only`` are numbers of its plan.

    It has no gate, check or early end of its own: it is there to be compared.
    """
    spec = loaded.batch.spec
    environment = spec.environment.model_copy(update={"provider": there.provider, "isolation": there.isolation})
    if there.provider is not Provider.KUBE_RAY:
        environment = environment.model_copy(update={"kube_ray": None})
    unchecked = spec.parity.model_copy(update={"enabled": False})
    bare = {"environment": environment, "gate": Gate(), "parity": unchecked, "fail_fast": False}
    metadata = loaded.batch.metadata.model_copy(update={"name": with_suffix(loaded.batch.metadata.name, suffix)})
    batch = loaded.batch.model_copy(update={"metadata": metadata, "spec": spec.model_copy(update=bare)})
    plan = loaded.plan if only is None else replace(loaded.plan, only=only)
    # It runs all of it again, and with what else is for its own place to say.
    return replace(loaded, batch=batch, plan=plan, twin_of=of, setting=None, carries_from=())


def sampled_twin(record: BatchRecord, loaded: LoadedBatch, there: Elsewhere) -> LoadedBatch:
    """Return the batch that runs the sample of a finished one that its ``spec.parity`` asks for."""
    only = sample(len(loaded.plan), loaded.batch.spec.parity.sample_size, record.spec_digest)
    return twin(loaded, there, of=record.id, only=only)


def compare(left: Run, right: Run, config: ParityConfig) -> ParityReport:
    """Hold the final results of two batches against each other.

    Of a batch and its twin only what the twin was to run is compared. Raises ``NotComparable`` if one is not over.
    """
    for run in (left, right):
        if not run.record.phase.final:
            name = run.record.id
            raise NotComparable(
                f"batch {name} is not finished; wait for its end, or go on with: batchyard resume {name}"
            )
    rank = _Rank(left.loaded.plan, right.loaded.plan)
    return ParityChecker(config).check(_results(left, right, rank), _results(right, left, rank), order=rank.of)


class _Rank:
    """One order of the trials of two plans: the left one's, then what only the right one has."""

    def __init__(self, left: Plan, right: Plan) -> None:
        names = dict.fromkeys(one.name for plan in (left, right) for one in plan.combinations)
        self._combinations = {name: place for place, name in enumerate(names)}
        cases = dict.fromkeys(case.name for plan in (left, right) for case in plan.cases)
        self._cases = {name: place for place, name in enumerate(cases)}

    def of(self, result: AttemptResult) -> tuple[int, int, int]:
        """Return the place of a result. Raises ``KeyError`` for one of neither plan."""
        return self._combinations[result.combination], self._cases[result.case], result.repeat

    def numbers(self, plan: Plan) -> list[int]:
        """Return the plan's own numbers in this order."""

        def place(ordinal: int) -> tuple[int, int, int]:
            trial = plan.trial(ordinal)
            return self._combinations[trial.combination.name], self._cases[trial.case.name], trial.repeat

        return sorted(range(len(plan)), key=place)


def _results(run: Run, other: Run, rank: _Rank) -> Iterator[AttemptResult]:
    sampled = other.loaded.plan.only
    if other.loaded.twin_of == run.record.id and run.loaded.plan.only is None and sampled is not None:
        return run.finals(sampled)
    numbers = rank.numbers(run.loaded.plan)
    in_order = all(number == place for place, number in enumerate(numbers))
    return run.finals(None if in_order else numbers)


# -- what is written down of it --------------------------------------------------------------------------------------


def compared_status(
    status: BatchStatus, there: Elsewhere, batch_id: str, report: ParityReport, names: tuple[str, str], now: datetime
) -> BatchStatus:
    """Return a finished batch's status with what the comparison with batch ``batch_id`` came to."""
    truth = Truth.UNKNOWN if not report.compared else Truth.TRUE if report.equivalent else Truth.FALSE
    condition = parity_condition(truth, f"against {there}: {report.sentence()}", now)
    told = parity_status(there, batch_id, report, names)
    return status.model_copy(update={"parity": told, "conditions": (condition,)})


def uncompared_status(status: BatchStatus, reason: str, why: str, now: datetime) -> BatchStatus:
    """Return a finished batch's status with why it could not be compared."""
    return status.model_copy(update={"conditions": (parity_condition(Truth.UNKNOWN, why, now, reason),)})


def parity_status(there: Elsewhere, batch_id: str, report: ParityReport, names: tuple[str, str]) -> ParityStatus:
    """Return what the status says of a comparison; ``names`` are those of the two runs."""
    return ParityStatus(
        against=there.provider,
        isolation=there.isolation,
        batch=batch_id,
        compared=report.compared,
        matching=report.matching,
        total=report.total,
        discrepancies=tuple(
            ParityRow(type=found.kind.value, trial=found.trial, message=found.sentence(*names)[:_MOST_CHARACTERS])
            for found in _told(report)[:MAX_PARITY_ROWS]
        ),
    )


def _told(report: ParityReport) -> list[Discrepancy]:
    # Status and trail hold no outputs of workflows: who may read them there may not read the store.
    return [found.without_contents() for found in report.discrepancies]


def parity_condition(truth: Truth, message: str, now: datetime, reason: str = "") -> Condition:
    """Return the condition ``ParityVerified``."""
    usual = {Truth.TRUE: "AllEqual", Truth.FALSE: EventType.PARITY_MISMATCH.value, Truth.UNKNOWN: "NotCompared"}
    return Condition(
        type=ConditionType.PARITY_VERIFIED,
        status=truth,
        last_transition_time=now,
        reason=reason or usual[truth],
        message=message[:1024],
    )


def parity_entries(
    batch_id: str, epoch: int, report: ParityReport, names: tuple[str, str], now: datetime
) -> list[AuditEntry]:
    """Return the entries that tell of a comparison: one for each of the first differences, then one for all."""
    entries = [
        _entry(EventType.PARITY_MISMATCH, batch_id, epoch, now, found.sentence(*names), found.to_json(), found.trial)
        for found in _told(report)[: MOST_ENTRIES - 1]
    ]
    kind = EventType.PARITY_VERIFIED if report.equivalent else EventType.PARITY_MISMATCH
    counts: dict[str, JSON] = {"compared": report.compared, "matching": report.matching, "total": report.total}
    return [*entries, _entry(kind, batch_id, epoch, now, f"{' and '.join(names)}: {report.sentence()}", counts)]


def _entry(
    kind: EventType, batch_id: str, epoch: int, now: datetime, message: str, details: dict[str, JSON], trial: str = ""
) -> AuditEntry:
    return AuditEntry(
        at=now, type=kind, severity=severity_of(kind), message=message, batch_id=batch_id, epoch=epoch, trial_id=trial,
        details=details,
    )  # fmt: skip
