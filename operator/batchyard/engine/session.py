"""One session of a batch on this machine: dispatch, hear, write down, tell, until every trial is final.

The only thread that decides. It may be killed between any two lines: whatever was committed is never run again, and a
later session starts where the store says. Not for making the runner or the store; ``compose`` does.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from batchyard.decide.finish import Ending, ends_batch, verdict
from batchyard.decide.retries import retry_delay
from batchyard.engine.attempts import BatchTestRunner, Ended, Late, Order, RunnerEvent, Started, Stop
from batchyard.engine.backlog import Backlog
from batchyard.engine.ports import BatchRecord, BatchStore, BatchUpdate, ResultWriter, Session
from batchyard.engine.records import details_of, not_run, redacted
from batchyard.engine.summary import Summary
from batchyard.judge.gate import GateResult, check
from batchyard.model.errors import StaleSession, StoreError
from batchyard.model.events import Event, EventType
from batchyard.model.outcome import Outcome, Phase, Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from batchyard.clock import Clock
    from batchyard.events import AuditTrail, EventBus
    from batchyard.model.matrix import Plan
    from batchyard.model.spec import BatchTestSpec
    from batchyard.model.trial import JSON, AttemptResult

_log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 5.0
_STATUS_SECONDS = 2.0
_LONGEST_WAIT_SECONDS = 0.5
_NOT_RUN_CHUNK = 500

_EVENT_OF = {
    Outcome.PASSED: EventType.TRIAL_PASSED,
    Outcome.FAILED: EventType.TRIAL_FAILED,
    Outcome.TIMED_OUT: EventType.TRIAL_TIMED_OUT,
    Outcome.NEEDS_INPUT: EventType.TRIAL_NEEDS_INPUT,
    Outcome.CANCELLED: EventType.TRIAL_CANCELLED,
    Outcome.ERRORED: EventType.TRIAL_ERRORED,
}
_VERDICT_PHASE = {
    Verdict.SUCCEEDED: Phase.SUCCEEDED,
    Verdict.FAILED: Phase.FAILED,
    Verdict.INCONCLUSIVE: Phase.FAILED,
    Verdict.CANCELLED: Phase.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Finished:
    """How a session ended. ``verdict`` is None if it was interrupted: the batch can be resumed."""

    verdict: Verdict | None
    reason: Reason
    message: str
    gate: GateResult | None = None


class BatchSession:
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
    ) -> None:
        """Take everything made; ``run`` does the rest. ``trail`` must be subscribed to ``bus``.

        ``redact`` masks secrets in the texts that user code wrote.
        """
        self._redact = redact
        self._record, self._session, self._spec, self._plan = record, session, spec, plan
        self._store, self._writer, self._runner = store, writer, runner
        self._bus, self._trail, self._clock = bus, trail, clock
        self._summary = Summary(plan)
        self._backlog = Backlog(plan, record.id, session.epoch)
        self._in_flight: dict[int, Order] = {}
        self._stop: Stop | None = None
        self._interrupted = threading.Event()
        self._next_heartbeat = self._next_status = clock.monotonic()

    def interrupt(self) -> None:
        """Ask the session to end soon, leaving the batch to be resumed. Safe in a signal handler and any thread."""
        self._interrupted.set()

    def run(self) -> Finished:
        """Run to the end. Raises ``StoreError`` if results cannot be kept."""
        self._take_stock()
        while not self._settled():
            self._look_around()
            self._dispatch()
            event = self._runner.next_event(self._longest_wait())
            if event is not None:
                self._hear(event)
        if self._was_interrupted:
            if self._backlog.open_count:
                return self._leave()
            self._stop = self._stop_by_results()  # the interruption came too late to cut anything short
        return self._conclude()

    # -- before ----------------------------------------------------------------------------------------------

    def _take_stock(self) -> None:
        """Learn what earlier sessions finished and say that this one begins."""
        resumed = self._session.epoch > 1
        if resumed:
            self._recall()
        finished, total = self._summary.finished, len(self._plan)
        details: dict[str, JSON] = {"finished": finished, "total": total, "epoch": self._session.epoch}
        if resumed:
            self._tell(EventType.BATCH_RESUMED, f"resumed with {finished} of {total} trials finished", details)
        else:
            self._tell(EventType.BATCH_STARTED, f"{total} trials, {self._spec.parallelism} at a time", details)
        started = None if self._record.started_at is not None else self._clock.now()
        self._write(batch=self._update(Phase.RUNNING, started_at=started))

    def _recall(self) -> None:
        """Take over what the store has of earlier sessions."""
        final: set[tuple[int, int]] = set()
        for result in self._store.results(self._record.id):
            self._backlog.finish(result.ordinal)
            self._summary.add(result)
            if result.outcome is Outcome.ERRORED:
                final.add((result.ordinal, result.attempt))
        self._stop = self._stop_by_results()
        self._backlog.recall_attempts(self._store.attempts_made(self._record.id))
        for result in self._store.results(self._record.id, final_only=False, outcomes=[Outcome.ERRORED]):
            if (result.ordinal, result.attempt) not in final:
                self._backlog.count_error(result.ordinal)
                self._summary.retried += 1

    def _stop_by_results(self) -> Stop | None:
        """Return what ended the batch early, as the results have it."""
        if self._summary.past_deadline:
            return Stop(Outcome.TIMED_OUT, Reason.BATCH_DEADLINE_EXCEEDED)
        if any(ends_batch(outcome, fail_fast=self._spec.fail_fast) for outcome in self._summary.counts):
            return Stop(Outcome.CANCELLED, Reason.FAIL_FAST)
        return None

    # -- while running -----------------------------------------------------------------------------------------

    @property
    def _was_interrupted(self) -> bool:
        return self._stop is not None and self._stop.reason == Reason.INTERRUPTED

    def _settled(self) -> bool:
        if self._in_flight:
            return False
        return self._stop is not None or self._backlog.nothing_waits

    def _look_around(self) -> None:
        """Notice what time it is and what was asked."""
        now = self._clock.monotonic()
        if self._interrupted.is_set():
            self._end_early(Stop(Outcome.CANCELLED, Reason.INTERRUPTED))
        if self._clock.now() >= self._record.deadline_at:
            self._pass_deadline()
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

    def _pass_deadline(self) -> None:
        if self._end_early(Stop(Outcome.TIMED_OUT, Reason.BATCH_DEADLINE_EXCEEDED)):
            text = f"the batch's deadline of {self._spec.deadlines.batch_seconds:g} s passed"
            self._tell(EventType.DEADLINE_EXCEEDED, text, {"scope": "batch"})

    def _end_early(self, stop: Stop) -> bool:
        """Stop dispatching and end what runs; return whether this was news."""
        if self._stop is not None:
            return False
        self._stop = stop
        for order in self._runner.stop(stop):
            self._take_back(order)
        return True

    def _take_back(self, order: Order) -> None:
        """Forget an order that was never begun."""
        del self._in_flight[order.ordinal]
        self._backlog.take_back(order)

    def _has_room(self) -> bool:
        # Twice the parallelism: each slot has its next order waiting when it ends one.
        return self._stop is None and len(self._in_flight) < 2 * self._spec.parallelism

    def _dispatch(self) -> None:
        while self._has_room() and (order := self._backlog.next_order(self._clock.monotonic())) is not None:
            self._in_flight[order.ordinal] = order
            self._runner.submit(order)

    def _longest_wait(self) -> float:
        now = self._clock.monotonic()
        until_deadline = (self._record.deadline_at - self._clock.now()).total_seconds()
        waits = [_LONGEST_WAIT_SECONDS, max(0.0, until_deadline) if self._stop is None else _LONGEST_WAIT_SECONDS]
        retry_at = self._backlog.next_retry_at
        if retry_at is not None and self._has_room():
            waits.append(max(0.0, retry_at - now))
        return min(waits)

    def _hear(self, event: RunnerEvent) -> None:
        match event:
            case Started(order, worker):
                self._tell(EventType.TRIAL_STARTED, worker, {}, order)
            case Late(order, outcome):
                text = f"a result ({outcome}) came after the attempt had been ended; it changes nothing"
                self._tell(EventType.LATE_RESULT, text, {"outcome": outcome}, order)
                self._write()
            case Ended():
                self._hear_end(event)

    def _hear_end(self, event: Ended) -> None:
        result = redacted(event.result, self._redact)
        order = self._in_flight[result.ordinal]
        if result.outcome is Outcome.NOT_RUN:
            # It was taken up just as the batch ended, and not begun.
            self._take_back(order)
            self._pass_deadline()
            return
        del self._in_flight[result.ordinal]
        retry_in = self._retry_delay(result)
        delay = retry_in if self._stop is None else None
        # An interrupted batch leaves to the session that resumes it what is no answer yet.
        unsettled = result.outcome is Outcome.CANCELLED or retry_in is not None
        final = delay is None and not (self._was_interrupted and unsettled)
        details = details_of(event, result)
        self._tell(_EVENT_OF[result.outcome], result.message or result.outcome, details, order)
        if delay is not None:
            self._backlog.retry(result.ordinal, self._clock.monotonic() + delay)
            self._summary.retried += 1
            self._tell(EventType.TRIAL_RETRIED, f"attempt {result.attempt + 1} follows in {delay:g} s", {}, order)
        if final:
            self._backlog.finish(result.ordinal)
            self._summary.add(result)
        self._write(results=[(result, final)])
        if result.reason == Reason.BATCH_DEADLINE_EXCEEDED:
            self._pass_deadline()  # the runner may see it a moment earlier
        if final and ends_batch(result.outcome, fail_fast=self._spec.fail_fast):
            self._end_early(Stop(Outcome.CANCELLED, Reason.FAIL_FAST))

    def _retry_delay(self, result: AttemptResult) -> float | None:
        if result.outcome is not Outcome.ERRORED:
            return None
        retry = self._spec.retry
        return retry_delay(
            result.outcome,
            self._backlog.count_error(result.ordinal),
            max_attempts=retry.max_attempts,
            retry_on=retry.retry_on,
            backoff_seconds=retry.backoff_seconds,
            backoff_max_seconds=retry.backoff_max_seconds,
        )

    # -- after -------------------------------------------------------------------------------------------------

    def _leave(self) -> Finished:
        """End an interrupted session; the batch stays as it is."""
        text = f"interrupted with {self._summary.finished} of {len(self._plan)} trials finished"
        self._tell(EventType.BATCH_INTERRUPTED, text, {"finished": self._summary.finished})
        self._write(batch=self._update(Phase.RUNNING, Reason.INTERRUPTED, text))
        self._writer.flush()
        self._store.close_session(self._session, Reason.INTERRUPTED, self._clock.now())
        return Finished(None, Reason.INTERRUPTED, text)

    def _conclude(self) -> Finished:
        """Judge the whole batch and write its end."""
        self._mark_not_run()
        self._write(batch=self._update(Phase.EVALUATING))
        comparison = self._summary.comparison()
        gate = check(comparison, self._spec.gate)
        stop = self._stop.reason if self._stop is not None else ""
        ended, reason = verdict(
            Ending(
                counts=self._summary.counts,
                gate_passed=gate.passed,
                environment_failed=self._summary.environment_failed,
                deadline_passed=stop == Reason.BATCH_DEADLINE_EXCEEDED,
                failed_fast=stop == Reason.FAIL_FAST,
            )
        )
        if gate.checks:
            kind = EventType.GATE_PASSED if gate.passed else EventType.GATE_FAILED
            self._tell(kind, "; ".join(made.message for made in gate.checks), gate.to_json())
        text = self._summary.sentence()
        self._tell(EventType.BATCH_FINISHED, f"{ended}{f' ({reason})' if reason else ''}: {text}", {"verdict": ended})
        now = self._clock.now()
        update = self._update(_VERDICT_PHASE[ended], reason, text, completed_at=now, gate=gate)
        self._write(batch=update)
        self._writer.flush()
        self._store.close_session(self._session, "Finished", now)
        return Finished(ended, reason, text, gate)

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
            if len(chunk) == _NOT_RUN_CHUNK:
                self._write(results=chunk)
                chunk = []
        self._write(results=chunk)

    # -- writing and telling -----------------------------------------------------------------------------------

    def _tell(
        self, kind: EventType, message: str, details: Mapping[str, JSON] | None = None, order: Order | None = None
    ) -> None:
        """Publish; the trail hears it too, and ``_write`` commits what it heard."""
        self._bus.publish(
            Event(
                type=kind,
                at=self._clock.now(),
                batch_id=self._record.id,
                message=message,
                epoch=self._session.epoch,
                trial_id=order.trial_id if order else "",
                attempt=order.attempt if order else 0,
                details=details or {},
            )
        )

    def _write(self, *, results: Iterable[tuple[AttemptResult, bool]] = (), batch: BatchUpdate | None = None) -> None:
        """Hand results, and every audit entry heard since the last call, to the writer as one step."""
        drained = self._trail.drain()
        rows = tuple(results)
        if rows or batch is not None or drained.entries or drained.dropped:
            self._writer.submit(results=rows, entries=drained.entries, dropped=drained.dropped, batch=batch)

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
        text = message or f"{self._summary.finished} of {len(self._plan)} trials finished"
        record = replace(self._record, phase=phase, reason=reason, message=text, completed_at=completed_at)
        status = self._summary.status(record, running=running, gate=gate)
        return BatchUpdate(phase, reason, text, status, started_at, completed_at)
