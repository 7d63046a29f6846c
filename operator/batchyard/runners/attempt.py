"""Run one attempt of a trial where it stands: state in, workflow, evaluation, result out.

The same in a worker process, in a thread and in a Ray actor. It knows no deadline: ending an attempt is the business of
whoever started it.
"""

from __future__ import annotations

import hashlib
import math
import traceback
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import orjson
from pydantic_core import to_jsonable_python

from batchyard.decide.answers import scripted, unanswered
from batchyard.decide.prefixes import seconds_of
from batchyard.engine.controller import ExecutionController
from batchyard.judge import EvaluationEngine, Observed
from batchyard.model.errors import StoreError, WorkflowInvalid
from batchyard.model.execution import ExecutionError
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.plain_json import plain_text
from batchyard.model.questions import ScriptedAnswer
from batchyard.runners.going_on import gone_on
from batchyard.runners.starting import ready

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchyard.engine.attempts import Order
    from batchyard.engine.controller import RunSettings
    from batchyard.engine.ports import Probe, RunOutput, StateAdapter
    from batchyard.model.trial import JSON, EvaluatorScore, NodeBoundary
    from batchyard.runners.meter import Meter

OUTPUT_BYTES = 64 * 1024
"""A final state larger than this is kept as its digest and size only."""

_MESSAGE_CHARACTERS = 2000


_ENDINGS = {
    "interrupted": (Outcome.NEEDS_INPUT, Reason.INTERRUPTED_BY_GRAPH),
    "paused": (Outcome.NEEDS_INPUT, Reason.PAUSED),
    "stopped": (Outcome.CANCELLED, ""),
}


@dataclass(frozen=True, slots=True)
class Executed:
    """What happened in the place itself; times and deadlines are the runner's to add."""

    outcome: Outcome
    reason: str = ""
    message: str = ""
    stopped: bool = False
    score: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    scores: tuple[EvaluatorScore, ...] = ()
    boundaries: tuple[NodeBoundary, ...] = ()
    output: JSON = None
    output_digest: str = ""


def execute(
    order: Order,
    adapter: StateAdapter,
    judge: EvaluationEngine,
    settings: RunSettings,
    probe: Probe,
    meter: Meter,
    monotonic: Callable[[], float],
) -> Executed:
    """Run the order's workflow and judge what came out. Never raises for what the user's code does."""
    controller = ExecutionController(adapter, settings)
    try:
        go_on = gone_on(order, adapter, controller, settings)
        before = 0.0 if go_on is None or order.beginning is None else seconds_of(order.beginning.boundaries)
        go_on = go_on or ready(controller, order)
    except WorkflowInvalid as err:
        return Executed(Outcome.FAILED, Reason.WORKFLOW_INVALID, cut(str(err)))
    except (ExecutionError, StoreError, OSError) as err:
        return Executed(Outcome.FAILED, Reason.START_REFUSED, cut(str(err)))
    begun = monotonic()
    try:
        run = go_on(probe)
        if run.status == "interrupted" and order.answers:
            run = _answered(order, controller, run, probe)
    except ExecutionError as err:
        return Executed(Outcome.FAILED, Reason.START_REFUSED, cut(str(err)))
    finally:
        controller.forget(order.thread_id)
    duration = before + monotonic() - begun
    if run.status == "completed":
        return _judged(order, judge, run, meter, duration)
    outcome, reason = _ENDINGS.get(run.status, (Outcome.FAILED, ""))
    output, digest = _portable(run.state)
    return Executed(
        outcome, run.reason or reason, cut(run.message), run.status == "stopped",
        metrics=meter.metrics(), boundaries=run.boundaries, output=output, output_digest=digest,
    )  # fmt: skip


def _answered(order: Order, controller: ExecutionController, run: RunOutput, probe: Probe) -> RunOutput:
    """Go on with a run that asked, as long as the case's script has an answer; return all of it as one run."""
    script = [ScriptedAnswer(**answer) for answer in order.answers]
    given, left = scripted(run.questions, script)
    while given:
        run = controller.resume(order.thread_id, probe, answers=given)
        given, left = scripted(run.questions, left)
    if run.status == "interrupted" and script:
        run = replace(run, message=unanswered(run.questions, run.message, len(script), len(left)))
    return replace(run, boundaries=controller.get(order.thread_id).boundaries)


def _judged(order: Order, judge: EvaluationEngine, run: RunOutput, meter: Meter, duration: float) -> Executed:
    try:
        state = to_jsonable_python(run.state, serialize_unknown=True, inf_nan_mode="strings")
        body = orjson.dumps(state, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    except Exception as err:  # the state's own types decide what can go wrong here
        return Executed(
            Outcome.FAILED, Reason.STATE_NOT_SERIALISABLE, cut(f"the final state cannot be written as JSON: {err}"),
            metrics=meter.metrics(), boundaries=run.boundaries,
        )  # fmt: skip
    meter.state(_reported_metrics(state))
    metrics = meter.metrics()
    try:
        judged = judge.judge(
            Observed(
                output=state, expected=order.expected, input=order.state, metrics=metrics,
                duration_seconds=duration, case=order.case, combination=order.combination, variants=order.variants,
            )
        )  # fmt: skip
    except Exception:  # an evaluator is the user's code too
        last = traceback.format_exc(limit=-3)
        return Executed(Outcome.FAILED, Reason.EVALUATION_FAILED, cut(last), metrics=metrics, boundaries=run.boundaries)
    return Executed(
        outcome=Outcome.PASSED if judged.passed else Outcome.FAILED,
        reason=judged.reason,
        message="" if judged.passed else cut(judged.message),
        score=judged.score,
        metrics={**meter.metrics(), **judged.metrics},
        scores=judged.scores,
        boundaries=run.boundaries,
        output=state if len(body) <= OUTPUT_BYTES else {"truncated": True, "bytes": len(body)},
        output_digest=hashlib.sha256(body).hexdigest(),
    )


def _portable(state: Mapping[str, object]) -> tuple[JSON, str]:
    """Return a state that may hold anything as bounded JSON, and its digest."""
    try:
        value = to_jsonable_python(state, serialize_unknown=True, inf_nan_mode="strings")
        body = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    except Exception:  # a post-mortem extra: the outcome stands without it
        return None, ""
    digest = hashlib.sha256(body).hexdigest()
    return (value if len(body) <= OUTPUT_BYTES else {"truncated": True, "bytes": len(body)}), digest


def _reported_metrics(state: JSON) -> dict[str, float]:
    """Return the numbers of the final state's ``metrics`` mapping: the way a workflow reports what it used."""
    reported = state.get("metrics") if isinstance(state, dict) else None
    if not isinstance(reported, dict):
        return {}
    return {str(name): number for name, value in reported.items() if (number := _number(value)) is not None}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond what a float holds is no measurement
        return None
    return number if math.isfinite(number) else None


def cut(message: str) -> str:
    """Return text that user code wrote as plain text of bounded length."""
    message = plain_text(message)
    return message if len(message) <= _MESSAGE_CHARACTERS else message[: _MESSAGE_CHARACTERS - 1] + "…"
