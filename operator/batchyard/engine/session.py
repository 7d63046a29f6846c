"""One session of a batch on this machine: dispatch, hear, write down, tell, until every trial is final.

The only thread that decides. It may be killed between any two lines: whatever was committed is never run again, and a
later session starts where the store says. Not for making the runner or the store; ``compose`` does.
"""

from __future__ import annotations

import heapq
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from batchyard.decide.finish import Ending, ends_batch, verdict
from batchyard.decide.retries import retry_delay
from batchyard.engine.attempts import BatchTestRunner, Ended, Late, Order, RunnerEvent, Started, Stop
from batchyard.engine.ports import BatchRecord, BatchStore, BatchUpdate, ResultWriter, Session
from batchyard.engine.records import details_of, not_run, redacted
from batchyard.engine.summary import Summary
from batchyard.judge.gate import GateResult, check
from batchyard.model.events import Event, EventType
from batchyard.model.outcome import Outcome, Phase, Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from batchyard.clock import Clock
    from batchyard.events import AuditTrail, EventBus
    from batchyard.model.matrix import Plan
    from batchyard.model.spec import BatchTestSpec
    from batchyard.model.trial import JSON, AttemptResult, Trial

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
        self._done = bytearray(len(plan))
        self._attempts: dict[int, int] = {}
        self._cursor = 0
        self._retries: list[tuple[float, int]] = []
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
        return self._leave() if self._was_interrupted else self._conclude()

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
        started = None if resumed else self._clock.now()
        self._write(batch=self._update(Phase.RUNNING, started_at=started))

    def _recall(self) -> None:
        """Take over what the store has of earlier sessions."""
        final: set[tuple[int, int]] = set()
        for result in self._store.results(self._record.id):
            self._done[result.ordinal] = 1
            self._summary.add(result)
            if result.outcome is Outcome.ERRORED:
                final.add((result.ordinal, result.attempt))
        self._attempts = dict(self._store.attempts_made(self._record.id))
        lost = self._store.results(self._record.id, final_only=False, outcomes=[Outcome.ERRORED])
        self._summary.retried = sum((result.ordinal, result.attempt) not in final for result in lost)
        if 0 not in self._done:
            self._cursor = len(self._plan)  # only its conclusion is missing, whatever the time

    # -- while running -----------------------------------------------------------------------------------------

    @property
    def _was_interrupted(self) -> bool:
        return self._stop is not None and self._stop.reason == Reason.INTERRUPTED

    def _settled(self) -> bool:
        if self._in_flight:
            return False
        return self._stop is not None or (self._cursor >= len(self._plan) and not self._retries)

    def _look_around(self) -> None:
        """Notice what time it is and what was asked."""
        now = self._clock.monotonic()
        if self._interrupted.is_set():
            self._end_early(Stop(Outcome.CANCELLED, Reason.INTERRUPTED))
        if self._clock.now() >= self._record.deadline_at:
            self._pass_deadline()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + HEARTBEAT_SECONDS
            self._store.heartbeat(self._session, self._clock.now())
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
        self._attempts[order.ordinal] -= 1

    def _has_room(self) -> bool:
        # Twice the parallelism: each slot has its next order waiting when it ends one.
        return self._stop is None and len(self._in_flight) < 2 * self._spec.parallelism

    def _dispatch(self) -> None:
        while self._has_room():
            ordinal = self._next_ordinal()
            if ordinal is None:
                return
            order = self._order(self._plan.trial(ordinal))
            self._in_flight[ordinal] = order
            self._runner.submit(order)

    def _next_ordinal(self) -> int | None:
        if self._retries and self._retries[0][0] <= self._clock.monotonic():
            return heapq.heappop(self._retries)[1]
        while self._cursor < len(self._plan):
            self._cursor += 1
            if not self._done[self._cursor - 1]:
                return self._cursor - 1
        return None

    def _order(self, trial: Trial) -> Order:
        attempt = self._attempts.get(trial.ordinal, 0) + 1
        self._attempts[trial.ordinal] = attempt
        epoch = self._session.epoch
        return Order(
            trial_id=trial.id,
            ordinal=trial.ordinal,
            combination=trial.combination.name,
            variants=trial.combination.variants,
            case=trial.case.name,
            repeat=trial.repeat,
            attempt=attempt,
            epoch=epoch,
            # The epoch keeps an attempt that died unrecorded apart from the one that takes its number.
            thread_id=f"{self._record.id}/{trial.id}#{attempt}@{epoch}",
            state=self._plan.input_for(trial.case),
            expected=trial.case.expected,
            weight=trial.case.weight,
            deadline_seconds=trial.case.deadline_seconds,
        )

    def _longest_wait(self) -> float:
        now = self._clock.monotonic()
        until_deadline = (self._record.deadline_at - self._clock.now()).total_seconds()
        waits = [_LONGEST_WAIT_SECONDS, max(0.0, until_deadline) if self._stop is None else _LONGEST_WAIT_SECONDS]
        if self._retries and self._has_room():
            waits.append(max(0.0, self._retries[0][0] - now))
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
        delay = self._retry_delay(result) if self._stop is None else None
        final = delay is None and not self._stays_open(result)
        details = details_of(event, result)
        self._tell(_EVENT_OF[result.outcome], result.message or result.outcome, details, order)
        if delay is not None:
            heapq.heappush(self._retries, (self._clock.monotonic() + delay, result.ordinal))
            self._summary.retried += 1
            self._tell(EventType.TRIAL_RETRIED, f"attempt {result.attempt + 1} follows in {delay:g} s", {}, order)
        if final:
            self._done[result.ordinal] = 1
            self._attempts.pop(result.ordinal, None)
            self._summary.add(result)
        self._write(results=[(result, final)])
        if result.reason == Reason.BATCH_DEADLINE_EXCEEDED:
            self._pass_deadline()  # the runner may see it a moment earlier
        if final and ends_batch(result.outcome, fail_fast=self._spec.fail_fast):
            self._end_early(Stop(Outcome.CANCELLED, Reason.FAIL_FAST))

    def _stays_open(self, result: AttemptResult) -> bool:
        """Return whether this is no answer but for the session to settle that resumes the interrupted batch."""
        return self._was_interrupted and (result.outcome is Outcome.CANCELLED or self._retry_delay(result) is not None)

    def _retry_delay(self, result: AttemptResult) -> float | None:
        retry = self._spec.retry
        return retry_delay(
            result.outcome,
            result.attempt,
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
        count = self._done.count(0)
        if not count:
            return
        self._tell(EventType.TRIALS_NOT_RUN, f"{count} trials were not run", {"count": count})
        chunk: list[tuple[AttemptResult, bool]] = []
        now = self._clock.now()
        for ordinal in range(len(self._plan)):
            if self._done[ordinal]:
                continue
            attempt = self._attempts.get(ordinal, 0) + 1
            result = not_run(self._plan.trial(ordinal), attempt, self._session.epoch, self._stop.reason, now)
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
        running = len(self._in_flight)
        text = message or f"{self._summary.finished} of {len(self._plan)} trials finished"
        record = replace(self._record, phase=phase, reason=reason, message=text, completed_at=completed_at)
        status = self._summary.status(record, running=running, gate=gate)
        return BatchUpdate(phase, reason, text, status, started_at, completed_at)
