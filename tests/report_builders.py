"""Batches of any size for tests of reports, made up as they are read: nothing is kept of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar

from batchyard.engine.cluster_ports import ClusterRef
from batchyard.model.audit import GENESIS, AuditEntry, SealedEntry
from batchyard.model.events import EventType, Severity
from batchyard.model.outcome import GateOutcome, Outcome, Phase
from batchyard.model.status import (
    BatchStatus,
    Best,
    CombinationRow,
    FailureRow,
    GateCheck,
    GateStatus,
    TrialCounts,
)
from batchyard.model.trial import AttemptResult, NodeBoundary
from batchyard.reports.source import Source
from batchyard.testing.store_builders import T0, a_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from batchyard.engine.ports import BatchRecord, Owner
    from batchyard.model.errors import RecordDamaged

T = TypeVar("T")

HOSTILE = "</script><img src=x onerror=document.title='owned'>\u202e\x00\x1b[31m]]>|`*_=1+1\n& \"'<b>"
"""What would be markup, code or a command in whatever it is written to."""


@dataclass(frozen=True, slots=True)
class Made:
    """A batch of combinations x cases x repeats on so many slots; ``text`` stands in every name and message.

    With ``noise`` names and messages also have what no packer makes shorter. The first ``carried`` trials ran in
    another batch, the day before.
    """

    combinations: int = 2
    cases: int = 5
    repeats: int = 1
    slots: int = 2
    text: str = ""
    noise: bool = False
    carried: int = 0
    entries_each: int = 1

    def result(self, ordinal: int) -> AttemptResult:
        """Return the trial with this number; what it came to hangs on nothing else."""
        rest, repeat = divmod(ordinal, self.repeats)
        combination, case = divmod(rest, self.cases)
        name = self.combination(combination)
        mixed = self._mixed(ordinal)
        outcome = (Outcome.FAILED, Outcome.TIMED_OUT, *[Outcome.PASSED] * 6)[mixed % 8]
        seconds = 0.05 + (mixed % 9973) / 1000
        started = T0 + timedelta(seconds=ordinal // self.slots * 5 + mixed % 100 / 100)
        if ordinal < self.carried:
            started -= timedelta(days=1)
        passed = outcome is Outcome.PASSED
        return AttemptResult(
            trial_id=self.trial_id(ordinal),
            ordinal=ordinal,
            combination=name,
            case=self.case(case),
            repeat=repeat,
            attempt=1,
            epoch=1,
            outcome=outcome,
            reason="" if passed else "BelowThreshold" if outcome is Outcome.FAILED else "TrialDeadlineExceeded",
            message="" if passed else f"field answer: {mixed} is not what was expected{self.text}{self._noise(mixed)}",
            started_at=started,
            ended_at=started + timedelta(seconds=seconds),
            duration_seconds=seconds,
            score=(mixed % 101) / 100 if outcome is not Outcome.TIMED_OUT else None,
            metrics={"tokens": mixed % 4000, "cost": mixed % 3_999_971 / 1e5},
            boundaries=(
                NodeBoundary(f"retrieve{self.text}", "completed", seconds / 3, None, f"c{ordinal}-1", 0),
                NodeBoundary("read", "completed" if passed else "failed", seconds / 2, f"c{ordinal}-1", None, 1),
            ),
            output={"secret": "the final state"},
            thread_id=f"{'b0' if ordinal < self.carried else 'b1'}/{ordinal}/1",
            worker=f"slot-{ordinal % self.slots}",
        )

    def combination(self, number: int) -> str:
        """Return the name of a combination."""
        return f"combination-{number}{self.text}"

    def case(self, number: int) -> str:
        """Return the name of a case."""
        return f"case-{number}{self.text}{self._noise(number)}"

    def _mixed(self, ordinal: int) -> int:
        if self.noise:
            return int.from_bytes(sha256(b"%d" % ordinal).digest()[:4], "big")
        return (ordinal * 2654435761) % 4294967296

    def _noise(self, seed: int) -> str:
        return f" {sha256(str(seed).encode()).hexdigest()}" if self.noise else ""

    def trial_id(self, ordinal: int) -> str:
        """Return the id of a trial."""
        rest, repeat = divmod(ordinal, self.repeats)
        combination, case = divmod(rest, self.cases)
        return f"{self.combination(combination)}/{self.case(case)}/{repeat}"

    @property
    def total(self) -> int:
        return self.combinations * self.cases * self.repeats

    def results(self) -> Iterator[AttemptResult]:
        """Yield every trial."""
        return map(self.result, range(self.total))

    def entries(self) -> Iterator[SealedEntry]:
        """Yield two entries of the batch, and ``entries_each`` a trial."""
        yield self._entry(1, EventType.BATCH_ACCEPTED, "accepted")
        many = self.total * self.entries_each
        for number in range(many):
            trial = self.trial_id(number // self.entries_each)
            yield self._entry(number + 2, EventType.TRIAL_FAILED, f"{trial} has ended", trial)
        yield self._entry(many + 2, EventType.BATCH_FINISHED, "the end")

    def _entry(self, seq: int, kind: EventType, said: str, trial: str = "") -> SealedEntry:
        entry = AuditEntry(T0, kind, Severity.INFO, f"{said}{self.text}", "b1", 1, trial, 1 if trial else 0)
        return SealedEntry(seq, entry, GENESIS, GENESIS)

    def source(self) -> Source:
        """Return the batch as reports read it, finished, with a gate of two rules of which one is not met."""
        counts: dict[str, Counter[Outcome]] = {}
        for result in self.results():
            counts.setdefault(result.combination, Counter())[result.outcome] += 1
        rows = tuple(
            CombinationRow(
                name=name,
                variants={f"part{self.text}": name},
                passed=count[Outcome.PASSED],
                failed=count[Outcome.FAILED],
                timed_out=count[Outcome.TIMED_OUT],
                success_rate=count[Outcome.PASSED] / count.total(),
                score=0.5,
                mean_seconds=5.0,
                metrics={"tokens": 2000.0, "cost": 0.02},
            )
            for name, count in counts.items()
        )
        whole = sum(counts.values(), Counter())
        status = BatchStatus(
            phase=Phase.FAILED,
            reason="GateFailed",
            trials=TrialCounts(
                total=self.total,
                passed=whole[Outcome.PASSED],
                failed=whole[Outcome.FAILED],
                timed_out=whole[Outcome.TIMED_OUT],
            ),
            combinations=rows,
            failures=tuple(self._failures()),
            best=Best(combination=rows[0].name, score=0.5, margin=0.01),
            gate=GateStatus(
                passed=False,
                outcome=GateOutcome.FAILED,
                checks=(
                    GateCheck(
                        name="minSuccessRate",
                        passed=False,
                        outcome=GateOutcome.FAILED,
                        message=f"0.7 does not reach 0.9{self.text}",
                    ),
                    GateCheck(
                        name="baseline", passed=True, outcome=GateOutcome.PASSED, message="no worse than the baseline"
                    ),
                ),
            ),
        )
        record = replace(
            a_batch(name="docs-search"),
            spec={
                "spec": {
                    "deadlines": {"trialSeconds": 8},
                    "repeats": self.repeats,
                    "cases": [{"name": self.case(number), "input": {}} for number in range(self.cases)],
                }
            },
            total=self.total,
            phase=Phase.FAILED,
            reason="GateFailed",
            message=f"the gate is not met{self.text}",
            started_at=T0,
            completed_at=T0 + timedelta(seconds=self.total // self.slots * 5 + 12),
            status=status.to_json(),
        )
        return Source(record, status, self.results, self.entries)

    def _failures(self) -> Iterator[FailureRow]:
        failed = (one for one in self.results() if one.outcome is not Outcome.PASSED)
        for result, _ in zip(failed, range(20), strict=False):
            yield FailureRow(
                trial=result.trial_id, attempt=1, outcome=result.outcome, reason=result.reason, message=result.message
            )


@dataclass(frozen=True, slots=True)
class MadeReader:
    """A store with one batch, as the operator's read API asks it; ``before`` is called ahead of every row.

    Its gate holds the others against ``baseline``, if one is named.
    """

    made: Made
    before: Callable[[], None] = lambda: None
    baseline: str = ""

    def batch(self, _reference: str, _namespace: str) -> tuple[BatchRecord, ClusterRef | None]:
        record = self.made.source().record
        if self.baseline:
            gate = {"baseline": {"combination": self.baseline}}
            record = replace(record, spec={"spec": {**record.spec["spec"], "gate": gate}})
        return record, ClusterRef("team-a", "docs-search", "uid")

    def batches(
        self, _namespace: str, _limit: int, _damaged: list[RecordDamaged]
    ) -> Sequence[tuple[BatchRecord, ClusterRef | None]]:
        return []

    def results(
        self, _batch_id: str, _after: tuple[int, int], *, final_only: bool, outcomes: Sequence[Outcome] | None
    ) -> Iterator[AttemptResult]:
        assert final_only
        assert outcomes is None
        return self._one_by_one(self.made.results())

    def attempts(self, _batch_id: str, ordinal: int) -> Sequence[AttemptResult]:
        return [self.made.result(ordinal)]

    def entries(self, _batch_id: str, _after: int) -> Iterator[SealedEntry]:
        return self._one_by_one(self.made.entries())

    def finished(self, _batch_id: str) -> Iterator[int]:
        return iter(range(self.made.total))

    def owner(self, _batch_id: str) -> tuple[Owner, datetime] | None:
        return None

    def _one_by_one(self, rows: Iterator[T]) -> Iterator[T]:
        for row in rows:
            self.before()
            yield row
