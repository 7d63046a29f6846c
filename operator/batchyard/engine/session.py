"""One session of a batch on this machine: its trials, then its verdict.

It may be killed between any two lines: whatever was committed is never run again, and a later session starts where the
store says. Not for making the runner or the store; ``compose`` does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from batchyard.decide.finish import ends_batch
from batchyard.engine.attempts import BatchTestRunner, Stop
from batchyard.engine.carrying import origin_of, words_of
from batchyard.engine.conclusion import NOT_RUN_CHUNK, PHASE_OF, conclude
from batchyard.engine.dispatch import TrialLoop
from batchyard.engine.ports import BatchRecord, BatchStore, BatchUpdate, ResultWriter, Session
from batchyard.engine.records import not_run
from batchyard.engine.stored_results import of_plan
from batchyard.engine.summary import Summary
from batchyard.model.errors import StaleSession, StoreError
from batchyard.model.events import Event, EventType
from batchyard.model.outcome import Outcome, Phase, Reason, Verdict
from batchyard.model.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from batchyard.clock import Clock
    from batchyard.decide.forking import ForkPoint
    from batchyard.engine.carrying import CarryOver
    from batchyard.engine.prefixes import SharedPrefixes
    from batchyard.events import AuditTrail, EventBus
    from batchyard.judge.gate import GateResult
    from batchyard.model.matrix import Plan
    from batchyard.model.spec import BatchTestSpec
    from batchyard.model.trial import JSON, AttemptResult

_log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 5.0
_STATUS_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Finished:
    """How a session ended. ``verdict`` is None if it was interrupted: the batch can be resumed."""

    verdict: Verdict | None
    reason: Reason
    message: str
    gate: GateResult | None = None


class BatchSession(TrialLoop):
    """Moves one batch from where the store has it to its end, or to an interruption."""

    def __init__(
        self,
        *,
        record: BatchRecord,
        session: Session,
        spec: BatchTestSpec,
        plan: Plan,
        store: BatchStore,
        writer: ResultWriter,
        runner: BatchTestRunner,
        bus: EventBus,
        trail: AuditTrail,
        clock: Clock,
        redact: Callable[[str], str],
        fork_point: Callable[[int], ForkPoint] | None = None,
        prefixes: SharedPrefixes | None = None,
        carry_over: CarryOver | None = None,
    ) -> None:
        """Take everything made; ``run`` does the rest. See ``TrialLoop``.

        ``carry_over`` has results of other batches that stand for trials of this one.
        """
        self._summary = Summary(plan, spec.gate)
        super().__init__(
            batch_id=record.id, epoch=session.epoch, deadline_at=record.deadline_at, spec=spec, plan=plan,
            writer=writer, runner=runner, bus=bus, trail=trail, clock=clock, redact=redact,
            fork_point=fork_point, prefixes=prefixes, cases=self._summary.cases,
        )  # fmt: skip
        self._record, self._session, self._store = record, session, store
        self._carry_over = carry_over
        self._next_heartbeat = self._next_status = clock.monotonic()

    def run(self) -> Finished:
        """Run to the end. Raises ``StoreError`` if results cannot be kept."""
        self._settle_all()
        if self._was_interrupted:
            if self._backlog.open_count:
                return self._leave()
            self._stop = self._stop_by_results()  # the interruption came too late to cut anything short
        if self._ended_too_late:
            self._stop = self._stop_by_results()
        return self._conclude()

    # -- before ----------------------------------------------------------------------------------------------

    def _recall(self) -> None:
        """Take over what the store has of earlier sessions."""
        if self._session.epoch == 1:
            return
        final: set[tuple[int, int]] = set()
        for result in of_plan(self._store.results(self._record.id), self._plan, self._record.id):
            self._backlog.finish(result.ordinal)
            self._summary.add(result)
            self._summary.carried += self._was_carried(result)
            if result.outcome is Outcome.ERRORED:
                final.add((result.ordinal, result.attempt))
        self._stop = self._stop_by_results()
        self._backlog.recall_attempts(self._store.attempts_made(self._record.id))
        for result in self._store.results(self._record.id, final_only=False, outcomes=[Outcome.ERRORED]):
            if (result.ordinal, result.attempt) not in final:
                self._backlog.count_error(result.ordinal)
                self._summary.retried += 1
        if self._allowed:
            # Attempts that were tried again cost money too.
            for result in self._store.results(self._record.id, final_only=False):
                if not self._was_carried(result):
                    self._ledger.ended(result.ordinal, Usage.of(result.metrics))

    def _was_carried(self, result: AttemptResult) -> bool:
        return self._carry_over is not None and bool(origin_of(result, self._record.id))

    def _stop_by_results(self) -> Stop | None:
        """Return what ended the batch early, as the results have it."""
        if self._summary.past_deadline:
            return Stop(Outcome.TIMED_OUT, Reason.BATCH_DEADLINE_EXCEEDED)
        if self._summary.over_budget:
            return Stop(Outcome.CANCELLED, Reason.BATCH_BUDGET_EXCEEDED)
        if any(ends_batch(outcome, fail_fast=self._spec.fail_fast) for outcome in self._summary.counts):
            return Stop(Outcome.CANCELLED, Reason.FAIL_FAST)
        return None

    def _begin(self) -> None:
        started = None if self._record.started_at is not None else self._clock.now()
        self._write(batch=self._update(Phase.RUNNING, started_at=started))
        if self._carry_over is not None:
            self._take_over(self._carry_over)

    def _take_over(self, carry_over: CarryOver) -> None:
        """Carry over what stands for trials of this batch; a session that was killed in it left whole steps."""
        self._writer.flush()
        epoch = self._session.epoch
        for step in carry_over.steps(epoch, self._backlog, untold=epoch == 1):
            for result in step.results:
                self._tell_carried(result, step.source)
                self._backlog.finish(result.ordinal)
                self._summary.add(result)
            self._summary.carried += len(step.results)
            drained = self._trail.drain()
            carry_over.write(self._session, step, drained.entries, drained.dropped)
            if self._asked is not None:
                break
        details: dict[str, JSON] = {"carriedOver": self._summary.carried, "total": len(self._plan)}
        for sentence in carry_over.told:
            self._tell(EventType.BATCH_AMENDED, sentence, details)
        self._write(batch=self._update(Phase.RUNNING))
        self._stop = self._stop or self._stop_by_results()

    def _tell_carried(self, result: AttemptResult, source: str) -> None:
        text, details = words_of(result, source)
        self._bus.publish(
            Event(
                type=EventType.TRIAL_CARRIED_OVER,
                at=self._clock.now(),
                batch_id=self._batch_id,
                message=text,
                epoch=self._epoch,
                trial_id=result.trial_id,
                attempt=result.attempt,
                details=details,
            )
        )

    # -- while running -----------------------------------------------------------------------------------------

    def _keep_up(self, now: float) -> None:
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + HEARTBEAT_SECONDS
            try:
                self._store.heartbeat(self._session, self._clock.now())
            except StaleSession:
                raise
            except StoreError as err:
                # The next one may get through; whether results can be kept is the writer's to say.
                _log.warning("no heartbeat could be written", batch=self._record.id, error=str(err))
        if now >= self._next_status:
            self._next_status = now + _STATUS_SECONDS
            self._write(batch=self._update(Phase.RUNNING))

    def _settle(self, result: AttemptResult) -> None:
        self._summary.add(result)

    def _retried(self) -> None:
        self._summary.retried += 1

    # -- after -------------------------------------------------------------------------------------------------

    def _leave(self) -> Finished:
        """End an interrupted session; the batch stays as it is."""
        text = f"interrupted with {self._summary.progress()}"
        self._tell(EventType.BATCH_INTERRUPTED, text, {"finished": self._summary.finished})
        self._write(batch=self._update(Phase.RUNNING, Reason.INTERRUPTED, text))
        self._writer.flush()
        self._store.close_session(self._session, Reason.INTERRUPTED, self._clock.now())
        return Finished(None, Reason.INTERRUPTED, text)

    def _conclude(self) -> Finished:
        """Judge the whole batch and write its end."""
        self._mark_not_run()
        self._write(batch=self._update(Phase.EVALUATING))
        ended = conclude(self._summary, self._spec.gate, self._stop.reason if self._stop is not None else "")
        for kind, message, details in ended.told:
            self._tell(kind, message, details)
        now = self._clock.now()
        phase = PHASE_OF[ended.verdict]
        update = self._update(phase, ended.reason, ended.message, completed_at=now, gate=ended.gate)
        self._write(batch=update)
        self._writer.flush()
        self._store.close_session(self._session, "Finished", now)
        if self._prefixes is not None:
            self._prefixes.close()
        return Finished(ended.verdict, ended.reason, ended.message, ended.gate)

    def _mark_not_run(self) -> None:
        """Record every trial that the batch's early end left without an attempt."""
        if self._stop is None:
            return
        count = self._backlog.open_count
        if count:
            self._tell(EventType.TRIALS_NOT_RUN, f"{count} trials were not run", {"count": count})
        chunk: list[tuple[AttemptResult, bool]] = []
        for trial, attempt in self._backlog.open_trials():
            result = not_run(trial, attempt, self._session.epoch, self._stop.reason, self._clock.now())
            self._summary.add(result)
            chunk.append((result, True))
            if len(chunk) == NOT_RUN_CHUNK:
                self._write(results=chunk)
                chunk = []
        self._write(results=chunk)

    def _update(
        self,
        phase: Phase,
        reason: str = "",
        message: str = "",
        *,
        started_at: datetime | None = None,
        completed_at: datetime | None = None,
        gate: GateResult | None = None,
    ) -> BatchUpdate:
        running = min(len(self._in_flight), self._spec.parallelism)  # the others wait for a slot
        text = message or self._summary.progress()
        record = replace(self._record, phase=phase, reason=reason, message=text, completed_at=completed_at)
        status = self._summary.status(record, running=running, gate=gate)
        return BatchUpdate(phase, reason, text, status, started_at, completed_at)
