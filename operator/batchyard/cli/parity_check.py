"""What ``run`` and ``resume`` do for ``spec.parity``: a sample of the trials again elsewhere, and what came of it.

The batch is over by then, and its verdict stays as it is. Whatever is interrupted here, ``resume`` goes on with.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from batchyard.cli import stores
from batchyard.cli.run import Place, place_name
from batchyard.clock import SystemClock
from batchyard.compose import LocalEngine
from batchyard.decide.parity import is_comparable
from batchyard.engine.parity import (
    Elsewhere,
    Run,
    compare,
    compared_status,
    config_of,
    parity_entries,
    sampled_twin,
    uncompared_status,
)
from batchyard.engine.ports import BatchUpdate
from batchyard.engine.sources import LoadedBatch
from batchyard.local_files import files_folder
from batchyard.local_sessions import this_process
from batchyard.model.errors import BatchNotFound, EnvironmentUnavailable, SpecInvalid
from batchyard.model.outcome import Reason
from batchyard.store.lookup import finals_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from batchyard.cli.run import Front
    from batchyard.engine.ports import BatchRecord
    from batchyard.judge.parity_report import ParityReport
    from batchyard.model.status import BatchStatus
    from batchyard.store.sql import SqlStore


def verify(front: Front, record: BatchRecord, loaded: LoadedBatch) -> bool:
    """Compare a finished batch as its spec asks and write down what came of it; return whether that came to an end."""
    parity = loaded.batch.spec.parity
    there = Elsewhere(parity.against, parity.isolation)
    other = sampled_twin(record, loaded, there)
    try:
        second = run_twin(front, record, other)
    except (EnvironmentUnavailable, SpecInvalid) as err:
        _leave_open(front, record, str(err))
        return True
    if second is None:
        front.say(f"the batch is finished, its parity is not verified yet; go on with: batchyard resume {record.id}")
        return False
    if early := ended_early(second):
        _leave_open(front, record, early)
        return True
    report = compare(run_of(front.store, record, loaded), run_of(front.store, second, other), config_of(parity))
    _conclude(front.store, record, there, second.id, report)
    return True


def _leave_open(front: Front, record: BatchRecord, why: str) -> None:
    status = uncompared_status(stores.status_of(record), Reason.ENVIRONMENT_FAILED, why, SystemClock().now())
    _write(front.store, record, status)
    front.say(f"parity was not verified: {why}; try again with: batchyard resume {record.id}")


def ended_early(record: BatchRecord) -> str:
    """Return why the trials of a finished batch cannot be compared, "" if it came to an end of its own making."""
    if is_comparable(record.phase, record.reason):
        return ""
    why = f"batch {record.id} ended early: {record.reason or record.phase}"
    return f"{why}: {record.message}" if record.message else why


def run_twin(front: Front, record: BatchRecord, other: LoadedBatch) -> BatchRecord | None:
    """Run a batch's twin, or what is left of it, to its end; return it, None if it was interrupted.

    Raises ``EnvironmentUnavailable``, and ``SpecInvalid`` if it cannot be run there at all.
    """
    with _engine_for(front, other) as engine:
        second, suffix = _twin_there(front.store, other.batch.metadata.name, record.id.rpartition("-")[2])
        if second is None:
            faults = engine.check(other)
            if faults:
                raise SpecInvalid(f"batch {record.id} elsewhere", faults)
            second = engine.accept(front.store, other, files_folder(front.target), suffix=suffix)
        if not second.phase.final and not front.on(engine).go(second, other):
            return None
    return front.store.batch(second.id)


def _twin_there(store: SqlStore, name: str, suffix: str) -> tuple[BatchRecord | None, str]:
    """Return the twin to go on with or to compare, or None and the suffix of the next one.

    The suffix is the batch's own, so that who comes back after a crash finds it, with a number after an early end.
    """
    for number in count(1):
        numbered = suffix if number == 1 else f"{suffix}-{number}"
        try:
            found = store.batch(f"{name}-{numbered}")
        except BatchNotFound:
            break
        if not (found.phase.final and ended_early(found)):
            return found, numbered
    return None, numbered


def _engine_for(front: Front, other: LoadedBatch) -> AbstractContextManager[LocalEngine]:
    """Give the engine that is there already if it will do: another one has to start first."""
    ray = Place().ray(other.batch)
    return nullcontext(front.engine) if ray is None and not front.engine.on_ray else LocalEngine(ray=ray)


def run_of(store: SqlStore, record: BatchRecord, loaded: LoadedBatch | None = None) -> Run:
    """Return a batch of this store as one that is compared."""
    loaded = loaded or LoadedBatch.of(record)
    return Run(record, loaded, partial(finals_of, store, record.id))


def _conclude(store: SqlStore, record: BatchRecord, there: Elsewhere, twin_id: str, report: ParityReport) -> None:
    names = ("this batch", place_name(there))
    now = SystemClock().now()
    _write(store, record, compared_status(stores.status_of(record), there, twin_id, report, names, now), report, names)


def _write(
    store: SqlStore,
    record: BatchRecord,
    status: BatchStatus,
    report: ParityReport | None = None,
    names: tuple[str, str] = ("", ""),
) -> None:
    """Add the comparison to what is written of a finished batch, all or nothing."""
    now = SystemClock().now()
    session = store.open_session(record.id, this_process(), now)
    entries = parity_entries(record.id, session.epoch, report, names, now) if report is not None else []
    update = BatchUpdate(record.phase, record.reason, record.message, status.to_json())
    store.commit(session, entries=entries if record.audit_pruned_at is None else [], batch=update)
    store.close_session(session, "ParityChecked", now)
