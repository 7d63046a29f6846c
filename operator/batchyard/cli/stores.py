"""Opening what a command reads: the store it names, which makes nothing, or the store of an operator in a cluster.

Not for what is in it, nor for how a cluster is asked (``kube``).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from batchyard import config
from batchyard.engine.stored_spec import baseline_of
from batchyard.engine.stored_status import by_results
from batchyard.engine.stored_status import status_of as status_of  # commands find it here
from batchyard.local_files import KeptThreads, files_folder
from batchyard.model.errors import BatchNotFound, EnvironmentUnavailable
from batchyard.store import schema
from batchyard.store.connect import make_engine, parse_target
from batchyard.store.faults import place_of
from batchyard.store.lookup import attempts_of, endings_of
from batchyard.store.opening import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from batchyard.cli.options import Origin
    from batchyard.engine.ports import BatchRecord
    from batchyard.judge.lost_trials import Final, Regressions
    from batchyard.model.audit import SealedEntry
    from batchyard.model.errors import RecordDamaged
    from batchyard.model.outcome import Outcome
    from batchyard.model.status import AuditStatus
    from batchyard.model.trial import AttemptResult
    from batchyard.store.sql import SqlStore


class Reader(Protocol):
    """The part of a store that shows one batch; see ``engine.ports.BatchStore``."""

    def results(
        self,
        batch_id: str,
        *,
        final_only: bool = True,
        outcomes: Sequence[Outcome] | None = None,
        limit: int | None = None,
    ) -> Iterator[AttemptResult]:
        """Yield results by ordinal, then attempt."""
        ...

    def batch(self, reference: str) -> BatchRecord:
        """Return the batch with this id as it stands now."""
        ...

    def audit_entries(self, batch_id: str, *, after: int = 0, limit: int | None = None) -> Iterator[SealedEntry]:
        """Yield the batch's entries with ``seq`` over ``after``, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """One batch and the store it was found in.

    ``endings`` gives how its trials ended. ``anchor`` is what its BatchTest's status says of the trail, and
    ``anchor_hidden`` why that may not be read; ``threads`` are its attempts' states, if at hand.
    """

    store: Reader
    record: BatchRecord
    attempts_of: Callable[[int], Sequence[AttemptResult]]
    endings: Callable[[], Iterable[Final]]
    anchor: AuditStatus | None = None
    threads: KeptThreads | None = None
    anchor_hidden: str = ""

    def regressions(self) -> Regressions | None:
        """Return what combinations lost to the gate's baseline, None if there is none or if it lost nothing."""
        # What only batches with a baseline need is read only for them.
        from batchyard.regressions import regressions

        record = self.record
        if not baseline_of(record):
            return None
        return regressions(record, status_of(record), self.endings(), self.attempts_of, self.threads)

    def unmet_regressions(self) -> Regressions | None:
        """Return the same if the gate is not met: one that is met trades some cases for others."""
        gate = status_of(self.record).gate
        return None if gate is None or gate.passed else self.regressions()


def target(named: str) -> str:
    """Return the store to use when ``named`` was given on the command line, perhaps as nothing."""
    return named or config.default_store()


def shown(named: str) -> str:
    """Return the store in a spelling that is safe to show: without a password."""
    return place_of(parse_target(target(named))).shown


def schema_version(named: str) -> str | None:
    """Return the version of the store's schema, None if there is no store yet; makes and changes nothing."""
    engine = make_engine(parse_target(target(named)))
    try:
        return schema.current(engine)
    finally:
        engine.dispose()


class StatusOnly(EnvironmentUnavailable):
    """The operator cannot tell of a batch; ``record`` is what the status of its BatchTest says."""

    def __init__(self, why: str, record: BatchRecord) -> None:
        """Keep both."""
        super().__init__(why)
        self.record = record


@contextmanager
def there(named: str, *, upgrade: bool = False) -> Iterator[SqlStore | None]:
    """Give the store, or None if there is none yet.

    An older one is refused, or brought up to date with ``upgrade``, which is for commands that write.
    """
    if schema_version(named) is None:
        yield None
        return
    with open_store(target(named), upgrade=upgrade) as store:
        yield store


@contextmanager
def with_batch(named: str, reference: str, *, upgrade: bool = False) -> Iterator[tuple[SqlStore, BatchRecord]]:
    """Give the store, as ``there`` does, and one batch in it. Raises ``BatchNotFound`` or ``BatchAmbiguous``."""
    with there(named, upgrade=upgrade) as store:
        if store is None:
            where = shown(named)
            raise BatchNotFound(
                f'there is no store at {where} yet, so no batch "{reference}"; name another with --store'
            )
        yield store, store.batch(reference)


def newest(origin: Origin, limit: int, damaged: list[RecordDamaged]) -> tuple[str, Sequence[BatchRecord]]:
    """Return what the place is called and the newest batches in it, newest first.

    Those of them that cannot be read go to ``damaged``.
    """
    if origin.kube is not None:
        from batchyard.cli import kube

        return kube.newest(origin.kube, limit, damaged)
    with there(origin.store) as store:
        return shown(origin.store), store.batches(limit=limit, damaged=damaged) if store is not None else []


@contextmanager
def opened(origin: Origin, reference: str) -> Iterator[Opened]:
    """Give one batch and where it was found, here or in a cluster. Raises as ``with_batch`` and ``kube.opened`` do."""
    if origin.kube is not None:
        from batchyard.cli import kube

        with kube.opened(origin.kube, reference) as found:
            yield found
    else:
        with with_batch(origin.store, reference) as (store, record):
            finished = sum(store.counts(record.id).values()) if not record.phase.final else 0
            record = by_results(record, finished, store.results(record.id))
            yield opened_here(store, record, target(origin.store))


def opened_here(store: SqlStore, record: BatchRecord, named: str) -> Opened:
    """Return a batch of a store on this machine; ``named`` is the store, as a user may name it."""
    threads = KeptThreads(files_folder(named), record.id)
    attempts, endings = partial(attempts_of, store, record.id), partial(endings_of, store, record.id)
    return Opened(store, record, attempts, endings, threads=threads)
