"""Finds the executions of a batch: those that a person holds, and the attempts whose states were kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.executions.held import Held
from batchyard.executions.moves import Source, status_after
from batchyard.local_files import KeptThreads
from batchyard.model.errors import StoreError
from batchyard.model.execution import ExecutionError, ExecutionNotFound
from batchyard.model.outcome import Reason
from batchyard.workflows.checkpoint_reading import read_history

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from batchyard.engine.sources import LoadedBatch
    from batchyard.executions.held import HeldFolder, HeldFolders
    from batchyard.model.trial import AttemptResult


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An execution or an attempt that is there and cannot be looked at; ``why`` says what to do."""

    name: str
    why: str


def all_held(folders: HeldFolders, batch: str) -> Iterator[Source | Unreadable]:
    """Yield the executions of a batch that a person holds, oldest first; a damaged one hides none of the others."""
    for folder in folders.of_batch(batch):
        try:
            yield held_source(folder)
        except (StoreError, ExecutionError) as err:
            yield Unreadable(folder.id, str(err))


def held_source(folder: HeldFolder) -> Source:
    """Return an execution that a person holds."""
    return Source(folder.load(), folder.thread_file, folder.id, folder, folder.history())


class KeptAttempts:
    """The attempts of one batch whose states were kept."""

    def __init__(self, files: Path, batch: str, loaded: LoadedBatch) -> None:
        """``files`` is the store's folder for files."""
        self._kept, self._batch = KeptThreads(files, batch), batch
        self._variants = {combination.name: combination.variants for combination in loaded.plan.combinations}

    def all(self, attempts: Iterable[AttemptResult]) -> Iterator[Source | Unreadable]:
        """Yield those of the attempts that were kept; a damaged one hides none of the others."""
        for attempt in attempts:
            try:
                source = self.source(attempt)
            except StoreError as err:
                yield Unreadable(f"{attempt.trial_id}#{attempt.attempt}", str(err))
            else:
                if source is not None:
                    yield source

    def one(self, trial: str, number: int | None, attempts: Iterable[AttemptResult]) -> Source:
        """Return an attempt of a trial, the newest one without a number. Raises ``ExecutionNotFound``."""
        wanted = [attempt for attempt in attempts if number in {None, attempt.attempt}]
        found = [source for attempt in wanted if (source := self.source(attempt)) is not None]
        if not found:
            name = f"{trial}#{number}" if number is not None else trial
            raise ExecutionNotFound(
                f"of {name} of batch {self._batch} no states were kept; spec.checkpoints.keep says whose are, and "
                f"`batchyard execution list {self._batch}` which there are"
            )
        return found[-1]

    def source(self, result: AttemptResult) -> Source | None:
        """Return the thread of an attempt, with the execution that a move would make of it; None if it was not kept."""
        file = self._kept.find(result.thread_id, result.worker)
        history = read_history(file, result.thread_id) if file is not None else ()
        if file is None or not history:
            return None
        asks = result.reason == Reason.INTERRUPTED_BY_GRAPH
        held = Held(
            id="",
            batch=self._batch,
            trial=result.trial_id,
            combination=result.combination,
            variants=self._variants[result.combination],
            case=result.case,
            repeat=result.repeat,
            created_at=result.started_at.isoformat(),
            changed_at=result.ended_at.isoformat(),
            status=status_after(result),
            origin=f"{result.trial_id}#{result.attempt}",
            question=result.message if asks else "",
            message="" if asks else result.message,
            outcome=result.outcome.value,
            reason=result.reason,
            score=result.score,
            nodes=tuple(boundary.node for boundary in result.boundaries),
        )
        return Source(held, file, result.thread_id, None, history)


def held_of_trial(folders: HeldFolders, batch: str, trial: str) -> Source | None:
    """Return the execution that the trial names: the newest that was made of an attempt of it, or for it. None if none.

    A fork is named by its id alone.
    """
    found = [folder for folder in folders.of_batch(batch) if _stands_for(folder, trial)]
    return held_source(found[-1]) if found else None


def _stands_for(folder: HeldFolder, trial: str) -> bool:
    try:
        held = folder.load()
    except (StoreError, ExecutionNotFound):  # `execution list` names it
        return False
    return held.trial == trial and (not held.origin or held.origin.removeprefix(f"{trial}#").isdecimal())
