"""A comparison finds what was changed, nothing else, whichever run is left, and stays within its bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.judge.closeness import Closeness
from batchyard.judge.parity import key_of
from batchyard.judge.state_difference import differing_places
from batchyard.model.outcome import Outcome
from parity_builders import a_trial, check

if TYPE_CHECKING:
    from batchyard.model.trial import AttemptResult

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
_STATES = st.dictionaries(st.sampled_from("kl m"), _SCALARS | st.lists(_SCALARS, max_size=2), max_size=2)
_METRICS = st.dictionaries(st.sampled_from(["tokens", "latency_ms"]), st.floats(), max_size=2)
_NAMES = st.builds("{}/{}/{}".format, st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 1))
_ENDS = st.sampled_from([Outcome.PASSED, Outcome.FAILED, Outcome.TIMED_OUT])
_FACTS = st.tuples(_ENDS, st.none() | st.floats(0, 1), _METRICS, _STATES)
_RUNS = st.dictionaries(_NAMES, _FACTS, max_size=4).map(
    lambda trials: [
        a_trial(name, outcome=outcome, score=score, metrics=metrics, output=output)
        for name, (outcome, score, metrics, output) in sorted(trials.items())
    ]
)


@settings(max_examples=25)
@given(_RUNS, _RUNS, st.integers(0, 4))
def test_the_comparison_is_symmetric_and_bounded(
    left: list[AttemptResult], right: list[AttemptResult], most: int
) -> None:
    report = check(left, right, max_discrepancies=most)

    assert check(right, left, max_discrepancies=most).to_json() == report.mirrored().to_json()
    assert len(report.discrepancies) == min(most, report.total)
    assert report.total == sum(report.counts.values())
    shared = {key_of(result) for result in left} & {key_of(result) for result in right}
    assert report.compared == len(shared)


@settings(max_examples=25)
@given(_RUNS)
def test_a_run_equals_itself_however_strict_one_is(run: list[AttemptResult]) -> None:
    strict = check(run, run, metric_tolerance=0.0, absolute_tolerance=0.0, ignore_timing_metrics=False, messages=True)

    assert strict.total == 0
    assert strict.matching == len(run)


@settings(max_examples=25)
@given(_RUNS, st.data())
@pytest.mark.proves("parity-checker")
def test_exactly_what_was_changed_is_found(run: list[AttemptResult], data: st.DataObject) -> None:
    changed = {
        at: replace(result, outcome=Outcome.ERRORED)
        for at, result in enumerate(run)
        if data.draw(st.booleans(), label=f"change {result.trial_id}")
    }
    other = [changed.get(at, result) for at, result in enumerate(run)]

    report = check(run, other)

    assert {found.trial for found in report.discrepancies} == {result.trial_id for result in changed.values()}


@settings(max_examples=25)
@given(st.floats() | st.integers(), st.floats() | st.integers(), st.floats(0, 1), st.floats(0, 10))
def test_closeness_is_symmetric_reflexive_and_grows_with_its_tolerances(
    left: float, right: float, relative: float, absolute: float
) -> None:
    close = Closeness(relative, absolute)

    assert close.equal(left, left)
    assert close.equal(left, right) == close.equal(right, left)
    if Closeness(relative / 2, absolute / 2).equal(left, right):
        assert close.equal(left, right)


@settings(max_examples=25)
@given(_STATES, _STATES, st.integers(0, 3))
def test_states_differ_in_the_same_places_whichever_is_left(left: object, right: object, most: int) -> None:
    close = Closeness()

    places = differing_places(left, right, close, most)

    mirrored = [(place.path, place.right, place.left) for place in differing_places(right, left, close, most)]
    assert mirrored == [(place.path, place.left, place.right) for place in places]
    assert differing_places(left, left, close, 3) == []
