"""Batches, results and entries with something in every field, for tests of what a store keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from batchyard.engine.ports import BatchRecord, BatchStore, Owner, Session
from batchyard.engine.sources import digest_of
from batchyard.model.audit import AuditEntry
from batchyard.model.events import EventType, Severity
from batchyard.model.outcome import Outcome
from batchyard.model.trial import AttemptResult, EvaluatorScore, NodeBoundary

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchyard.model.trial import JSON

T0 = datetime(2026, 3, 1, 12, 30, 15, 123457, tzinfo=UTC)
"""An instant whose microseconds no shorter spelling keeps."""

OWNER, OTHER = Owner(host="here", pid=4711, started="1"), Owner(host="there", pid=4711, started="2")


def a_spec(name: str = "docs-search", *, days: int = 30, cases: int = 10) -> dict[str, JSON]:
    """Return a whole BatchTest of so many trials that keeps its trail for so many days."""
    return {
        "apiVersion": "batchyard.dev/v1alpha1",
        "kind": "BatchTest",
        "metadata": {"name": name},
        "spec": {
            "description": "größer 🙂",
            "workflow": {"factory": "docs_search.graph:build", "source": {"path": "."}},
            "variants": {"include": [{"name": "bm25-first", "variants": {"retriever": "bm25"}}]},
            "cases": [{"name": f"case-{number}", "input": {}, "weight": 2.0} for number in range(cases)],
            "repeats": 1,
            "audit": {"retentionDays": days},
        },
    }


def a_batch(batch_id: str = "b1", name: str = "docs-search", *, minutes: int = 0) -> BatchRecord:
    """Return a batch accepted so many minutes after ``T0``."""
    return BatchRecord(
        id=batch_id,
        name=name,
        spec=a_spec(name),
        spec_digest=digest_of(a_spec(name)),
        base="/somewhere",
        total=10,
        accepted_at=T0 + timedelta(minutes=minutes),
        deadline_at=T0 + timedelta(minutes=minutes, hours=1),
    )


def a_result(ordinal: int = 0, attempt: int = 1, outcome: Outcome = Outcome.PASSED, *, epoch: int = 1) -> AttemptResult:
    """Return an attempt with something in every field."""
    return AttemptResult(
        trial_id=f"bm25-first/case-{ordinal}/0",
        ordinal=ordinal,
        combination="bm25-first",
        case=f"case-{ordinal}",
        repeat=0,
        attempt=attempt,
        epoch=epoch,
        outcome=outcome,
        reason="",
        message="naïve 🙂",
        started_at=T0,
        ended_at=T0 + timedelta(microseconds=1),
        duration_seconds=0.1 + 0.2,
        score=1 / 3,
        weight=2.0,
        metrics={"latency": 0.1, "tokens": 12},
        scores=(
            EvaluatorScore("exactMatch", 1.0, 2.0, {"distance": 0.5}),
            EvaluatorScore("latency", None, error="no duration"),
        ),
        boundaries=(
            NodeBoundary("retrieve", "completed", 0.01, None, "c1", 0),
            NodeBoundary("read", "failed", 0.02, "c1", None, 1, "boom"),
        ),
        output={"answer": "größer", "n": [1, 2.5, None, True], "deep": {"a": {}}},
        output_digest="a" * 64,
        thread_id="b1/0#1",
        worker="w-1",
    )


def an_entry(number: int = 0, batch_id: str = "b1") -> AuditEntry:
    """Return an entry that can be told from others by its message."""
    return AuditEntry(
        at=T0 + timedelta(microseconds=number),
        type=EventType.TRIAL_PASSED,
        severity=Severity.SUCCESS,
        message=f"entry {number}: größer",
        batch_id=batch_id,
        epoch=1,
        trial_id="bm25-first/case-0/0",
        attempt=1,
        details={"score": 0.25, "b": [1, {"z": None, "a": "x"}], "a": -0.0, "large": 1e22},
    )


def a_running_batch(store: BatchStore, batch_id: str = "b1") -> Session:
    """Create a batch in the store and return its first session."""
    store.create_batch(a_batch(batch_id))
    return store.open_session(batch_id, OWNER, T0)


def expect(holds: bool, otherwise: str) -> None:
    """Fail with a sentence unless something holds."""
    if not holds:
        raise AssertionError(otherwise)


def refused(kind: type[Exception], call: Callable[[], object]) -> None:
    """Fail unless the call raises this kind of error."""
    try:
        call()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")
