"""Results as the JSON document that ``--output json`` prints, trial by trial, so that memory stays flat.

Not for text (``tables``). Every value is plain JSON: what is not finite becomes null.
"""

from __future__ import annotations

import json
import math
import sys
from datetime import UTC
from typing import TYPE_CHECKING

from batchyard.engine.carrying import origin_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from batchyard.engine.ports import BatchRecord
    from batchyard.judge.lost_trials import Regressions
    from batchyard.model.status import BatchStatus, Condition, StatusModel
    from batchyard.model.trial import JSON, AttemptResult, EvaluatorScore, NodeBoundary


def print_json(document: JSON) -> None:
    """Print one small document, for people as well."""
    sys.stdout.write(_text(document, indent=2) + "\n")


def print_batch(
    record: BatchRecord,
    status: BatchStatus,
    trials: Iterable[AttemptResult] | None,
    *,
    conditions: Sequence[Condition] = (),
    regressions: Regressions | None = None,
) -> None:
    """Print the document of a batch, with a line for each trial; what is None or empty is left out."""
    variants = {row.name: row.variants for row in status.combinations}
    write = sys.stdout.write
    write(f'{{"batch": {_text(batch_json(record))},\n"counts": {_text(_model(status.trials))}')
    if trials is not None:
        print_list("trials", (trial_json(result, variants, record.id) for result in trials))
    for name, value in {**summary_json(record, status), **_regressions_json(regressions)}.items():
        write(f',\n"{name}": {_text(value)}')
    if conditions:
        print_list("conditions", map(_model, conditions))
    write("}\n")


def print_comparison(
    record: BatchRecord,
    status: BatchStatus,
    cells: Iterable[JSON],
    statistics: Mapping[str, JSON],
    regressions: Regressions | None = None,
) -> None:
    """Print the document of a comparison, with a line for each cell of combination x case."""
    sys.stdout.write(f'{{"batch": {_text(batch_json(record))}')
    print_list("matrix", cells)
    for name, value in {**statistics, **summary_json(record, status), **_regressions_json(regressions)}.items():
        sys.stdout.write(f',\n"{name}": {_text(value)}')
    sys.stdout.write("}\n")


def print_list(name: str, items: Iterable[JSON]) -> None:
    """Print one field of a document that is already begun: a list, an item a line, written as it comes."""
    write = sys.stdout.write
    write(f',\n"{name}": [')
    separator = "\n"
    for item in items:
        write(f"{separator}  {_text(item)}")
        separator = ",\n"
    write("]")


def compact(value: JSON) -> str:
    """Return a value as JSON on one line, for people."""
    return json.dumps(value, ensure_ascii=False, default=str)


def summary_json(record: BatchRecord, status: BatchStatus) -> dict[str, JSON]:
    """Return all of the document that sums the batch up."""
    compared = {"parity": _model(status.parity)} if status.parity else {}
    return {
        "combinations": [_model(row) for row in status.combinations],
        "best": status.best and _model(status.best),
        "gate": status.gate and _model(status.gate),
        **compared,
        "failures": [_model(row) for row in status.failures],
        "audit": {"entries": record.audit_entries, "dropped": record.audit_dropped, "head": record.audit_head},
    }


def batch_json(record: BatchRecord) -> dict[str, JSON]:
    """Return the batch itself."""
    return {
        "id": record.id,
        "name": record.name,
        "phase": record.phase.value,
        "reason": record.reason,
        "message": record.message,
        "total": record.total,
        "acceptedTime": instant(record.accepted_at),
        "deadlineTime": instant(record.deadline_at),
        "startTime": instant(record.started_at),
        "completionTime": instant(record.completed_at),
    }


def trial_json(result: AttemptResult, variants: Mapping[str, Mapping[str, str]], batch_id: str = "") -> dict[str, JSON]:
    """Return one attempt of a trial; ``variants`` has the choices of every combination by name.

    One that another batch than ``batch_id`` ran says so.
    """
    origin = origin_of(result, batch_id) if batch_id else ""
    return {
        "id": result.trial_id,
        "combination": variants.get(result.combination, {}),
        "case": result.case,
        "repeat": result.repeat,
        "attempt": result.attempt,
        "outcome": result.outcome.value,
        "reason": result.reason,
        "message": result.message,
        "score": result.score,
        "metrics": result.metrics,
        "durationSeconds": round(result.duration_seconds, 6),
        "startTime": instant(result.started_at),
        "completionTime": instant(result.ended_at),
        "nodes": [boundary.node for boundary in result.boundaries],
        **({"carriedFrom": origin} if origin else {}),
    }


def attempt_json(result: AttemptResult, variants: Mapping[str, Mapping[str, str]], files: str) -> dict[str, JSON]:
    """Return everything that is kept of one attempt; ``files`` is its kept folder, or empty."""
    return {
        **trial_json(result, variants),
        "weight": result.weight,
        "scores": [_score_json(score) for score in result.scores],
        "boundaries": [_boundary_json(boundary) for boundary in result.boundaries],
        "output": result.output,
        "outputDigest": result.output_digest,
        "threadId": result.thread_id,
        "worker": result.worker,
        "files": files,
    }


def instant(moment: datetime | None) -> str | None:
    """Return a moment as RFC 3339 in UTC, None for none."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _model(part: StatusModel) -> JSON:
    return part.model_dump(mode="json", by_alias=True)


def _regressions_json(found: Regressions | None) -> dict[str, JSON]:
    return {} if found is None else {"regressions": found.to_json()}


def _score_json(score: EvaluatorScore) -> dict[str, JSON]:
    return {
        "evaluator": score.evaluator,
        "score": score.score,
        "weight": score.weight,
        "metrics": dict(score.metrics),
        "error": score.error,
    }


def _boundary_json(boundary: NodeBoundary) -> dict[str, JSON]:
    return {
        "node": boundary.node,
        "status": boundary.status,
        "durationSeconds": boundary.duration_seconds,
        "step": boundary.step,
        "entryCheckpoint": boundary.entry_checkpoint,
        "exitCheckpoint": boundary.exit_checkpoint,
        "error": boundary.error,
    }


def _text(value: JSON, indent: int | None = None) -> str:
    # Plain ASCII: it can be written whatever the encoding of standard output is.
    try:
        return json.dumps(value, allow_nan=False, indent=indent)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, indent=indent)


def _finite(value: JSON) -> JSON:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
