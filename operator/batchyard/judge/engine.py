"""The EvaluationEngine: asks every configured evaluator about a run and makes one score and one word of it.

Pure: it reads no clock, imports no user code itself and keeps nothing between two runs. Not for comparing runs.
"""

from __future__ import annotations

import math
import traceback
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import PurePath
from typing import TYPE_CHECKING

from batchyard.judge.evaluators import built_in
from batchyard.judge.exact import ExactMean
from batchyard.judge.observation import CannotJudge, Evaluator, Judgement, Observed, Resolve
from batchyard.model.outcome import Reason
from batchyard.model.trial import JSON, EvaluatorScore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchyard.judge.registry import Registry

_MESSAGE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class ConfiguredEvaluator:
    """One entry of ``spec.evaluation.evaluators``."""

    name: str
    weight: float = 1.0
    config: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """What all evaluators together say of one run.

    ``score`` is the weighted mean over the evaluators that gave one, None if none did. ``metrics`` has what the
    evaluators measured. ``reason`` is empty, BelowThreshold or EvaluationFailed.
    """

    score: float | None
    passed: bool
    scores: tuple[EvaluatorScore, ...]
    metrics: Mapping[str, float]
    message: str
    reason: Reason


class EvaluationEngine:
    """Judges completed runs by the same evaluators, weights and threshold."""

    def __init__(
        self,
        evaluators: Sequence[ConfiguredEvaluator],
        pass_threshold: float,
        *,
        resolve: Resolve | None = None,
        registry: Registry | None = None,
    ) -> None:
        """Make the evaluators.

        Args:
            evaluators: In the order in which they are asked; each sees the metrics of those before it.
            pass_threshold: The least score with which a run passes.
            resolve: Imports a user's ``module:function``; None where user code must not be imported.
            registry: The evaluators that may be named; the built-in ones if it is None.

        Raises ``UnknownEvaluator`` or ``CallableInvalid``, and whatever ``resolve`` raises.
        """
        installed = registry or built_in()
        self._evaluators = [
            (entry, installed.get(entry.name)(entry.config, resolve), share)
            for entry, share in zip(evaluators, _whole([entry.weight for entry in evaluators]), strict=True)
        ]
        self._pass_threshold = pass_threshold

    def judge(self, observed: Observed) -> Judged:
        """Return what the evaluators say of one completed run.

        With no evaluators it passes without a score. An evaluator that fails, for whatever cause, fails the run:
        what could not be judged did not pass.
        """
        scores: list[EvaluatorScore] = []
        known: dict[str, float] = dict(observed.metrics)
        measured: dict[str, float] = {}
        mean = ExactMean()
        for entry, evaluator, share in self._evaluators:
            given = _ask(entry, evaluator, replace(observed, metrics=dict(known)))
            scores.append(given)
            known.update(given.metrics)
            measured.update(given.metrics)
            if given.score is not None:
                mean.add(given.score, share)
        score = mean.mean()
        reason = self._reason(score, scores)
        return Judged(
            score=score,
            passed=reason is Reason.NONE,
            scores=tuple(scores),
            metrics=measured,
            message=self._message(reason, score, scores),
            reason=reason,
        )

    def _reason(self, score: float | None, scores: Sequence[EvaluatorScore]) -> Reason:
        if any(given.error for given in scores):
            return Reason.EVALUATION_FAILED
        if score is not None and score < self._pass_threshold:
            return Reason.BELOW_THRESHOLD
        return Reason.NONE

    def _message(self, reason: Reason, score: float | None, scores: Sequence[EvaluatorScore]) -> str:
        if reason is Reason.EVALUATION_FAILED:
            return "; ".join(f"{given.evaluator}: {given.error}" for given in scores if given.error)
        if reason is Reason.BELOW_THRESHOLD:
            parts = ", ".join(f"{given.evaluator} {given.score:g}" for given in scores if given.score is not None)
            return f"score {score:g} is below passThreshold {self._pass_threshold:g} ({parts})"
        return "no score" if score is None else ""


def _ask(entry: ConfiguredEvaluator, evaluator: Evaluator, observed: Observed) -> EvaluatorScore:
    try:
        score, metrics = _checked(evaluator.evaluate(observed))
    except CannotJudge as err:
        return EvaluatorScore(entry.name, None, entry.weight, error=_cut(str(err)))
    except Exception as err:  # an evaluator may be the user's own code: whatever it raises is a fact about this trial
        return EvaluatorScore(entry.name, None, entry.weight, error=_cut(_told(err)))
    return EvaluatorScore(entry.name, score, entry.weight, metrics)


def _checked(judgement: Judgement) -> tuple[float | None, dict[str, float]]:
    """Return the judgement's numbers as finite floats. Raises ``CannotJudge`` if one is none or out of range."""
    score = judgement.score
    if score is not None:
        score = _finite(score, "its score")
        if not 0.0 <= score <= 1.0:
            raise CannotJudge(f"its score {score:g} is outside 0..1")
    return score, {str(name): _finite(value, f"its metric {name!r}") for name, value in judgement.metrics.items()}


def _finite(value: object, what: str) -> float:
    if not isinstance(value, int | float):
        raise CannotJudge(f"{what} is a {type(value).__name__}, not a number")
    if not math.isfinite(value):
        raise CannotJudge(f"{what} is {value}, not a finite number")
    return float(value)


def _whole(weights: Sequence[float]) -> list[int]:
    """Return whole numbers in the ratio that the weights were written in: 0.1, 0.2 and 0.7 become 1, 2 and 7.

    The doubles' own ratio differs from the written one in the last bits: enough to miss a threshold of 0.7.
    """
    written = [Fraction(repr(weight)) for weight in weights]
    common = math.lcm(*(weight.denominator for weight in written))
    return [int(weight * common) for weight in written]


def _told(err: Exception) -> str:
    """Return type, text and place of an exception; the place by its file's name, whatever folder that is in."""
    place = ""
    # Not extract_tb: it would read the source files.
    for frame, line in traceback.walk_tb(err.__traceback__):
        place = f" ({PurePath(frame.f_code.co_filename).name}:{line})"
    return f"{type(err).__name__}: {err}{place}"


def _cut(text: str) -> str:
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 1] + "…"
