"""Turns the model's data into rows and back.

Not for SQL. Everything that a database would refuse is settled here (NUL characters, halves of surrogate pairs, what
JSON cannot say), because one such value would block the whole group of results it is written with.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from batchyard.engine.ports import BatchRecord, BatchUpdate, OpenSession, Owner
from batchyard.model.audit import AuditEntry, SealedEntry
from batchyard.model.errors import RecordDamaged, StoreError
from batchyard.model.events import EventType, Severity
from batchyard.model.outcome import Outcome, Phase
from batchyard.model.plain_json import plain_text
from batchyard.model.trial import JSON, AttemptResult, EvaluatorScore, NodeBoundary

if TYPE_CHECKING:
    from sqlalchemy.engine import RowMapping

Row: TypeAlias = dict[str, Any]

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DEFAULT_RETENTION_DAYS = 30

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


def attempt_row(batch_id: str, result: AttemptResult, final: bool) -> Row:
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


def attempt_from(row: RowMapping) -> AttemptResult:
    """Return the attempt that a row holds. Raises ``RecordDamaged`` if it was changed."""
    try:
        return _attempt_from(row)
    except (ValueError, TypeError) as err:
        raise RecordDamaged(
            f"store: the row of trial {row['trial_id']} in batch {row['batch_id']} was changed or damaged: {err}"
        ) from err


def _attempt_from(row: RowMapping) -> AttemptResult:
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
        metrics=json.loads(row["metrics"]),
        scores=tuple(EvaluatorScore(**fields) for fields in json.loads(row["scores"])),
        boundaries=tuple(NodeBoundary(**fields) for fields in json.loads(row["boundaries"])),
        output=None if row["output"] is None else json.loads(row["output"]),
        output_digest=row["output_digest"],
        thread_id=row["thread_id"],
        worker=row["worker"],
    )


# Written out by hand, because dataclasses.asdict copies deeply and costs five times as much on the hot path.
def _score(score: EvaluatorScore) -> Row:
    return {
        "evaluator": score.evaluator,
        "score": score.score,
        "weight": score.weight,
        "metrics": dict(score.metrics),
        "error": score.error,
    }


def _boundary(boundary: NodeBoundary) -> Row:
    return {
        "node": boundary.node,
        "status": boundary.status,
        "duration_seconds": boundary.duration_seconds,
        "entry_checkpoint": boundary.entry_checkpoint,
        "exit_checkpoint": boundary.exit_checkpoint,
        "step": boundary.step,
        "error": boundary.error,
    }


# -- audit entries -----------------------------------------------------------------------------------------------


def entry_row(sealed: SealedEntry) -> Row:
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


def entry_from(row: RowMapping) -> SealedEntry:
    """Return the sealed entry that a row holds. Raises ``RecordDamaged`` if it was changed."""
    try:
        return _entry_from(row)
    except (ValueError, TypeError) as err:
        raise RecordDamaged(
            f"store: entry {row['seq']} of the audit trail of batch {row['batch_id']} was changed or damaged: {err}"
        ) from err


def _entry_from(row: RowMapping) -> SealedEntry:
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
            details=json.loads(row["details"]),
        ),
        previous=row["previous"],
        hash=row["hash"],
    )


# -- batches -----------------------------------------------------------------------------------------------------


def batch_row(record: BatchRecord) -> Row:
    """Return the row of one batch, without its documents."""
    row = asdict(replace(record, spec=None, status=None))
    del row["spec"], row["status"]
    for name in ("accepted_at", "deadline_at", "started_at", "completed_at", "audit_pruned_at"):
        row[name] = None if row[name] is None else to_micros(row[name])
    for name in ("name", "base", "phase", "reason", "message"):
        row[name] = plain_text(row[name])
    row["audit_retention_days"] = _retention_days(record.spec)
    return row


def open_session_from(row: RowMapping) -> OpenSession:
    """Return the session that a row holds."""
    return OpenSession(
        batch_id=row["batch_id"],
        epoch=row["epoch"],
        owner=Owner(row["host"], row["pid"], row["started"]),
        opened_at=from_micros(row["opened_at"]),
        heard_at=from_micros(row["heartbeat_at"]),
    )


def batch_changes(update: BatchUpdate) -> Row:
    """Return the columns that an update changes; its status is in another table."""
    changes = {
        "phase": str(update.phase),
        "reason": plain_text(update.reason),
        "message": plain_text(update.message),
    }
    instants = {"started_at": update.started_at, "completed_at": update.completed_at}
    return changes | {name: to_micros(instant) for name, instant in instants.items() if instant is not None}


def batch_from(row: RowMapping) -> BatchRecord:
    """Return the batch that a row holds, joined with its documents or without."""
    spec, status = row.get("spec"), row.get("status")
    return BatchRecord(
        id=row["id"],
        name=row["name"],
        spec=None if spec is None else json.loads(spec),
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
        status=None if status is None else json.loads(status),
        epoch=row["epoch"],
        audit_head=row["audit_head"],
        audit_entries=row["audit_entries"],
        audit_dropped=row["audit_dropped"],
        audit_pruned_at=_instant(row["audit_pruned_at"]),
    )


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _retention_days(spec: JSON) -> int:
    try:
        days = spec["spec"]["audit"]["retentionDays"]
    except (KeyError, TypeError):
        return _DEFAULT_RETENTION_DAYS
    return int(days)
