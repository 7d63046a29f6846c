"""What a worker in a cluster and its operator tell each other, as JSON. Pure.

Checked on the way in, since a worker's pod runs user code and may send anything. Not for HTTP (``kube.http``,
``worker.client``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from batchyard.model.audit import AuditEntry
from batchyard.model.errors import Fault
from batchyard.model.trial import JSON, AttemptResult, EvaluatorScore, NodeBoundary
from batchyard.model.wire_checks import (
    DirectedCheck,
    Directive,
    DoneCheck,
    EntryCheck,
    HeartbeatCheck,
    ManifestCheck,
    ReceiptCheck,
    ResultCheck,
    SegmentCheck,
    WireInvalid,
    checked,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from batchyard.model.outcome import Outcome

__all__ = [
    "PROTOCOL",
    "Directive",
    "Done",
    "Hello",
    "Manifest",
    "Receipt",
    "Segment",
    "WireInvalid",
    "directive_from",
    "running_from",
]

PROTOCOL = 1
"""Stands in every manifest and every first segment; both ends must have the same."""

POD_HEADER = "X-Batchyard-Pod"
"""The uid of the pod that a manifest is asked for from, in a place that has a driver in one of several."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything one attempt at a place has to do.

    ``document`` is the BatchTest with all its cases inline. ``finished`` holds the ordinals that have final results,
    as inclusive ranges; ``attempts`` the newest attempt and ``errors`` the attempts that the place broke, of open
    trials by ordinal. ``used`` is what earlier attempts used of a batch that has a budget, by kind. ``runner`` is
    Threads or Ray. ``forks`` has, for a batch that is forked from another, where each open trial begins: the other's
    trial, its thread and the checkpoint, "" if there is no such place. ``came_to`` has, for a batch that ends once it
    is decided, the outcome of each finished trial and the score that it earned.
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
    used: Mapping[str, float] = field(default_factory=dict)
    runner: str = "Threads"
    forks: Mapping[int, tuple[str, str, str]] = field(default_factory=dict)
    came_to: Mapping[int, tuple[Outcome, float | None]] = field(default_factory=dict)

    def to_json(self) -> dict[str, JSON]:
        """Return the manifest as JSON."""
        body = {name: getattr(self, name) for name in self.__slots__}
        return body | {
            "deadline_at": self.deadline_at.isoformat(),
            "finished": [list(pair) for pair in self.finished],
            "attempts": {str(ordinal): number for ordinal, number in self.attempts.items()},
            "errors": {str(ordinal): number for ordinal, number in self.errors.items()},
            "forks": {str(ordinal): list(point) for ordinal, point in self.forks.items()},
            "used": dict(self.used),
            "came_to": {str(ordinal): list(end) for ordinal, end in self.came_to.items()},
        }

    @classmethod
    def from_json(cls, document: JSON) -> Manifest:
        """Return the manifest that ``to_json`` wrote. Raises ``WireInvalid``."""
        read = checked(ManifestCheck, document)
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

    ``kills`` counts signals that were needed (TERM, KILL); ``overruns`` holds (scope, seconds) of deadlines that
    passed, of scope batch, trial, node or idle.
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
        read = checked(SegmentCheck, document)
        return cls(
            results=tuple((_result_from(one), final) for one, final in read.results),
            entries=tuple(AuditEntry(**{name: getattr(one, name) for name in _ENTRY}) for one in read.entries),
            dropped=read.dropped,
            running=read.running,
            retried=read.retried,
            abandoned=read.abandoned,
            hello=Hello(**read.hello.model_dump()) if read.hello is not None else None,
            done=_done_from(read.done) if read.done is not None else None,
            kills={str(signal): count for signal, count in read.kills.items()},
            overruns=read.overruns,
        )


@dataclass(frozen=True, slots=True)
class Receipt:
    """The operator's answer to a segment: the number it wants next, and what the worker is to do."""

    next: int
    directive: Directive = Directive.NONE

    def to_json(self) -> dict[str, JSON]:
        """Return the receipt as JSON."""
        return {"next": self.next, "directive": self.directive}

    @classmethod
    def from_json(cls, document: JSON) -> Receipt:
        """Return the receipt that ``to_json`` wrote. Raises ``WireInvalid``."""
        read = checked(ReceiptCheck, document)
        return cls(read.next, read.directive)


def directive_from(document: JSON) -> Directive:
    """Return what the answer to a heartbeat, or any receipt, has the worker do. Raises ``WireInvalid``."""
    return checked(DirectedCheck, document).directive


def running_from(document: JSON) -> int:
    """Return how many trials run, as a heartbeat says it. Raises ``WireInvalid``."""
    return checked(HeartbeatCheck, document).running


_ENTRY = tuple(EntryCheck.model_fields)
_RESULT = tuple(ResultCheck.model_fields)


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


def _result_from(read: ResultCheck) -> AttemptResult:
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


def _done_from(read: DoneCheck) -> Done:
    return Done(read.stop, read.message, tuple(Fault(**fault.model_dump()) for fault in read.faults))
