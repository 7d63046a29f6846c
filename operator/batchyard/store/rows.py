"""Turns the model's data into rows and back.

Not for SQL. Everything that a database would refuse is settled here (NUL characters, halves of surrogate pairs, what
JSON cannot say), because one such value would block the whole group of results it is written with.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from batchyard.engine.cluster_ports import EnvironmentRecord, EnvironmentState
from batchyard.engine.ports import BatchRecord, BatchUpdate, OpenSession, Owner
from batchyard.model.audit import AuditEntry, SealedEntry
from batchyard.model.errors import RecordDamaged, StoreError
from batchyard.model.events import EventType, Severity
from batchyard.model.outcome import Outcome, Phase
from batchyard.model.plain_json import plain_text
from batchyard.model.trial import JSON, AttemptResult, EvaluatorScore, NodeBoundary
from batchyard.store.as_written import (
    NOTHING,
    NUMBER,
    TEXT,
    Kinds,
    Read,
    Row,
    T,
    as_written,
    check_kinds,
    numbers,
    parsed,
)
from batchyard.store.tables import attempts, audit_entries, batches, environments, sessions

if TYPE_CHECKING:
    from collections.abc import Iterable

Values: TypeAlias = dict[str, Any]

_MOMENTS = ("requested_at", "ready_at", "started_at", "heard_at", "ended_at", "released_at")
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DEFAULT_RETENTION_DAYS = 30

_SCORE_KINDS: Kinds = {
    "evaluator": TEXT,
    "score": NUMBER | NOTHING,
    "weight": NUMBER,
    "metrics": frozenset({dict}),
    "error": TEXT,
}
_BOUNDARY_KINDS: Kinds = {
    "node": TEXT,
    "status": TEXT,
    "duration_seconds": NUMBER,
    "entry_checkpoint": TEXT | NOTHING,
    "exit_checkpoint": TEXT | NOTHING,
    "step": frozenset({int}),
    "error": TEXT,
}

_readable = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_escaped = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


def to_micros(instant: datetime) -> int:
    """Return whole microseconds since 1970."""
    return (instant - _UNIX_EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the instant, in UTC."""
    return _UNIX_EPOCH + timedelta(microseconds=micros)


def to_json(value: JSON) -> str:
    """Return compact JSON that every database keeps as it is."""
    text = _readable(value)
    return text if text.isascii() or _is_unicode(text) else _escaped(value)


def optional_json(value: JSON) -> str | None:
    """Return compact JSON, or None for None, which a database tells apart from any JSON."""
    return None if value is None else to_json(value)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# -- attempts ----------------------------------------------------------------------------------------------------


def attempt_row(batch_id: str, result: AttemptResult, final: bool) -> Values:
    """Return the row of one attempt. Raises ``StoreError`` if the result holds what JSON cannot say."""
    try:
        return {
            "batch_id": batch_id,
            "ordinal": result.ordinal,
            "attempt": result.attempt,
            "final": final,
            "trial_id": plain_text(result.trial_id),
            "combination": plain_text(result.combination),
            "case_name": plain_text(result.case),
            "repeat": result.repeat,
            "epoch": result.epoch,
            "outcome": str(result.outcome),
            "reason": plain_text(result.reason),
            "message": plain_text(result.message),
            "started_at": to_micros(result.started_at),
            "ended_at": to_micros(result.ended_at),
            "duration_seconds": result.duration_seconds,
            "score": result.score,
            "weight": result.weight,
            "metrics": to_json(result.metrics) if result.metrics else "{}",
            "scores": to_json([_score(score) for score in result.scores]) if result.scores else "[]",
            "boundaries": to_json([_boundary(boundary) for boundary in result.boundaries]),
            "output": optional_json(result.output),
            "output_digest": plain_text(result.output_digest),
            "thread_id": plain_text(result.thread_id),
            "worker": plain_text(result.worker),
        }
    except (TypeError, ValueError, RecursionError) as err:
        raise StoreError(
            f"store: the result of trial {result.trial_id!r}, attempt {result.attempt}, is no JSON: {err}"
        ) from err


@as_written(attempts, lambda row: f"the row of trial {row['trial_id']} in batch {row['batch_id']}")
def attempt_from(row: Row) -> AttemptResult:
    """Return the attempt that a row holds. Raises ``RecordDamaged`` if it was changed."""
    return AttemptResult(
        trial_id=row["trial_id"],
        ordinal=row["ordinal"],
        combination=row["combination"],
        case=row["case_name"],
        repeat=row["repeat"],
        attempt=row["attempt"],
        epoch=row["epoch"],
        outcome=Outcome(row["outcome"]),
        reason=row["reason"],
        message=row["message"],
        started_at=from_micros(row["started_at"]),
        ended_at=from_micros(row["ended_at"]),
        duration_seconds=row["duration_seconds"],
        score=row["score"],
        weight=row["weight"],
        metrics=numbers("metrics", parsed("metrics", row["metrics"], dict)),
        scores=tuple(map(_score_from, parsed("scores", row["scores"], list))),
        boundaries=tuple(map(_boundary_from, parsed("boundaries", row["boundaries"], list))),
        output=None if row["output"] is None else parsed("output", row["output"], object),
        output_digest=row["output_digest"],
        thread_id=row["thread_id"],
        worker=row["worker"],
    )


# Written out by hand, because dataclasses.asdict copies deeply and costs five times as much on the hot path.
def _score(score: EvaluatorScore) -> Values:
    return {
        "evaluator": score.evaluator,
        "score": score.score,
        "weight": score.weight,
        "metrics": dict(score.metrics),
        "error": score.error,
    }


def _boundary(boundary: NodeBoundary) -> Values:
    return {
        "node": boundary.node,
        "status": boundary.status,
        "duration_seconds": boundary.duration_seconds,
        "entry_checkpoint": boundary.entry_checkpoint,
        "exit_checkpoint": boundary.exit_checkpoint,
        "step": boundary.step,
        "error": boundary.error,
    }


def _score_from(fields: JSON) -> EvaluatorScore:
    score = EvaluatorScore(**fields)
    check_kinds(fields, _SCORE_KINDS)
    numbers("metrics", score.metrics)
    return score


def _boundary_from(fields: JSON) -> NodeBoundary:
    boundary = NodeBoundary(**fields)
    check_kinds(fields, _BOUNDARY_KINDS)
    return boundary


# -- audit entries -----------------------------------------------------------------------------------------------


def entry_row(sealed: SealedEntry) -> Values:
    """Return the row of one sealed entry."""
    entry = sealed.entry
    return {
        "batch_id": entry.batch_id,
        "seq": sealed.seq,
        "at": to_micros(entry.at),
        "type": str(entry.type),
        "severity": str(entry.severity),
        "message": entry.message,
        "epoch": entry.epoch,
        "trial_id": entry.trial_id,
        "attempt": entry.attempt,
        "source": entry.source,
        "details": to_json(entry.details) if entry.details else "{}",
        "previous": sealed.previous,
        "hash": sealed.hash,
    }


@as_written(audit_entries, lambda row: f"entry {row['seq']} of the audit trail of batch {row['batch_id']}")
def entry_from(row: Row) -> SealedEntry:
    """Return the sealed entry that a row holds. Raises ``RecordDamaged`` if it was changed."""
    return SealedEntry(
        seq=row["seq"],
        entry=AuditEntry(
            at=from_micros(row["at"]),
            type=EventType(row["type"]),
            severity=Severity(row["severity"]),
            message=row["message"],
            batch_id=row["batch_id"],
            epoch=row["epoch"],
            trial_id=row["trial_id"],
            attempt=row["attempt"],
            source=row["source"],
            details=parsed("details", row["details"], dict),
        ),
        previous=row["previous"],
        hash=row["hash"],
    )


# -- batches -----------------------------------------------------------------------------------------------------


def batch_row(record: BatchRecord) -> Values:
    """Return the row of one batch, without its documents."""
    row = asdict(replace(record, spec=None, status=None))
    del row["spec"], row["status"]
    for name in ("accepted_at", "deadline_at", "started_at", "completed_at", "audit_pruned_at"):
        row[name] = None if row[name] is None else to_micros(row[name])
    for name in ("name", "base", "phase", "reason", "message"):
        row[name] = plain_text(row[name])
    row["audit_retention_days"] = _retention_days(record.spec)
    return row


@as_written(sessions, lambda row: f"session {row['epoch']} of batch {row['batch_id']}")
def open_session_from(row: Row) -> OpenSession:
    """Return the session that a row holds. Raises ``RecordDamaged`` if it was changed."""
    return OpenSession(
        batch_id=row["batch_id"],
        epoch=row["epoch"],
        owner=Owner(row["host"], row["pid"], row["started"]),
        opened_at=from_micros(row["opened_at"]),
        heard_at=from_micros(row["heartbeat_at"]),
    )


def environment_row(environment: EnvironmentRecord) -> Values:
    """Return the row of one place."""
    row: Values = asdict(environment)
    for name in _MOMENTS:
        row[name] = None if row[name] is None else to_micros(row[name])
    for name in ("name", "identity", "reason", "message"):
        row[name] = plain_text(row[name])
    return row | {"state": environment.state.value}


@as_written(environments, lambda row: f"place {row['attempt']} of batch {row['batch_id']}")
def environment_from(row: Row) -> EnvironmentRecord:
    """Return the place that a row holds. Raises ``RecordDamaged`` if it was changed."""
    fields: Values = dict(row)
    for name in _MOMENTS:
        fields[name] = None if fields[name] is None else from_micros(fields[name])
    return EnvironmentRecord(**{**fields, "state": EnvironmentState(fields["state"])})


def batch_changes(update: BatchUpdate) -> Values:
    """Return the columns that an update changes; its status is in another table."""
    changes = {
        "phase": str(update.phase),
        "reason": plain_text(update.reason),
        "message": plain_text(update.message),
    }
    instants = {"started_at": update.started_at, "completed_at": update.completed_at}
    return changes | {name: to_micros(instant) for name, instant in instants.items() if instant is not None}


@as_written(batches, lambda row: f"the row of batch {row['id']}")
def batch_from(row: Row) -> BatchRecord:
    """Return the batch that a row holds, joined with its documents or without. Raises ``RecordDamaged``."""
    for name in ("total", "epoch", "audit_entries", "audit_dropped"):
        if row[name] < 0:
            raise ValueError(f"{name} is {row[name]}")
    if "\0" in row["base"]:
        raise ValueError("base is no path")
    spec, status = row.get("spec"), row.get("status")
    return BatchRecord(
        id=row["id"],
        name=row["name"],
        spec=None if spec is None else parsed("spec", spec, dict),
        spec_digest=row["spec_digest"],
        base=row["base"],
        total=row["total"],
        accepted_at=from_micros(row["accepted_at"]),
        deadline_at=from_micros(row["deadline_at"]),
        phase=Phase(row["phase"]),
        reason=row["reason"],
        message=row["message"],
        started_at=_instant(row["started_at"]),
        completed_at=_instant(row["completed_at"]),
        status=None if status is None else parsed("status", status, dict),
        epoch=row["epoch"],
        audit_head=row["audit_head"],
        audit_entries=row["audit_entries"],
        audit_dropped=row["audit_dropped"],
        audit_pruned_at=_instant(row["audit_pruned_at"]),
    )


def readable(read: Read[T], found: Iterable[Row], damaged: list[RecordDamaged] | None) -> list[T]:
    """Return what rows hold; those that cannot be read go to ``damaged``, or the first one is raised."""
    made = []
    for row in found:
        try:
            made.append(read(row))
        except RecordDamaged as err:
            if damaged is None:
                raise
            damaged.append(err)
    return made


def listed_from(row: Row) -> BatchRecord:
    """Return the batch that a row holds, joined with its documents; ``documented`` is None without them."""
    if row["documented"] is None:
        raise RecordDamaged.of(f"batch {row['id']}", "its specification is missing")
    return batch_from(row)


def outcome_from(batch_id: str, text: str) -> Outcome:
    """Return the outcome that a column of a batch's results names. Raises ``RecordDamaged``."""
    try:
        return Outcome(text)
    except ValueError as err:
        raise RecordDamaged.of(f"a result of batch {batch_id}", err) from err


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _retention_days(spec: JSON) -> int:
    try:
        days = spec["spec"]["audit"]["retentionDays"]
    except (KeyError, TypeError):
        return _DEFAULT_RETENTION_DAYS
    return int(days)
