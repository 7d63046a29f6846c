"""The trial loop of a worker: begins where its manifest says, and leaves the verdict to the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.decide.forking import ForkPoint
from batchyard.engine.dispatch import TrialLoop
from batchyard.engine.looking import case_table, ends_once_decided
from batchyard.model.events import EventType
from batchyard.model.execution import Keep
from batchyard.model.outcome import Reason
from batchyard.model.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchyard.clock import Clock
    from batchyard.engine.attempts import BatchTestRunner, Ended
    from batchyard.engine.prefixes import SharedPrefixes
    from batchyard.engine.sources import LoadedBatch
    from batchyard.events import AuditTrail, EventBus
    from batchyard.model.trial import AttemptResult
    from batchyard.model.wire import Manifest
    from batchyard.worker.writer import SegmentWriter


class WorkerSession(TrialLoop):
    """Runs what a manifest leaves open."""

    def __init__(
        self,
        manifest: Manifest,
        loaded: LoadedBatch,
        *,
        writer: SegmentWriter,
        runner: BatchTestRunner,
        bus: EventBus,
        trail: AuditTrail,
        clock: Clock,
        redact: Callable[[str], str],
        prefixes: SharedPrefixes | None = None,
    ) -> None:
        """Take everything made; ``run`` does the rest. The attempt's number is the epoch of all it does."""
        self._came_to = case_table(loaded.plan) if ends_once_decided(loaded.batch.spec) else None
        super().__init__(
            batch_id=manifest.batch_id, epoch=manifest.attempt, deadline_at=manifest.deadline_at,
            spec=loaded.batch.spec, plan=loaded.plan, writer=writer, runner=runner, bus=bus, trail=trail,
            clock=clock, redact=redact, fork_point=self._fork_point if loaded.batch.spec.fork_from else None,
            keep=loaded.batch.spec.checkpoints.keep if loaded.batch.spec.checkpoints.postgres else Keep.NEVER,
            prefixes=prefixes, cases=self._came_to,
        )  # fmt: skip
        self._manifest, self._segments = manifest, writer

    def run(self) -> str:
        """Run until every trial is settled or the loop was ended; return why it was, "" if it was not."""
        self._settle_all()
        if self._was_interrupted and self._backlog.open_count:
            left = self._backlog.open_count
            self._tell(EventType.BATCH_INTERRUPTED, f"interrupted with {left} of {len(self._plan)} trials left")
        self._write()
        self._segments.running = 0
        if self._stop is None or self._ended_too_late or (self._was_interrupted and not self._backlog.open_count):
            return Reason.NONE
        return self._stop.reason

    def _recall(self) -> None:
        for first, last in self._manifest.finished:
            for ordinal in range(first, last + 1):
                self._backlog.finish(ordinal)
        self._backlog.recall_attempts(self._manifest.attempts)
        for ordinal, count in self._manifest.errors.items():
            for _ in range(count):
                self._backlog.count_error(ordinal)
        self._ledger.ended(-1, Usage.of(self._manifest.used))
        if self._came_to is not None:
            for ordinal, (outcome, score) in self._manifest.came_to.items():
                trial = self._plan.trial(ordinal)
                self._came_to.count(trial.combination.name, trial.case.name, outcome, score)

    def _settle(self, result: AttemptResult) -> None:
        if self._came_to is not None:
            self._came_to.add(result)

    def _fork_point(self, ordinal: int) -> ForkPoint:
        trial_id, thread_id, checkpoint = self._manifest.forks[ordinal]
        return ForkPoint(trial_id, thread_id, checkpoint)

    def _keep_up(self, now: float) -> None:
        del now
        self._segments.running = min(len(self._in_flight), self._spec.parallelism)

    def _retried(self) -> None:
        self._segments.note_retry()

    def _heard_end(self, event: Ended) -> None:
        self._segments.note(event)
