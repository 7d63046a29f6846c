"""What messages between a worker and its operator must look like, and what is wrong with one that does not. Pure.

Not for what they mean, nor for how they are written (``wire``).
"""

from __future__ import annotations

from collections.abc import Iterable  # noqa: TC003 - pydantic reads annotations
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from batchyard.model.errors import BatchyardError
from batchyard.model.events import EventType, Severity
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.trial import JSON

MAX_RESULTS = 2000
MAX_ENTRIES = 10_000
MAX_METRICS = 1000
MAX_FAULTS = 1000
MAX_NAME = 512
"""Characters of what names something."""
MAX_TEXT = 16_384
"""Characters of what tells something to people."""
MAX_DEPTH = 300
"""Levels of a final state; no worker's JSON library writes more."""

WORKER_EVENTS = frozenset(
    {
        EventType.BATCH_STARTED,
        EventType.BATCH_RESUMED,
        EventType.BATCH_INTERRUPTED,
        EventType.TRIAL_PASSED,
        EventType.TRIAL_FAILED,
        EventType.TRIAL_TIMED_OUT,
        EventType.TRIAL_NEEDS_INPUT,
        EventType.TRIAL_CANCELLED,
        EventType.TRIAL_ERRORED,
        EventType.TRIAL_RETRIED,
        EventType.LATE_RESULT,
        EventType.DEADLINE_EXCEEDED,
        EventType.BUDGET_EXCEEDED,
        EventType.DECIDED_EARLY,
        EventType.AUDIT_DROPPED,
        EventType.CHECKPOINT_CREATED,
        EventType.ROLLBACK_PERFORMED,
        EventType.BRANCH_CREATED,
        EventType.BRIDGE_FAILED,
    }
)
"""What a worker may put into the trail: what it saw itself. How a batch ended is not its to say."""

FOREIGN_SOURCES = frozenset({"operator", "kubernetes"})
"""Who saw what no worker can have seen."""


class WireInvalid(BatchyardError):
    """A message is not what the protocol says."""


class Directive(StrEnum):
    """What a worker is to do now."""

    NONE = ""
    CANCEL = "Cancel"
    SUSPEND = "Suspend"


def _no_deeper(value: JSON) -> JSON:
    """Refuse what a database's own writer could not walk through."""
    level: list[JSON] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for one in level if isinstance(one, dict | list) for inner in _inside(one)]
        if not level:
            return value
    raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")


def _inside(value: dict[str, JSON] | list[JSON]) -> Iterable[JSON]:
    return value.values() if isinstance(value, dict) else value


def _seen_by_workers(kind: EventType) -> EventType:
    if kind not in WORKER_EVENTS:
        raise ValueError(f"{kind} is not a worker's to tell")
    return kind


def _no_foreigner(source: str) -> str:
    if source in FOREIGN_SOURCES:
        raise ValueError(f"what {source} saw is not a worker's to tell")
    return source


_Tree = Annotated[Any, AfterValidator(_no_deeper)]
_Short = Annotated[str, StringConstraints(max_length=MAX_NAME)]
_Long = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
_Count = Annotated[int, Field(ge=0, le=10_000_000)]
_Ordinal = Annotated[int, Field(ge=0, le=10_000_000)]
_Number = Annotated[int, Field(ge=1, le=1_000_000)]
_Sequence = Annotated[int, Field(ge=1, le=10**9)]
# What a store gives back, whatever the zone: Python counts from the year 1 to 9999.
_Instant = Annotated[AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC))]
_Float = Annotated[float, Field(allow_inf_nan=False)]
_Metrics = Annotated[dict[_Short, _Float], Field(max_length=MAX_METRICS)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ManifestCheck(_Wire):
    """What a worker is sent."""

    protocol: int
    batch_id: _Short
    name: _Short
    attempt: _Number
    document: JSON
    deadline_at: AwareDatetime
    finished: tuple[tuple[_Ordinal, _Ordinal], ...]
    attempts: dict[int, _Number]
    errors: dict[int, _Number]
    used: _Metrics = Field(default_factory=dict)
    runner: _Short
    forks: dict[int, tuple[_Short, _Short, _Short]] = {}
    came_to: dict[int, tuple[Outcome, _Float | None]] = {}


class _Boundary(_Wire):
    node: _Long
    status: _Short
    duration_seconds: _Float
    entry_checkpoint: _Short | None
    exit_checkpoint: _Short | None
    step: int
    error: _Long


class _Score(_Wire):
    evaluator: _Short
    score: _Float | None
    weight: _Float
    metrics: _Metrics
    error: _Long


class ResultCheck(_Wire):
    """One attempt's end."""

    trial_id: _Short
    ordinal: _Ordinal
    combination: _Short
    case: _Short
    repeat: _Count
    attempt: _Number
    epoch: _Count
    outcome: Outcome
    reason: _Short
    message: _Long
    started_at: _Instant
    ended_at: _Instant
    duration_seconds: _Float
    score: _Float | None
    weight: _Float
    metrics: _Metrics
    scores: Annotated[tuple[_Score, ...], Field(max_length=100)]
    boundaries: Annotated[tuple[_Boundary, ...], Field(max_length=1_000_000)]
    output: _Tree
    output_digest: _Short
    thread_id: _Short
    worker: _Short


class EntryCheck(_Wire):
    """One entry of the audit trail."""

    at: _Instant
    type: Annotated[EventType, AfterValidator(_seen_by_workers)]
    severity: Severity
    message: _Long
    batch_id: _Short
    epoch: _Count
    trial_id: _Short
    attempt: _Count
    source: Annotated[_Short, AfterValidator(_no_foreigner)]
    details: Annotated[dict[str, JSON], AfterValidator(_no_deeper)]


class _Hello(_Wire):
    protocol: int
    version: _Short
    python: _Short
    ray: _Short


class _Fault(_Wire):
    path: _Long
    value: _Long
    message: _Long
    remedy: _Long = ""


class DoneCheck(_Wire):
    """A worker's last word."""

    stop: Literal[
        Reason.NONE, Reason.BATCH_BUDGET_EXCEEDED, Reason.BATCH_DEADLINE_EXCEEDED, Reason.CANCELLED,
        Reason.DECIDED_EARLY, Reason.ENVIRONMENT_FAILED, Reason.FAIL_FAST, Reason.INTERRUPTED, Reason.SUSPENDED,
        Reason.WORKFLOW_INVALID,
    ]  # fmt: skip
    message: _Long
    faults: Annotated[tuple[_Fault, ...], Field(max_length=MAX_FAULTS)]


class SegmentCheck(_Wire):
    """One piece of what happened."""

    results: Annotated[tuple[tuple[ResultCheck, bool], ...], Field(max_length=MAX_RESULTS)]
    entries: Annotated[tuple[EntryCheck, ...], Field(max_length=MAX_ENTRIES)]
    dropped: _Count
    running: _Count
    retried: _Count
    abandoned: _Count = 0
    hello: _Hello | None
    done: DoneCheck | None
    kills: dict[Literal["TERM", "KILL"], _Count]
    overruns: Annotated[
        tuple[tuple[Literal["batch", "trial", "node", "idle"], _Float], ...], Field(max_length=MAX_RESULTS)
    ]


class HeartbeatCheck(_Wire):
    """That a worker lives."""

    running: _Count


class DirectedCheck(_Wire):
    """What a worker is to do."""

    directive: Directive


class ReceiptCheck(DirectedCheck):
    """What was taken, and what a worker is to do."""

    next: _Sequence


_M = TypeVar("_M", bound=BaseModel)


def checked(model: type[_M], document: JSON) -> _M:
    """Return the document as the model has it. Raises ``WireInvalid`` with the first thing that is wrong."""
    try:
        return model.model_validate(document)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        place = ".".join([model.__name__.removesuffix("Check").lower(), *map(str, first["loc"])])
        text = "is no JSON object" if first["type"] == "model_type" else first["msg"].removeprefix("Value error, ")
        raise WireInvalid(f"{place}: {text}") from err
