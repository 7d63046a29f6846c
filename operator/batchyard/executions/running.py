"""Runs an order of a held execution on the engine's own runner, under the batch's deadlines; hears what is asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from batchyard.engine.attempts import Ended, Order, Stop
from batchyard.engine.records import redacted
from batchyard.executions.held import EPOCH
from batchyard.local_files import objects_folder
from batchyard.model.execution import Move
from batchyard.model.outcome import Outcome, Reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchyard.clock import Clock
    from batchyard.compose import LocalEngine
    from batchyard.engine.attempts import BatchTestRunner, Start
    from batchyard.engine.sources import LoadedBatch
    from batchyard.executions.held import Held, HeldFolder
    from batchyard.model.trial import AttemptResult

_LOOK_SECONDS = 0.1
_SPARE_SECONDS = 60.0

STOP = Stop(Outcome.CANCELLED, Reason.CANCELLED)


@dataclass(frozen=True, slots=True)
class Pausing:
    """The nodes that a run pauses before and after."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OneRun:
    """Runs held executions of one batch, one after the other.

    ``files`` is the store's folder for files: what a batch's trials tracked is there, and what executions track.
    """

    engine: Callable[[], LocalEngine]
    loaded: LoadedBatch
    clock: Clock
    files: Path

    def carry_out(
        self,
        folder: HeldFolder,
        held: Held,
        start: Start | None,
        pausing: Pausing = Pausing(),
        *,
        asked: Callable[[], Move | None] = lambda: None,
    ) -> AttemptResult | None:
        """Run until it ends or pauses; ``asked`` is looked at all the time. None if it was stopped before it began.

        Raises ``EnvironmentUnavailable``.
        """
        deadlines = self.loaded.batch.spec.deadlines
        order = self._order(held, start, pausing)
        longest = 2 * deadlines.environment_seconds + (order.deadline_seconds or deadlines.trial_seconds)
        until = self.clock.now() + timedelta(seconds=longest + deadlines.grace_seconds + _SPARE_SECONDS)
        objects = objects_folder(self.files)
        with self.engine().equipped(
            folder.path, held.batch, until, self.loaded, open_trials=1, objects=objects, pinned=True
        ) as made:
            made.runner.submit(order)
            result = _to_its_end(made.runner, asked)
            return None if result is None else redacted(result, made.redact)

    def _order(self, held: Held, start: Start | None, pausing: Pausing) -> Order:
        case = next(case for case in self.loaded.plan.cases if case.name == held.case)
        return Order(
            trial_id=held.trial,
            ordinal=0,
            combination=held.combination,
            variants=held.variants,
            case=case.name,
            repeat=held.repeat,
            attempt=held.runs + 1,
            epoch=EPOCH,
            thread_id=held.id,
            state=self.loaded.plan.input_for(case),
            expected=case.expected,
            weight=case.weight,
            deadline_seconds=case.deadline_seconds,
            start=start,
            pause_before=pausing.before,
            pause_after=pausing.after,
        )


def _to_its_end(runner: BatchTestRunner, asked: Callable[[], Move | None]) -> AttemptResult | None:
    heard: Move | None = None
    while True:
        event = runner.next_event(_LOOK_SECONDS)
        if isinstance(event, Ended):
            return event.result
        wanted = asked()
        if wanted is heard or heard is Move.STOP:
            continue
        heard = wanted
        if wanted is Move.PAUSE:
            runner.pause(0)
        elif wanted is Move.STOP and runner.stop(STOP):
            return None
