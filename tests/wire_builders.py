"""Messages between worker and operator for the tests: plain ones, and strategies for any."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from batchyard.model.audit import AuditEntry
from batchyard.model.errors import Fault
from batchyard.model.events import Severity
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.trial import AttemptResult, EvaluatorScore, NodeBoundary
from batchyard.model.wire import Directive, Done, Hello, Manifest, Receipt, Segment
from batchyard.model.wire_checks import FOREIGN_SOURCES, WORKER_EVENTS

if TYPE_CHECKING:
    from batchyard.model.trial import JSON

STOPS = (
    Reason.NONE,
    Reason.BATCH_BUDGET_EXCEEDED,
    Reason.BATCH_DEADLINE_EXCEEDED,
    Reason.CANCELLED,
    Reason.DECIDED_EARLY,
    Reason.ENVIRONMENT_FAILED,
    Reason.FAIL_FAST,
    Reason.INTERRUPTED,
    Reason.SUSPENDED,
    Reason.WORKFLOW_INVALID,
)


def through_json(document: JSON) -> Any:
    """Return what the other end reads."""
    return json.loads(json.dumps(document))


short = st.text(st.characters(codec="utf-8"), max_size=30)
number = st.floats(allow_nan=False, allow_infinity=False)
count = st.integers(0, 10_000_000)
moment = st.datetimes(datetime(1970, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
json_value = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | number | short,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short, inner, max_size=3),
    max_leaves=8,
)
metrics = st.dictionaries(short, number, max_size=3)

boundaries = st.builds(
    NodeBoundary,
    node=short,
    status=short,
    duration_seconds=number,
    entry_checkpoint=st.none() | short,
    exit_checkpoint=st.none() | short,
    step=st.integers(0, 1_000_000),
    error=short,
)
scores = st.builds(
    EvaluatorScore, evaluator=short, score=st.none() | number, weight=number, metrics=metrics, error=short
)
results = st.builds(
    AttemptResult,
    trial_id=short,
    ordinal=count,
    combination=short,
    case=short,
    repeat=count,
    attempt=st.integers(1, 1_000_000),
    epoch=count,
    outcome=st.sampled_from(Outcome),
    reason=short,
    message=short,
    started_at=moment,
    ended_at=moment,
    duration_seconds=number,
    score=st.none() | number,
    weight=number,
    metrics=metrics,
    scores=st.lists(scores, max_size=2).map(tuple),
    boundaries=st.lists(boundaries, max_size=2).map(tuple),
    output=json_value,
    output_digest=short,
    thread_id=short,
    worker=short,
)
entries = st.builds(
    AuditEntry,
    at=moment,
    type=st.sampled_from(sorted(WORKER_EVENTS)),
    severity=st.sampled_from(Severity),
    message=short,
    batch_id=short,
    epoch=count,
    trial_id=short,
    attempt=count,
    source=short.filter(lambda source: source not in FOREIGN_SOURCES),
    details=st.dictionaries(short, json_value, max_size=2),
)
hellos = st.builds(Hello, protocol=st.integers(), version=short, python=short, ray=short)
faults = st.builds(Fault, path=short, value=short, message=short, remedy=short)
dones = st.builds(Done, stop=st.sampled_from(STOPS), message=short, faults=st.lists(faults, max_size=2).map(tuple))
segments = st.builds(
    Segment,
    results=st.lists(st.tuples(results, st.booleans()), max_size=2).map(tuple),
    entries=st.lists(entries, max_size=2).map(tuple),
    dropped=count,
    running=count,
    retried=count,
    abandoned=count,
    hello=st.none() | hellos,
    done=st.none() | dones,
    kills=st.dictionaries(st.sampled_from(["TERM", "KILL"]), count),
    overruns=st.lists(st.tuples(st.sampled_from(["batch", "trial", "node"]), number), max_size=3).map(tuple),
)
receipts = st.builds(Receipt, next=st.integers(1, 10**9), directive=st.sampled_from(Directive))
manifests = st.builds(
    Manifest,
    protocol=st.integers(),
    batch_id=short,
    name=short,
    attempt=st.integers(1, 1_000_000),
    document=json_value,
    deadline_at=moment,
    finished=st.lists(st.tuples(count, count), max_size=3).map(tuple),
    attempts=st.dictionaries(count, st.integers(1, 1_000_000), max_size=3),
    errors=st.dictionaries(count, st.integers(1, 1_000_000), max_size=3),
    used=st.dictionaries(short, number, max_size=3),
    runner=short,
    forks=st.dictionaries(count, st.tuples(short, short, short), max_size=2),
    came_to=st.dictionaries(count, st.tuples(st.sampled_from(Outcome), st.none() | number), max_size=3),
)


def a_wire_result(ordinal: int = 0, **changes: Any) -> AttemptResult:
    """Return a plain result that a worker could send of its first trial."""
    at = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    fields: dict[str, Any] = {
        "trial_id": "left/one/0",
        "ordinal": ordinal,
        "combination": "left",
        "case": "one",
        "repeat": 0,
        "attempt": 1,
        "epoch": 1,
        "outcome": Outcome.PASSED,
        "reason": "",
        "message": "",
        "started_at": at,
        "ended_at": at,
        "duration_seconds": 0.25,
        "output": {"answer": 42},
        "output_digest": "5" * 64,
        "thread_id": "b/left/one/0#1@1",
        "worker": "e1-s0",
    }
    return AttemptResult(**{**fields, **changes})
