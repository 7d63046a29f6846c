"""A fake of the worker in a place: it speaks with the operator as the real one does, and runs nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from batchyard.engine.sources import LoadedBatch
from batchyard.kube.http import Busy, OutOfOrder, Superseded, TooEarly
from batchyard.model.audit import AuditEntry
from batchyard.model.errors import StoreError
from batchyard.model.events import EventType, severity_of
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.trial import AttemptResult
from batchyard.model.wire import PROTOCOL, Directive, Done, Hello, Segment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.model.trial import Trial
    from batchyard.model.wire import Manifest
    from batchyard.testing.fake_clock import FakeClock
    from kube_world import BenchOperator, World

_EVENT_OF = {
    Outcome.PASSED: EventType.TRIAL_PASSED,
    Outcome.FAILED: EventType.TRIAL_FAILED,
    Outcome.TIMED_OUT: EventType.TRIAL_TIMED_OUT,
    Outcome.CANCELLED: EventType.TRIAL_CANCELLED,
}


@dataclass(slots=True)
class FakeWorker:
    """Does what a worker does: one trial at each turn, spooled and sent in order, until it hears that it may end."""

    world: World
    batch_id: str
    attempt: int
    manifest: Manifest | None = None
    spool: list[Segment] = field(default_factory=list)
    sent: int = 0
    directive: Directive = Directive.NONE
    todo: list[Trial] = field(default_factory=list)
    worked: float = 0.0
    over: bool = False
    done: bool = False

    async def turn(self) -> None:
        operator = self.world.operator
        if self.over:
            return
        try:
            if self.manifest is None:
                if operator is None:
                    return
                self._begin(await operator.parts.intake.manifest(self.batch_id, self.attempt, ""))
            elif not self.done:
                self._work()
            if operator is not None:
                await self._send(operator)
        except Superseded:
            self.over = True
        except (Busy, TooEarly, StoreError):
            return

    def _begin(self, manifest: Manifest) -> None:
        plan = LoadedBatch.from_json(manifest.document, Path("/")).plan
        finished = {number for first, last in manifest.finished for number in range(first, last + 1)}
        self.todo = [plan.trial(number) for number in range(len(plan)) if number not in finished]
        self.manifest = manifest
        kind = EventType.BATCH_STARTED if self.attempt == 1 else EventType.BATCH_RESUMED
        self.spool.append(Segment(entries=(self._entry(kind),), hello=Hello(PROTOCOL, "0", "3")))

    def _work(self) -> None:
        assert self.manifest is not None
        clock, hanging = self.world.clock, bool(self.todo) and self.world.hangs(self, self.todo[0])
        if self.directive is Directive.CANCEL:
            self._end(Reason.CANCELLED, Outcome.CANCELLED if hanging else None)
        elif self.directive is Directive.SUSPEND:
            self._end(Reason.SUSPENDED, Outcome.CANCELLED if hanging else None)
        elif clock.now() >= self.manifest.deadline_at:
            self.spool.append(Segment(entries=(self._entry(EventType.DEADLINE_EXCEEDED),)))
            self._end(Reason.BATCH_DEADLINE_EXCEEDED, Outcome.TIMED_OUT if hanging else None)
        elif not self.todo:
            self._end("")
        elif not hanging:
            self._settle(self._next_trials())

    def _next_trials(self) -> list[tuple[Trial, Outcome]]:
        """Return what ends at this turn; a trial may take several."""
        self.worked += self.world.trials_a_turn
        ended: list[tuple[Trial, Outcome]] = []
        while self.worked >= 1 and self.todo and not self.world.hangs(self, self.todo[0]):
            self.worked -= 1
            trial = self.todo.pop(0)
            self.world.executed.append(trial.id)
            ended.append((trial, self.world.outcome(trial, self.attempt)))
        return ended

    def _settle(self, ended: Sequence[tuple[Trial, Outcome]], reason: str = "") -> None:
        assert self.manifest is not None
        results, entries = [], []
        for trial, outcome in ended:
            number = self.manifest.attempts.get(trial.ordinal, 0) + 1
            thread = f"{self.batch_id}/{trial.id}#{number}@{self.attempt}"
            result = replace(a_result(trial, outcome, number, self.attempt, self.world.clock, reason), thread_id=thread)
            results.append((result, reason != Reason.INTERRUPTED))
            entries.append(self._entry(_EVENT_OF[outcome], trial.id, number))
        if ended:
            self.spool.append(Segment(tuple(results), tuple(entries), running=min(1, len(self.todo))))

    def _end(self, stop: str, hanging: Outcome | None = None) -> None:
        """Say the last word, after the end of the trial that hangs."""
        if hanging is not None:
            self._settle([(self.todo[0], hanging)], Reason.INTERRUPTED if stop == Reason.SUSPENDED else stop)
        self.done = True
        self.spool.append(Segment(done=Done(stop)))

    async def _send(self, operator: BenchOperator) -> None:
        intake = operator.parts.intake
        while self.sent < len(self.spool):
            try:
                receipt = await intake.segment(self.batch_id, self.attempt, self.sent + 1, self.spool[self.sent])
            except OutOfOrder as err:
                self.sent = err.next - 1
                continue
            self.sent, self.directive = receipt.next - 1, receipt.directive
        if self.done:
            self.over = True
        else:
            self.directive = await intake.heartbeat(self.batch_id, self.attempt, min(1, len(self.todo)))

    def _entry(self, kind: EventType, trial: str = "", attempt: int = 0) -> AuditEntry:
        return AuditEntry(
            self.world.clock.now(), kind, severity_of(kind), kind.value, self.batch_id, epoch=self.attempt,
            trial_id=trial, attempt=attempt,
        )  # fmt: skip


def a_result(
    trial: Trial, outcome: Outcome, number: int, epoch: int, clock: FakeClock, reason: str = ""
) -> AttemptResult:
    good = outcome is Outcome.PASSED
    return AttemptResult(
        trial_id=trial.id,
        ordinal=trial.ordinal,
        combination=trial.combination.name,
        case=trial.case.name,
        repeat=trial.repeat,
        attempt=number,
        epoch=epoch,
        outcome=outcome,
        reason=reason or ("" if good else Reason.BELOW_THRESHOLD.value),
        message="" if good else "not what was expected",
        started_at=clock.now(),
        ended_at=clock.now() + timedelta(seconds=0.5),
        duration_seconds=0.5,
        score=1.0 if good else 0.0,
        weight=trial.case.weight,
    )
