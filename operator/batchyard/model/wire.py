"""What a worker in a cluster and its operator tell each other, as JSON. Pure.

Checked on the way in, since a worker's pod runs user code and may send anything. Not for HTTP (``kube.http``,
``worker.client``).
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - pydantic reads annotations
from dataclasses import asdict, dataclass, field
from datetime import datetime  # noqa: TC003
from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from batchyard.model.audit import AuditEntry
from batchyard.model.errors import BatchyardError, Fault
from batchyard.model.events import EventType, Severity
from batchyard.model.outcome import Outcome
from batchyard.model.trial import JSON, AttemptResult, EvaluatorScore, NodeBoundary

PROTOCOL = 1
"""Stands in every manifest and every first segment; both ends must have the same."""

MAX_RESULTS = 2000
MAX_ENTRIES = 10_000

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
        EventType.AUDIT_DROPPED,
        EventType.CHECKPOINT_CREATED,
        EventType.ROLLBACK_PERFORMED,
        EventType.BRANCH_CREATED,
        EventType.BRIDGE_FAILED,
    }
)
"""What a worker may put into the trail: what it saw itself. How a batch ended is not its to say."""


class WireInvalid(BatchyardError):
    """A message is not what the protocol says."""


class Directive(StrEnum):
    """What a worker is to do now."""

    NONE = ""
    CANCEL = "Cancel"
    SUSPEND = "Suspend"


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything one attempt at a place has to do.

    ``document`` is the BatchTest with all its cases inline. ``finished`` holds the ordinals that have final results,
    as inclusive ranges; ``attempts`` the newest attempt and ``errors`` the attempts that the place broke, of open
    trials by ordinal. ``runner`` is Threads or Ray.
    """

    protocol: int
    batch_id: str
    name: str
    attempt: int
    document: JSON
    deadline_at: datetime
    finished: tuple[tuple[int, int], ...] = ()
    attempts: Mapping[int, int] = field(default_factory=dict)
    errors: Mapping[int, int] = field(default_factory=dict)
    runner: str = "Threads"

    def to_json(self) -> dict[str, JSON]:
        """Return the manifest as JSON."""
        body = {name: getattr(self, name) for name in self.__slots__}
        return body | {
            "deadline_at": self.deadline_at.isoformat(),
            "finished": [list(pair) for pair in self.finished],
            "attempts": {str(ordinal): number for ordinal, number in self.attempts.items()},
            "errors": {str(ordinal): number for ordinal, number in self.errors.items()},
        }

    @classmethod
    def from_json(cls, document: JSON) -> Manifest:
        """Return the manifest that ``to_json`` wrote. Raises ``WireInvalid``."""
        read = _checked(_Manifest, document)
        return cls(**{name: getattr(read, name) for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Hello:
    """What a worker is; in its first segment."""

    protocol: int
    version: str
    python: str
    ray: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """A worker's last word: why it stopped ("" if every trial was settled), and what was wrong with the workflow."""

    stop: str
    message: str = ""
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """One numbered piece of what happened: results (each with whether it is final), audit entries, counts.

    ``kills`` counts signals that were needed; ``overruns`` holds (scope, seconds) of deadlines that passed.
    """

    results: tuple[tuple[AttemptResult, bool], ...] = ()
    entries: tuple[AuditEntry, ...] = ()
    dropped: int = 0
    running: int = 0
    retried: int = 0
    abandoned: int = 0
    hello: Hello | None = None
    done: Done | None = None
    kills: Mapping[str, int] = field(default_factory=dict)
    overruns: tuple[tuple[str, float], ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """Return the segment as JSON."""
        return {
            "results": [[_result_json(result), final] for result, final in self.results],
            "entries": [_entry_json(entry) for entry in self.entries],
            "dropped": self.dropped,
            "running": self.running,
            "retried": self.retried,
            "abandoned": self.abandoned,
            "hello": asdict(self.hello) if self.hello is not None else None,
            "done": asdict(self.done) if self.done is not None else None,
            "kills": dict(self.kills),
            "overruns": [list(pair) for pair in self.overruns],
        }

    @classmethod
    def from_json(cls, document: JSON) -> Segment:
        """Return the segment that ``to_json`` wrote. Raises ``WireInvalid``."""
        read = _checked(_Segment, document)
        try:
            entries = tuple(AuditEntry(**{name: getattr(one, name) for name in _ENTRY}) for one in read.entries)
        except ValueError as err:
            raise WireInvalid(f"an entry of the segment is not one: {err}") from err
        return cls(
            results=tuple((_result_from(one), final) for one, final in read.results),
            entries=entries,
            dropped=read.dropped,
            running=read.running,
            retried=read.retried,
            abandoned=read.abandoned,
            hello=Hello(**read.hello.model_dump()) if read.hello is not None else None,
            done=_done_from(read.done) if read.done is not None else None,
            kills=read.kills,
            overruns=read.overruns,
        )


@dataclass(frozen=True, slots=True)
class Receipt:
    """The operator's answer to a segment: the number it wants next, and what the worker is to do."""

    next: int
    directive: Directive = Directive.NONE


# -- what is checked ---------------------------------------------------------------------------------------------

_Short = Annotated[str, StringConstraints(max_length=512)]
_Long = Annotated[str, StringConstraints(max_length=16_384)]
_Count = Annotated[int, Field(ge=0, le=10_000_000)]
_Ordinal = Annotated[int, Field(ge=0, le=10_000_000)]
_Number = Annotated[int, Field(ge=1, le=1_000_000)]
_Float = Annotated[float, Field(allow_inf_nan=False)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Manifest(_Wire):
    protocol: int
    batch_id: _Short
    name: _Short
    attempt: _Number
    document: JSON
    deadline_at: AwareDatetime
    finished: tuple[tuple[_Ordinal, _Ordinal], ...]
    attempts: dict[int, _Number]
    errors: dict[int, _Number]
    runner: _Short


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
    metrics: dict[_Short, _Float]
    error: _Long


class _Result(_Wire):
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
    started_at: AwareDatetime
    ended_at: AwareDatetime
    duration_seconds: _Float
    score: _Float | None
    weight: _Float
    metrics: Annotated[dict[_Short, _Float], Field(max_length=1000)]
    scores: Annotated[tuple[_Score, ...], Field(max_length=100)]
    boundaries: Annotated[tuple[_Boundary, ...], Field(max_length=1_000_000)]
    output: JSON
    output_digest: _Short
    thread_id: _Short
    worker: _Short


class _Entry(_Wire):
    at: AwareDatetime
    type: EventType
    severity: Severity
    message: _Long
    batch_id: _Short
    epoch: _Count
    trial_id: _Short
    attempt: _Count
    source: _Short
    details: dict[str, JSON]


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


class _Done(_Wire):
    stop: _Short
    message: _Long
    faults: Annotated[tuple[_Fault, ...], Field(max_length=1000)]


class _Segment(_Wire):
    results: Annotated[tuple[tuple[_Result, bool], ...], Field(max_length=MAX_RESULTS)]
    entries: Annotated[tuple[_Entry, ...], Field(max_length=MAX_ENTRIES)]
    dropped: _Count
    running: _Count
    retried: _Count
    abandoned: _Count = 0
    hello: _Hello | None
    done: _Done | None
    kills: Annotated[dict[_Short, _Count], Field(max_length=64)]
    overruns: Annotated[tuple[tuple[_Short, _Float], ...], Field(max_length=MAX_RESULTS)]


_ENTRY = tuple(_Entry.model_fields)
_RESULT = tuple(_Result.model_fields)

_M = TypeVar("_M", bound=BaseModel)


def _checked(model: type[_M], document: JSON) -> _M:
    try:
        read = model.model_validate(document)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise WireInvalid(f"{model.__name__.lstrip('_').lower()}.{place}: {first['msg']}") from err
    if isinstance(read, _Segment):
        foreign = {entry.type for entry in read.entries} - WORKER_EVENTS
        if foreign:
            raise WireInvalid(f"segment.entries: {', '.join(sorted(foreign))} is not a worker's to tell")
    return read


def _result_json(result: AttemptResult) -> dict[str, JSON]:
    body = {name: getattr(result, name) for name in _RESULT}
    return body | {
        "outcome": result.outcome.value,
        "started_at": result.started_at.isoformat(),
        "ended_at": result.ended_at.isoformat(),
        "metrics": dict(result.metrics),
        "scores": [asdict(score) for score in result.scores],
        "boundaries": [asdict(boundary) for boundary in result.boundaries],
    }


def _result_from(read: _Result) -> AttemptResult:
    fields = {name: getattr(read, name) for name in _RESULT}
    fields["scores"] = tuple(EvaluatorScore(**score.model_dump()) for score in read.scores)
    fields["boundaries"] = tuple(NodeBoundary(**boundary.model_dump()) for boundary in read.boundaries)
    return AttemptResult(**fields)


def _entry_json(entry: AuditEntry) -> dict[str, JSON]:
    body = {name: getattr(entry, name) for name in _ENTRY}
    return body | {
        "at": entry.at.isoformat(),
        "type": entry.type.value,
        "severity": entry.severity.value,
        "details": dict(entry.details),
    }


def _done_from(read: _Done) -> Done:
    return Done(read.stop, read.message, tuple(Fault(**fault.model_dump()) for fault in read.faults))
