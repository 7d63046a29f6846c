"""Whatever a trial reports fits the protocol: one oddity must not cost the results that are sent with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchyard.model.errors import Fault
from batchyard.model.trial import EvaluatorScore, NodeBoundary
from batchyard.model.wire import Done, Segment
from batchyard.model.wire_checks import MAX_FAULTS, MAX_METRICS, MAX_NAME, MAX_TEXT
from batchyard.worker.fitting import fitted, fitted_end
from wire_builders import a_wire_result

LONG_TEXT = "x" * (MAX_TEXT + 1)
MANY = {f"metric {number}": 1.0 for number in range(MAX_METRICS + 500)}


def as_read(segment: Segment) -> Segment:
    return Segment.from_json(json.loads(json.dumps(segment.to_json())))


@pytest.mark.parametrize(
    "fields",
    [
        {"message": LONG_TEXT},
        {"metrics": MANY},
        {"metrics": {"m" * 2000: 1.0, "small": 2.0}},
        {"scores": (EvaluatorScore("callable", 1.0, 1.0, MANY, LONG_TEXT),)},
        {"boundaries": (NodeBoundary("n" * 100_000, "failed", 0.1, error=LONG_TEXT),)},
    ],
)
def test_a_result_that_is_out_of_bounds_is_cut_and_taken(fields: dict[str, Any]) -> None:
    odd = a_wire_result(**fields)

    result = fitted(odd)

    (read,) = as_read(Segment(results=((result, True),))).results
    assert read == (result, True)
    assert result != odd
    assert (result.outcome, result.output, result.score) == (odd.outcome, odd.output, odd.score)


def test_what_is_cut_still_says_most_of_it() -> None:
    result = fitted(a_wire_result(message=LONG_TEXT, metrics={"m" * 2000: 1.0, **MANY}))

    assert result.message == "x" * (MAX_TEXT - 1) + "…"
    assert len(result.metrics) == MAX_METRICS
    assert next(iter(result.metrics)) == "m" * MAX_NAME


def test_a_result_within_bounds_stays_as_it_is() -> None:
    result = a_wire_result(message="m", metrics={"a": 1.0}, boundaries=(NodeBoundary("n", "completed", 0.1),))

    assert fitted(result) == result


def test_a_last_word_with_faults_without_number_says_how_many_more_there_were() -> None:
    done = Done("WorkflowInvalid", LONG_TEXT, (Fault("spec", LONG_TEXT, LONG_TEXT),) * (MAX_FAULTS + 9))

    cut = fitted_end(done)

    assert as_read(Segment(done=cut)).done == cut
    assert len(cut.faults) == MAX_FAULTS
    assert cut.faults[-1].message == "and 10 further faults"
