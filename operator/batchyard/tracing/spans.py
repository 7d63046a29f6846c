"""What spans a batch and an attempt have, as plain data. Pure; not for how they are sent (``exporting``)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from batchyard.decide.prefixes import own_part, own_seconds
from batchyard.model.outcome import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from batchyard.engine.ports import BatchRecord
    from batchyard.model.trial import AttemptResult, NodeBoundary

_TRACE_BYTES, _SPAN_BYTES = 16, 8
_FAILED = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.ERRORED})


@dataclass(frozen=True, slots=True)
class Span:
    """One piece of work. ``parent_id`` is None for a batch; ``failed`` is None where neither can be said."""

    name: str
    trace_id: int
    span_id: int
    parent_id: int | None
    begun: datetime
    ended: datetime
    attributes: Mapping[str, str | int | float]
    failed: bool | None = None
    why: str = ""


def trace_id(batch_id: str) -> int:
    """Return the id of a batch's trace, the same in every process."""
    return _id(_TRACE_BYTES, batch_id)


def span_id(batch_id: str, *parts: object) -> int:
    """Return the id of a span of the batch's trace; without further parts, of the batch itself."""
    return _id(_SPAN_BYTES, batch_id, *parts)


def spans_of_batch(record: BatchRecord, at: datetime, *, verdict: str, reason: str) -> Sequence[Span]:
    """Return the span of a batch that ended ``at``."""
    attributes: dict[str, str | int | float] = {
        "batchyard.batch": record.id,
        "batchyard.name": record.name,
        "batchyard.trials": record.total,
        "batchyard.verdict": verdict,
    }
    if reason:
        attributes["batchyard.reason"] = reason
    failed = {Verdict.SUCCEEDED.value: False, Verdict.FAILED.value: True}.get(verdict)
    return [
        Span(
            f"batch {record.name}", trace_id(record.id), span_id(record.id), None, record.accepted_at, at, attributes,
            failed, reason,
        )
    ]  # fmt: skip


def spans_of_attempt(result: AttemptResult, batch_id: str) -> Sequence[Span]:
    """Return the span of an attempt, and one of each node that ran in it."""
    own = span_id(batch_id, result.trial_id, result.attempt, result.epoch)
    about: dict[str, str | int | float] = {
        "batchyard.batch": batch_id,
        "batchyard.trial": result.trial_id,
        "batchyard.attempt": result.attempt,
    }
    attributes = {
        **about,
        "batchyard.combination": result.combination,
        "batchyard.case": result.case,
        "batchyard.repeat": result.repeat,
        "batchyard.session": result.epoch,
        "batchyard.outcome": result.outcome.value,
    }
    attributes |= {
        f"batchyard.{name}": value for name, value in (("reason", result.reason), ("worker", result.worker)) if value
    }
    failed = True if result.outcome in _FAILED else False if result.outcome is Outcome.PASSED else None
    ended = result.started_at + timedelta(seconds=max(0.0, own_seconds(result)))
    attempt = Span(
        f"trial {result.trial_id}", trace_id(batch_id), own, span_id(batch_id), result.started_at, ended, attributes,
        failed, result.reason,
    )  # fmt: skip
    return [attempt, *_nodes(result, attempt, about)]


def _nodes(result: AttemptResult, attempt: Span, about: Mapping[str, str | int | float]) -> Iterator[Span]:
    """Yield a span of each node.

    How long it took is measured. When it began follows from that: the nodes of a step begin together, as the step
    before has ended.
    """
    begun = attempt.begun
    numbered = enumerate(own_part(result))
    for _, step in groupby(numbered, key=lambda pair: pair[1].step):
        last = begun
        for number, node in step:
            ended = min(attempt.ended, begun + timedelta(seconds=max(0.0, node.duration_seconds)))
            last = max(last, ended)
            attributes = {
                **about,
                "batchyard.node": node.node,
                "batchyard.step": node.step,
                "batchyard.status": node.status,
            }
            yield Span(
                f"node {node.node}", attempt.trace_id, _id(_SPAN_BYTES, attempt.span_id, number), attempt.span_id,
                min(begun, ended), ended, attributes, _node_failed(node, attempt), "",
            )  # fmt: skip
        begun = last


def _node_failed(node: NodeBoundary, attempt: Span) -> bool | None:
    match node.status:
        case "completed":
            return False
        case "failed":
            return True
        case "running":  # the attempt was ended in it
            return attempt.failed
        case _:
            return None


def _id(size: int, *parts: object) -> int:
    digest = hashlib.sha256("\n".join(["batchyard", *map(str, parts)]).encode()).digest()
    # Zero is no id at all in the protocol.
    return int.from_bytes(digest[:size], "big") or 1
