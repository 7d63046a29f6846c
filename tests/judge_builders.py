"""Build what the judge is given, with only the facts that a test is about."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from batchyard.judge import Comparison, ComparisonBuilder, Observed
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.trial import JSON, AttemptResult, Combination

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_START = datetime(2026, 1, 1, tzinfo=UTC)


def an_observation(
    output: Mapping[str, JSON] | None = None,
    *,
    expected: JSON = None,
    metrics: Mapping[str, float] | None = None,
    seconds: float = 1.0,
) -> Observed:
    return Observed(
        output=output or {},
        expected=expected,
        input={"question": "why?"},
        metrics=metrics or {},
        duration_seconds=seconds,
        case="case-1",
        combination="a",
        variants={"reader": "best"},
    )


def a_result(
    combination: str = "a",
    outcome: Outcome = Outcome.PASSED,
    *,
    score: float | None = None,
    weight: float = 1.0,
    seconds: float = 1.0,
    metrics: Mapping[str, float] | None = None,
    reason: str | None = None,
) -> AttemptResult:
    """Return a final result; one that failed with a score was, unless told otherwise, below the threshold."""
    if reason is None:
        scored_failure = outcome is Outcome.FAILED and score is not None
        reason = Reason.BELOW_THRESHOLD if scored_failure else Reason.NONE
    return AttemptResult(
        trial_id=f"{combination}/case-1/0",
        ordinal=0,
        combination=combination,
        case="case-1",
        repeat=0,
        attempt=1,
        epoch=1,
        outcome=outcome,
        reason=reason,
        message="",
        started_at=_START,
        ended_at=_START + timedelta(seconds=1),
        duration_seconds=seconds,
        score=score,
        weight=weight,
        metrics=metrics or {},
    )


def compare(results: Iterable[AttemptResult], names: Sequence[str] = ("a", "b")) -> Comparison:
    builder = ComparisonBuilder([Combination(name, {"reader": name}) for name in names])
    for result in results:
        builder.add(result)
    return builder.build()


def as_bytes(comparison: Comparison) -> bytes:
    return json.dumps(comparison.to_json(), allow_nan=False).encode()
