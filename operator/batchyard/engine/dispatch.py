"""The loop that moves a batch's trials: dispatch, hear, write down, tell, until every trial is settled or time is up.

The only thread that decides. It may be killed between any two lines: whatever was committed is never run again. What
follows when all are settled is for its heirs: a session on this machine judges, a worker in a cluster reports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.decide.budgets import Ledger, exceeded, sentence
from batchyard.decide.finish import ends_batch
from batchyard.decide.retries import retry_delay
from batchyard.engine.attempts import BatchTestRunner, Ended, Late, Order, RunnerEvent, Started, Stop, Used
from batchyard.engine.backlog import Backlog
from batchyard.engine.looking import case_by_case, looks_of
from batchyard.engine.records import details_of, redacted
from batchyard.model.events import Event, EventType
from batchyard.model.execution import Keep
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.usage import Allowance, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from batchyard.clock import Clock
    from batchyard.decide.forking import ForkPoint
    from batchyard.engine.ports import BatchUpdate, ResultWriter
    from batchyard.engine.prefixes import SharedPrefixes
    from batchyard.events import AuditTrail, EventBus
    from batchyard.judge.cases import CaseTable
    from batchyard.model.matrix import Plan
    from batchyard.model.spec import BatchTestSpec
    from batchyard.model.trial import JSON, AttemptResult

_LONGEST_WAIT_SECONDS = 0.5

_EVENT_OF = {
    Outcome.PASSED: EventType.TRIAL_PASSED,
    Outcome.FAILED: EventType.TRIAL_FAILED,
    Outcome.TIMED_OUT: EventType.TRIAL_TIMED_OUT,
    Outcome.NEEDS_INPUT: EventType.TRIAL_NEEDS_INPUT,
    Outcome.CANCELLED: EventType.TRIAL_CANCELLED,
    Outcome.ERRORED: EventType.TRIAL_ERRORED,
}


class TrialLoop:
    """Moves the open trials of one batch. Heirs say what was done before, and hear what is done."""

    def __init__(
        self,
        *,
        batch_id: str,
        epoch: int,
        deadline_at: datetime,
        spec: BatchTestSpec,
        plan: Plan,
        writer: ResultWriter,
        runner: BatchTestRunner,
        bus: EventBus,
        trail: AuditTrail,
        clock: Clock,
        redact: Callable[[str], str],
        fork_point: Callable[[int], ForkPoint] | None = None,
        keep: Keep = Keep.NEVER,
        prefixes: SharedPrefixes | None = None,
        cases: CaseTable | None = None,
    ) -> None:
        """Take everything made. ``trail`` must be subscribed to ``bus``.

        ``redact`` masks secrets in the texts that user code wrote. ``fork_point`` says where a trial of a fork begins,
        and ``keep`` whose threads ``runner`` is to keep. With ``prefixes`` trials share beginnings of runs. ``cases``
        is what each case has come to, which heirs keep up to date; needed if the gate ends a batch once it is decided.
        """
        self._batch_id, self._epoch, self._deadline_at = batch_id, epoch, deadline_at
        self._spec, self._plan, self._redact = spec, plan, redact
        self._writer, self._runner = writer, runner
        self._bus, self._trail, self._clock = bus, trail, clock
        self._prefixes = prefixes
        self._cases, self._looks = cases, looks_of(spec, plan)
        line = None if self._looks is None else case_by_case(plan, self._looks.order)
        self._backlog = Backlog(plan, batch_id, epoch, fork_point, keep, prefixes, line)
        self._in_flight: dict[int, Order] = {}
        self._stop: Stop | None = None
        self._asked: Stop | None = None
        self._ledger = Ledger()
        self._allowed = spec.budgets.batch.allowance() if spec.budgets is not None else Allowance()
        self._cut_short = False

    def interrupt(self) -> None:
        """Ask the loop to end soon, leaving the batch to be resumed. Safe in a signal handler and any thread."""
        self.end(Stop(Outcome.CANCELLED, Reason.INTERRUPTED))

    def end(self, stop: Stop) -> None:
        """Ask the loop to end soon, for this reason; the first one asked for counts. Safe as ``interrupt`` is."""
        if self._asked is None:
            self._asked = stop

    def _settle_all(self) -> None:
        """Run until nothing is in flight and nothing more is to be begun."""
        self._take_stock()
        while not self._settled():
            self._look_around()
            self._dispatch()
            event = self._runner.next_event(self._longest_wait())
            if event is not None:
                self._hear(event)

    # -- before ----------------------------------------------------------------------------------------------

    def _take_stock(self) -> None:
        """Learn what earlier sessions finished and say that this one begins."""
        resumed = self._epoch > 1
        self._recall()
        finished, total = len(self._plan) - self._backlog.open_count, len(self._plan)
        details: dict[str, JSON] = {"finished": finished, "total": total, "epoch": self._epoch}
        if self._prefixes is not None:
            details.update(self._prefixes.told())
        if resumed:
            self._tell(EventType.BATCH_RESUMED, f"resumed with {finished} of {total} trials finished", details)
        else:
            self._tell(EventType.BATCH_STARTED, f"{total} trials, {self._spec.parallelism} at a time", details)
        self._begin()
        if self._prefixes is not None:
            self._prefixes.begin()  # what was carried over by now was finished elsewhere too
        self._watch_budget()
        self._look_at_cases()

    def _recall(self) -> None:
        """Take over what is finished already: into the backlog, and why it ended the batch, if it did.

        Also the first place of a batch may find some of its trials finished, if it amends another.
        """
        raise NotImplementedError

    def _begin(self) -> None:
        """Write down that the first trial is about to begin."""
        self._write()

    # -- while running -----------------------------------------------------------------------------------------

    @property
    def _ended_too_late(self) -> bool:
        """Return whether the budget was exceeded when there was nothing left to be cut short."""
        stop = self._stop
        over = stop is not None and stop.reason == Reason.BATCH_BUDGET_EXCEEDED
        return over and not self._cut_short and not self._backlog.open_count

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
        asked = self._asked
        if asked is not None:
            self._end_early(asked)
        if self._clock.now() >= self._deadline_at:
            self._pass_deadline()
        self._keep_up(now)

    def _keep_up(self, now: float) -> None:
        """Do what is due from time to time; ``now`` is a monotonic second."""

    def _pass_deadline(self) -> None:
        if self._end_early(Stop(Outcome.TIMED_OUT, Reason.BATCH_DEADLINE_EXCEEDED)):
            text = f"the batch's deadline of {self._spec.deadlines.batch_seconds:g} s passed"
            self._tell(EventType.DEADLINE_EXCEEDED, text, {"scope": "batch"})

    def _watch_budget(self) -> None:
        """End the batch if it has used more than it may and there is something to end or to leave unrun."""
        used = self._ledger.total
        kind = exceeded(self._allowed, used)
        if kind is None or self._backlog.open_count == 0:
            return
        if self._end_early(Stop(Outcome.CANCELLED, Reason.BATCH_BUDGET_EXCEEDED)):
            text = f"the batch is over its budget: {sentence(kind, self._allowed, used)}"
            self._tell(EventType.BUDGET_EXCEEDED, text, {"scope": "batch", "kind": kind.value})

    def _look_at_cases(self) -> None:
        """End the batch if its comparison is decided and there is something to end or to leave unrun."""
        if self._looks is None or self._cases is None or self._stop is not None:
            return
        look = self._looks.go_on(self._cases)
        if look is None or not look.ends or self._backlog.open_count == 0:
            return
        if self._end_early(Stop(Outcome.CANCELLED, Reason.DECIDED_EARLY)):
            self._tell(EventType.DECIDED_EARLY, str(look), {"look": look.number, "looks": look.of})

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
        until_deadline = (self._deadline_at - self._clock.now()).total_seconds()
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
            case Used(order, used):
                self._ledger.running(order.ordinal, used)
                self._watch_budget()
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
        details = details_of(event, result, order.fork)
        self._tell(_EVENT_OF[result.outcome], result.message or result.outcome, details, order)
        if delay is not None:
            self._backlog.retry(result.ordinal, self._clock.monotonic() + delay)
            self._retried()
            self._tell(EventType.TRIAL_RETRIED, f"attempt {result.attempt + 1} follows in {delay:g} s", {}, order)
        if final:
            if self._prefixes is not None:
                self._prefixes.ended(event)
            self._backlog.finish(result.ordinal)
            self._settle(result)
        self._heard_end(event)
        if self._allowed:
            self._ledger.ended(result.ordinal, Usage.of(result.metrics))
            self._watch_budget()
        self._cut_short |= result.reason == Reason.BATCH_BUDGET_EXCEEDED
        self._write(results=[(result, final)])
        if result.reason == Reason.BATCH_DEADLINE_EXCEEDED:
            self._pass_deadline()  # the runner may see it a moment earlier
        if final and ends_batch(result.outcome, fail_fast=self._spec.fail_fast):
            self._end_early(Stop(Outcome.CANCELLED, Reason.FAIL_FAST))
        if final:
            self._look_at_cases()

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

    def _settle(self, result: AttemptResult) -> None:
        """Hear of a final result, before it is written."""

    def _retried(self) -> None:
        """Hear that an attempt is made again."""

    def _heard_end(self, event: Ended) -> None:
        """Hear how an attempt's end came about, before its result is written."""

    # -- writing and telling -----------------------------------------------------------------------------------

    def _tell(
        self, kind: EventType, message: str, details: Mapping[str, JSON] | None = None, order: Order | None = None
    ) -> None:
        """Publish; the trail hears it too, and ``_write`` commits what it heard."""
        self._bus.publish(
            Event(
                type=kind,
                at=self._clock.now(),
                batch_id=self._batch_id,
                message=message,
                epoch=self._epoch,
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
