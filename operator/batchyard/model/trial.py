"""Trials and what is known of each attempt: the data every layer passes on.

Plain frozen data; ``AttemptResult`` is also the frame a worker sends back, so all of it is JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from batchyard.model.outcome import Outcome
    from batchyard.model.questions import ScriptedAnswer

JSON: TypeAlias = Any
"""A value ``json.dumps`` accepts: dict, list, str, int, float, bool or None."""


@dataclass(frozen=True, slots=True)
class Combination:
    """One choice for every dimension; ``name`` is stable and DNS-safe."""

    name: str
    variants: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """One input with an optional expectation. ``deadline_seconds`` overrides ``deadlines.trialSeconds``.

    ``answers`` is the script for what the workflow asks. Cases of one ``group`` are not independent of each other.
    """

    name: str
    input: Mapping[str, JSON]
    expected: JSON = None
    weight: float = 1.0
    deadline_seconds: float | None = None
    answers: tuple[ScriptedAnswer, ...] = ()
    group: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """Combination x case x repeat. ``ordinal`` is its place in the expansion, counted from 0."""

    ordinal: int
    combination: Combination
    case: Case
    repeat: int

    @property
    def id(self) -> str:
        """Return ``<combination>/<case>/<repeat>``."""
        return f"{self.combination.name}/{self.case.name}/{self.repeat}"


@dataclass(frozen=True, slots=True)
class NodeBoundary:
    """One node's run inside an attempt, between two checkpoints.

    ``status`` is ``completed``, ``failed``, ``interrupted``, ``running`` (the attempt was killed in it) or ``shared``
    (completed in another trial, from where this one went on). A
    boundary without an ``exit_checkpoint`` is no place to roll back to.
    """

    node: str
    status: str
    duration_seconds: float
    entry_checkpoint: str | None = None
    exit_checkpoint: str | None = None
    step: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class EvaluatorScore:
    """What one evaluator said of one attempt. ``score`` is within 0..1, or None if it could not say."""

    evaluator: str
    score: float | None
    weight: float = 1.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """How one attempt of a trial ended. Times are UTC; durations are seconds.

    ``epoch`` is the session that ran it. ``output`` is the final state as JSON, cut to a bound by the worker
    (``output_digest``, SHA-256, is of the whole). ``scores`` holds one entry an evaluator.
    """

    trial_id: str
    ordinal: int
    combination: str
    case: str
    repeat: int
    attempt: int
    epoch: int
    outcome: Outcome
    reason: str
    message: str
    started_at: datetime
    ended_at: datetime
    duration_seconds: float
    score: float | None = None
    weight: float = 1.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    scores: tuple[EvaluatorScore, ...] = ()
    boundaries: tuple[NodeBoundary, ...] = ()
    output: JSON = None
    output_digest: str = ""
    thread_id: str = ""
    worker: str = ""
