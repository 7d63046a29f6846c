"""Cuts what a worker sends to the size that the protocol takes, so that no trial's oddity costs the others' results.

Not for whole segments that are too large (``poster``): the bounds here are those of single fields.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from batchyard.model.errors import Fault
from batchyard.model.wire_checks import MAX_FAULTS, MAX_METRICS, MAX_NAME, MAX_TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.model.trial import AttemptResult
    from batchyard.model.wire import Done


def fitted(result: AttemptResult) -> AttemptResult:
    """Return the result with its texts, and the number of its metrics, within the protocol's bounds."""
    return replace(
        result,
        message=_text(result.message),
        metrics=_metrics(result.metrics),
        scores=tuple(
            replace(score, metrics=_metrics(score.metrics), error=_text(score.error)) for score in result.scores
        ),
        boundaries=tuple(
            replace(boundary, node=_text(boundary.node), error=_text(boundary.error))
            if len(boundary.node) > MAX_TEXT or len(boundary.error) > MAX_TEXT
            else boundary
            for boundary in result.boundaries
        ),
    )


def fitted_end(done: Done) -> Done:
    """Return the last word with as many faults, and as much of each text, as the protocol takes."""
    faults = done.faults
    if len(faults) > MAX_FAULTS:
        rest = len(faults) - MAX_FAULTS + 1
        faults = (*faults[: MAX_FAULTS - 1], Fault("", "", f"and {rest} further faults"))
    cut = (Fault(*map(_text, (fault.path, fault.value, fault.message, fault.remedy))) for fault in faults)
    return replace(done, message=_text(done.message), faults=tuple(cut))


def _text(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _metrics(metrics: Mapping[str, float]) -> Mapping[str, float]:
    if len(metrics) <= MAX_METRICS and all(len(name) <= MAX_NAME for name in metrics):
        return metrics
    # Two names that differ only beyond the bound cannot both be kept whole; neither is worth a batch.
    return {name[:MAX_NAME]: value for name, value in islice(metrics.items(), MAX_METRICS)}
