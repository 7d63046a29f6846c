"""Looks at one batch of a store: its trail, its documents, its results, and whether they say the same.

Not for the database as a whole (``integrity``), nor for results against the trail (``told_results``).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from batchyard.engine.conclusion import PHASE_OF
from batchyard.engine.sources import LoadedBatch, digest_of
from batchyard.engine.stored_results import check_place
from batchyard.engine.stored_status import status_of
from batchyard.model.audit import verify_chain
from batchyard.model.errors import RESTORE, RecordDamaged
from batchyard.model.outcome import Outcome, Reason
from batchyard.store import rows
from batchyard.store.faults import place_of, reported
from batchyard.store.findings import Finding, FindingSeverity, Remedy
from batchyard.store.paging import paged
from batchyard.store.retention import MICROS_A_DAY
from batchyard.store.rows import to_micros
from batchyard.store.tables import IS_FINAL, attempts, audit_entries, batches, documents, sessions
from batchyard.store.told_results import ToldResults

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchyard.engine.ports import BatchRecord
    from batchyard.model.matrix import Plan
    from batchyard.model.trial import JSON
    from batchyard.store.as_written import Row
    from batchyard.store.sql import SqlStore

UNTOLD = frozenset({"audit_chain", "audit_count", "audit_pruned", "unreadable_batch"})
"""The kinds of findings because of which nothing can be told in a batch's trail any more."""

_SHOWN = 20
_PAGE = 200


def batch_findings(store: SqlStore, batch_id: str) -> list[Finding]:
    """Return what is wrong with one batch, with what it is after the look if its trail was deleted meanwhile."""
    row = _row(store, batch_id)
    if row is None:
        return []
    found = [*_looked_at(store, row._mapping)]
    newer = _row(store, batch_id) if found else None
    if newer is not None and newer.audit_pruned_at != row.audit_pruned_at:
        return batch_findings(store, batch_id)
    return found


def _row(store: SqlStore, batch_id: str) -> sa.Row[Any] | None:
    """Return all that a batch is judged by, as one statement shows it; ``spec`` is None if it has no document."""
    # Nobody ran such a batch: it was written down for an execution to belong to.
    for_execution = sa.exists().where(
        sessions.c.batch_id == batches.c.id, sessions.c.epoch == 1, sessions.c.close_reason == Reason.EXECUTION
    )
    entries = sa.select(sa.func.count()).where(audit_entries.c.batch_id == batches.c.id)
    final = sa.select(sa.func.count()).where(attempts.c.batch_id == batches.c.id, IS_FINAL)
    newest = sa.select(sa.func.coalesce(sa.func.max(sessions.c.epoch), 0)).where(sessions.c.batch_id == batches.c.id)
    query = sa.select(
        batches,
        documents.c.spec,
        documents.c.status,
        for_execution.label("for_execution"),
        entries.scalar_subquery().label("stored_entries"),
        final.scalar_subquery().label("final_results"),
        newest.scalar_subquery().label("newest_session"),
    ).outerjoin(documents)
    with reported(place_of(store.engine.url), "check the database"), store.engine.connect() as connection:
        return connection.execute(query.where(batches.c.id == batch_id)).first()


def _looked_at(store: SqlStore, row: Row) -> Iterator[Finding]:
    try:
        batch = rows.batch_from({**row, "spec": None, "status": None})
    except RecordDamaged as err:
        yield Finding(FindingSeverity.CRITICAL, "unreadable_batch", row["id"], str(err))
        return
    unreadable, plan, status = _documents(row, batch)
    against = [*_trail_and_results(store, row, batch, plan)]
    yield from against
    if row["newest_session"] != batch.epoch:
        message = f"it counts {batch.epoch} sessions, but the newest is {row['newest_session']}; {RESTORE}"
        yield Finding(FindingSeverity.CRITICAL, "session_count", batch.id, message)
    if row["spec"] is None:
        yield Finding(FindingSeverity.CRITICAL, "no_document", batch.id, "its specification is missing")
        return
    ran = batch.phase.final and _ran(row, batch)
    if ran and row["final_results"] < batch.total:
        few = f"only {row['final_results']} of {batch.total} trials have a final result"
        yield Finding(
            FindingSeverity.CRITICAL, "missing_results", batch.id, f"it is {batch.phase}, but {few}; {RESTORE}"
        )
    yield from unreadable
    if unreadable:
        return
    told = (status or {}).get("trials")
    if ran and not isinstance(told, dict):
        message = f"it is {batch.phase}, but its status tells of no trials; {RESTORE}"
        yield Finding(FindingSeverity.CRITICAL, "no_status", batch.id, message)
    elif batch.phase.final and isinstance(told, dict) and "unreadable_results" not in {one.kind for one in against}:
        # While a batch runs, its status may lag behind its results.
        yield from _counts(store, batch, told, sound=not against)


def _trail_and_results(store: SqlStore, row: Row, batch: BatchRecord, plan: Plan | None) -> Iterator[Finding]:
    """Find what is wrong with a batch's trail, results that cannot be read, and those not as a sound trail tells."""
    told = ToldResults()
    faults = [*_trail(store, row, batch, told)]
    yield from faults
    unreadable: list[str] = []
    results, contradicted = results_of(store, batch.id, unreadable, plan), []
    verified = batch.audit_pruned_at is None and "audit_chain" not in {one.kind for one in faults}
    if verified and batch.phase.final:
        contradicted = [*told.contradictions(results, all_told=not batch.audit_dropped)]
    else:
        deque(results, maxlen=0)
    if verified:
        yield from _retold(row, batch, told)
    if contradicted:
        more = f"; and {len(contradicted) - _SHOWN} more" if len(contradicted) > _SHOWN else ""
        message = f"its results contradict its audit trail: {'; '.join(contradicted[:_SHOWN])}{more}; {RESTORE}"
        yield Finding(FindingSeverity.CRITICAL, "contradicted_results", batch.id, message)
    if unreadable:
        message = f"{len(unreadable)} of its results cannot be read; the first: {unreadable[0]}"
        yield Finding(FindingSeverity.CRITICAL, "unreadable_results", batch.id, message)


def _retold(row: Row, batch: BatchRecord, told: ToldResults) -> Iterator[Finding]:
    """Find a specification or a verdict that is not the one that a sound trail tells of."""
    if told.spec_digest not in {"", batch.spec_digest}:
        message = f"its specification is not the one that its audit trail says was accepted; {RESTORE}"
        yield Finding(FindingSeverity.CRITICAL, "changed_document", batch.id, message)
    if not batch.phase.final or not _ran(row, batch):
        return
    phase = PHASE_OF[told.verdict] if told.verdict else None
    if phase not in {None, batch.phase} or (phase is None and not batch.audit_dropped):
        said = f"says {told.verdict}" if told.verdict else "tells of no end"
        message = f"it is {batch.phase}, and its audit trail {said}; {RESTORE}"
        yield Finding(FindingSeverity.CRITICAL, "changed_verdict", batch.id, message)


def _ran(row: Row, batch: BatchRecord) -> bool:
    """Return whether the batch had trials to run: not one that was refused or written down for an execution."""
    return batch.total > 0 and not (row["for_execution"] and batch.started_at is None)


def results_of(store: SqlStore, batch_id: str, unreadable: list[str], plan: Plan | None = None) -> Iterator[Row]:
    """Yield every row, so that the table is read but once; what cannot be read of them goes to ``unreadable``.

    So does one that is not of the trial of the ``plan`` whose number it has.
    """
    key = (attempts.c.ordinal, attempts.c.attempt)
    query = attempts.select().where(attempts.c.batch_id == batch_id)
    for row in paged(store.engine, place_of(store.engine.url), query, key=key, after=(-1, -1), size=_PAGE):
        try:
            result = rows.attempt_from(row)
            if plan is not None:
                check_place(result, plan, batch_id)
        except RecordDamaged as err:
            unreadable.append(str(err))
        yield row


def _trail(store: SqlStore, row: Row, batch: BatchRecord, told: ToldResults) -> Iterator[Finding]:
    stored_entries = row["stored_entries"]
    if batch.audit_pruned_at is not None:
        kept_until = to_micros(batch.completed_at or batch.accepted_at) + row["audit_retention_days"] * MICROS_A_DAY
        early = not batch.phase.final or row["audit_pruned_at"] < kept_until
        if early or stored_entries:
            # Nothing deletes the entries for that: whoever wrote it may want just this.
            why = "its time was not over" if early else f"{stored_entries} entries are there"
            message = f"its audit trail counts as deleted, but {why}; {RESTORE}"
            yield Finding(FindingSeverity.CRITICAL, "audit_pruned", batch.id, message)
        return
    if stored_entries != batch.audit_entries:
        message = f"it counts {batch.audit_entries} audit entries, but {stored_entries} are stored; {RESTORE}"
        yield Finding(FindingSeverity.CRITICAL, "audit_count", batch.id, message)
    # Up to what the head was read for: a batch that runs goes on adding entries.
    entries = store.audit_entries(batch.id, limit=batch.audit_entries)
    try:
        fault = verify_chain(told.heard(entries), batch.audit_head)
    except RecordDamaged as err:
        fault = str(err)
    if fault:
        yield Finding(FindingSeverity.CRITICAL, "audit_chain", batch.id, f"its audit trail does not verify: {fault}")


def _documents(row: Row, batch: BatchRecord) -> tuple[list[Finding], Plan | None, JSON]:
    """Find a specification or a status that cannot be read; return the plan and the status too, if there are any.

    A batch that was never accepted has any specification, and no plan.
    """
    found, plan, status = [], None, None
    try:
        record = rows.batch_from({**row, "status": None})
        if batch.total and record.spec is not None:
            plan = LoadedBatch.of(record).plan
            if digest_of(record.spec) != batch.spec_digest:
                raise RecordDamaged.of(f"the specification of batch {batch.id}", "it is not the one that was accepted")
    except RecordDamaged as err:
        found.append(Finding(FindingSeverity.CRITICAL, "unreadable_document", batch.id, str(err)))
    try:
        record = rows.batch_from({**row, "spec": None})
        status_of(record)
        status = record.status
    except RecordDamaged as err:
        found.append(Finding(FindingSeverity.CRITICAL, "unreadable_document", batch.id, str(err)))
    return found, plan, status


def _counts(store: SqlStore, batch: BatchRecord, told: Mapping[str, JSON], *, sound: bool) -> Iterator[Finding]:
    """Find counts that disagree; ``sound``: nothing speaks against the results, so that a status may follow them."""
    counted = store.counts(batch.id)
    # Where results are missing or were changed, the status may be all that tells of them.
    remedy = Remedy.UPDATE_STATUS if sound and sum(counted.values()) == batch.total else Remedy.MANUAL
    for outcome in Outcome:
        name = status_key(outcome)
        if name in told and told[name] != counted.get(outcome, 0):
            message = f"its status tells of {told[name]} {outcome} trials, but {counted.get(outcome, 0)} are stored"
            yield Finding(FindingSeverity.WARNING, "status_count", batch.id, message, remedy)


def status_key(outcome: Outcome) -> str:
    """Return how a status names the count of an outcome."""
    return outcome[0].lower() + outcome[1:]
