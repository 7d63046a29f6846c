"""The thread that leads one worker: hands it attempts, watches their deadlines, replaces it when it is lost.

Every way an attempt can end comes together in ``_watch``. Why it ends is decided by ``watch`` and
``decide.deadlines``; this acts on it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from batchyard import logs
from batchyard.decide.deadlines import Stage, stage_after
from batchyard.decide.retention import keep_workspace
from batchyard.engine.attempts import Ended, Late, Order, RunnerEvent, Started, Stop, Used
from batchyard.model.errors import EnvironmentUnavailable
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.trial import AttemptResult, Combination
from batchyard.model.usage import Allowance, Usage
from batchyard.runners.finish import Cause, Finish, exit_text
from batchyard.runners.remains import Remains
from batchyard.runners.watch import Watch, usage_metrics
from batchyard.runners.workers import Gone, LedWorker, Message, Wanted

if TYPE_CHECKING:
    import queue
    from datetime import datetime

    from batchyard.clock import Clock
    from batchyard.engine.ports import EnvironmentProvider, RuntimeEnvironment
    from batchyard.model.trial import NodeBoundary
    from batchyard.runners.worker import Setup

_log = structlog.get_logger(__name__)

_CONFIRM_SECONDS = 15.0
_QUICK_SECONDS = 0.05


Spawn = Callable[[Wanted], LedWorker]
"""Makes a worker. Raises ``EnvironmentUnavailable``."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds; ``batch_until`` is an instant of the monotonic clock.

    ``allowed`` is how much one attempt may use; with ``tells_usage`` what it uses is told while it runs.
    """

    trial: float
    grace: float
    environment: float
    batch_until: float
    node: float | None = None
    idle: float | None = None
    allowed: Allowance = field(default_factory=Allowance)
    tells_usage: bool = False


@dataclass(slots=True)
class _Seat:
    """The worker a leader holds at the moment, and what it is ready for."""

    worker: LedWorker
    runtime: RuntimeEnvironment
    name: str
    prepared: set[str] = field(default_factory=set)


class _Over(Exception):
    """The batch ended while a worker was being made ready."""


class Leader(threading.Thread):
    """Leads the worker of one slot until its inbox gives None."""

    def __init__(
        self,
        slot: int,
        *,
        inbox: queue.SimpleQueue[Order | None],
        outbox: Callable[[RunnerEvent], None],
        provider: EnvironmentProvider,
        spawn: Spawn,
        setup: Setup,
        limits: Limits,
        batch_id: str,
        clock: Clock,
        read_boundaries: Callable[[Path, str], tuple[NodeBoundary, ...]],
        take_thread: Callable[..., bytes] | None = None,
        pauses: set[int] | None = None,
    ) -> None:
        """Keep what is needed; ``start()`` begins. ``setup.checkpoints`` is the folder for this slot's file.

        ``pauses`` has the ordinals of the trials that are to pause; whoever adds one calls ``look_around``.
        """
        super().__init__(name=f"batchyard-leader-{slot}", daemon=True)
        self._slot = slot
        self._inbox = inbox
        self._emit = outbox
        self._provider = provider
        self._spawn = spawn
        self._setup = setup
        self._limits = limits
        self._batch_id = batch_id
        self._clock = clock
        self._remains = Remains(read_boundaries, take_thread, clock)
        self._pauses = set() if pauses is None else pauses
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ending: Stop | None = None
        self._seat: _Seat | None = None
        self._generation = 0
        self._untold: Started | None = None

    def stop_running(self, stop: Stop) -> None:
        """End what runs, softly first. Called from another thread."""
        self._ending = stop
        self.look_around()

    def look_around(self) -> None:
        """Have the leader see what is asked of it. Called from another thread."""
        os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """Lead until told to end."""
        try:
            while (order := self._inbox.get()) is not None:
                with logs.about(trial=order.trial_id, attempt=order.attempt):
                    self._lead(order)
        finally:
            self._leave_seat()
            os.close(self._wake)

    def _lead(self, order: Order) -> None:
        begun = self._clock.now()
        try:
            self._attempt(order)
        except Exception as err:
            # Whatever breaks here is the place's fault, not the trial's: it is recorded and may be retried.
            _log.exception("attempt broke")
            self._leave_seat()
            self._emit(Ended(self._bare_result(order, begun, Outcome.ERRORED, Reason.ENVIRONMENT_FAILED, str(err))))

    def _attempt(self, order: Order) -> None:
        begun = self._clock.now()
        if self._is_over():
            self._emit(Ended(self._bare_result(order, begun, Outcome.NOT_RUN, "", "")))
            return
        try:
            seat = self._take_seat(order)
            fault = self._prepare(seat, order)
        except (_Over, EnvironmentUnavailable) as err:
            self._leave_seat()
            broke = (Outcome.ERRORED, Reason.ENVIRONMENT_FAILED, str(err))
            how = (Outcome.NOT_RUN, "", "") if self._is_over() else broke
            self._emit(Ended(self._bare_result(order, begun, *how)))
            return
        if fault:
            self._emit(Ended(self._bare_result(order, begun, Outcome.FAILED, Reason.WORKFLOW_INVALID, fault)))
            return
        workspace = self._provider.workspace(self._batch_id, order.trial_id, order.attempt)
        order = replace(order, workspace=str(workspace))
        self._untold = Started(order, seat.name, self._clock.now())
        ended = self._remains.with_thread(self._file(seat.name), order, self._run_and_watch(seat, order))
        if order.share:
            ended = self._remains.with_prefix(self._file(seat.name), order, ended)
        self._pauses.discard(order.ordinal)
        try:
            self._tidy(seat, workspace, keep=keep_workspace(ended.result.outcome))
        except Exception:  # how the attempt ended is known; a full disk, say, must not change it
            _log.exception("could not tidy up")
            self._leave_seat()
        self._tell_begin()
        self._emit(ended)

    def _tidy(self, seat: _Seat, workspace: Path, *, keep: bool) -> None:
        """Keep what the attempt printed if it is to be looked at, and put its folder and a lost worker away."""
        try:
            if keep:
                seat.worker.save_output(workspace / "output.log")
        finally:
            if self._seat is not seat:
                self._close(seat.worker)
            self._provider.release_workspace(workspace, keep=keep)

    def _tell_begin(self) -> None:
        if self._untold is not None:
            self._emit(self._untold)
            self._untold = None

    def _is_over(self) -> bool:
        """Return whether nothing may begin any more."""
        return self._ending is not None or self._clock.monotonic() >= self._limits.batch_until

    # -- the worker ------------------------------------------------------------------------------------------

    def _take_seat(self, order: Order) -> _Seat:
        """Return a worker with the order's environment: the one that is there, if it will do, or a new one."""
        runtime = self._provider.runtime(Combination(order.combination, order.variants))
        # A worker may have ended while it was idle; the next trial is not to pay for that.
        if self._seat is not None and (self._seat.runtime.key != runtime.key or not self._seat.worker.is_fit()):
            self._leave_seat()
        if self._seat is None:
            until = self._clock.monotonic() + self._limits.environment
            self._seat = self._new_seat(order.epoch, runtime, until)
            error = self._await_reply(self._seat, "start", until)["error"]
            if error:
                raise EnvironmentUnavailable(error)
        return self._seat

    def _new_seat(self, epoch: int, runtime: RuntimeEnvironment, until: float) -> _Seat:
        name = f"e{epoch}-s{self._slot}" + (f"-g{self._generation}" if self._generation else "")
        worker = self._spawn(Wanted(runtime, until, self._is_over, lambda *late: self._emit(Late(*late))))
        setup = replace(self._setup, env={**runtime.env}, checkpoints=str(self._file(name)))
        worker.send({"op": "setup", "setup": asdict(setup)})
        return _Seat(worker, runtime, name)

    def _file(self, name: str) -> Path:
        return Path(self._setup.checkpoints) / f"{name}.db"

    def _prepare(self, seat: _Seat, order: Order) -> str:
        """Build the order's workflow in the worker once, outside the trial's deadline; return what is wrong."""
        if order.combination in seat.prepared:
            return ""
        seat.worker.send({"op": "prepare", "variants": dict(order.variants)})
        error = str(self._await_reply(seat, f"prepare the workflow for {order.combination}")["error"])
        if not error:
            seat.prepared.add(order.combination)
        return error

    def _await_reply(self, seat: _Seat, doing: str, until: float | None = None) -> Any:
        until = min(until or self._clock.monotonic() + self._limits.environment, self._limits.batch_until)
        while True:
            match seat.worker.wait(until, self._wake):
                case Message(body):
                    return body
                case Gone(status):
                    words = seat.worker.last_words()
                    raise EnvironmentUnavailable(
                        f"a worker ended ({exit_text(status)}) when it was to {doing}; its last words: {words!r}"
                    )
                case _ if self._is_over():
                    raise _Over
                case None:
                    raise EnvironmentUnavailable(
                        f"a worker did not {doing} within {self._limits.environment:g} s; "
                        "raise spec.deadlines.environmentSeconds or make the workflow's import faster"
                    )
                case _:
                    continue

    def _leave_seat(self) -> None:
        if self._seat is not None:
            self._close(self._seat.worker)
            self._seat = None

    def _close(self, worker: LedWorker) -> None:
        try:
            worker.close()
        except Exception:  # its end decides nothing any more: the slot goes on with another worker
            _log.exception("a worker could not be closed", slot=self._slot)
            # It may still be there, and have its checkpoint file open.
            self._generation += 1

    # -- the attempt -----------------------------------------------------------------------------------------

    def _run_and_watch(self, seat: _Seat, order: Order) -> Ended:
        started_at, started = self._clock.now(), self._clock.monotonic()
        # Nodes may be over before the watch begins to look for pauses.
        stop = {"stop": True} if order.ordinal in self._pauses else {}
        seat.worker.send({"op": "run", "order": order, **stop})
        watch = Watch(self._limits, order, seat.worker, seat.runtime.memory_bytes, started)
        reply, cause, signals = self._watch(seat, order, watch, started)
        took = self._clock.monotonic() - started
        ended = Finish(order, seat.name, started_at, self._clock.now(), took)
        if isinstance(reply, Gone):
            self._seat = None
            self._generation += 0 if reply.confirmed else 1
            reached = self._remains.boundaries(self._file(seat.name), order, seat.worker.node())
            result = ended.lost(reply, cause, reached, self._used(watch))
            return Ended(result, reply.confirmed, signals, self._overrun(cause))
        if reply.body["left"] or signals:
            # What the trial left behind dies with its worker; and one that was signalled is not to be trusted.
            self._seat = None
            seat.worker.kill()
        executed = reply.body["executed"]
        if cause is not None and cause.accept_completed and not executed["stopped"] and not signals:
            # A stop leaves a trial the time that it had, and no more.
            cause = watch.cause_at_end(started + took, stopped=False)
        if cause is None:
            return Ended(ended.by_itself(executed))
        if not executed["stopped"]:
            self._tell_begin()
            self._emit(Late(order, executed["outcome"]))
        return Ended(ended.by_cause(executed, cause, self._used(watch)), True, signals, self._overrun(cause))

    def _used(self, watch: Watch) -> dict[str, float]:
        watch.read_usage()
        metering = self._setup.metering
        return usage_metrics(watch.used, () if metering is None else metering.always)

    def _overrun(self, cause: Cause | None) -> float | None:
        timed_out = cause is not None and cause.outcome is Outcome.TIMED_OUT
        return self._clock.monotonic() - cause.since if cause is not None and timed_out else None

    def _watch(
        self, seat: _Seat, order: Order, watch: Watch, started: float
    ) -> tuple[Message | Gone, Cause | None, tuple[str, ...]]:
        """Wait for the attempt's end; past a deadline or a budget: soft stop, TERM after the grace, then KILL."""
        worker, told = seat.worker, Usage()
        cause: Cause | None = None
        stage = Stage.RUN
        signals: list[str] = []
        while True:
            now = self._clock.monotonic()
            if cause is None:
                cause = watch.cause(now, self._ending)
                if order.ordinal in self._pauses:
                    worker.ask_to_stop()
            if cause is not None or now >= started + _QUICK_SECONDS:
                self._tell_begin()
            if self._limits.tells_usage and watch.used != told and self._untold is None:
                told = watch.used
                self._emit(Used(order, told))
            if cause is not None:
                reached, wake_at = stage_after(cause.since, now, self._limits.grace)
                if cause.reason == Reason.OUT_OF_MEMORY:
                    reached = Stage.KILL
                if reached is not stage:
                    stage = reached
                    signals += _escalate(worker, stage)
                if stage is Stage.KILL:
                    wake_at = now + _CONFIRM_SECONDS
            else:
                wake_at = watch.next_look(now)
                if self._untold is not None:
                    # A quick attempt's begin is told with its end: one wake-up of the session instead of two.
                    wake_at = min(wake_at, started + _QUICK_SECONDS)
            match worker.wait(wake_at, self._wake):
                case Message() as reply if cause is None:
                    # It may have come in time and been heard too late; only the time it was heard is known.
                    stopped = reply.body["executed"]["stopped"]
                    return reply, watch.cause_at_end(self._clock.monotonic(), stopped=stopped), ()
                case Message() | Gone() as reply:
                    return reply, cause, tuple(signals)
                case None if stage is Stage.KILL:
                    return worker.force_gone(), cause, tuple(signals)
                case _:
                    continue

    def _bare_result(self, order: Order, begun: datetime, outcome: Outcome, reason: str, message: str) -> AttemptResult:
        now = self._clock.now()
        return Finish(order, "", begun, now, (now - begun).total_seconds()).result(outcome, reason, message)


def _escalate(worker: LedWorker, stage: Stage) -> list[str]:
    match stage:
        case Stage.STOP:
            worker.ask_to_stop()
            return []
        case Stage.TERMINATE:
            return ["TERM"] if worker.terminate() else []
        case Stage.KILL:
            return ["KILL"] if worker.kill() else []
        case Stage.RUN:
            return []
