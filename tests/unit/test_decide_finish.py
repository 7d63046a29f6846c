"""What ends a batch, how its ending is called, and what a script is told."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.decide.finish import Ending, ends_batch, exit_code, verdict
from batchyard.model.outcome import GateOutcome, Outcome, Reason, Verdict

SOME_PASSED = {Outcome.PASSED: 1, Outcome.FAILED: 2}
NONE_PASSED = {Outcome.FAILED: 3, Outcome.ERRORED: 1}


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMED_OUT, Outcome.ERRORED, Outcome.NEEDS_INPUT])
def test_a_failing_outcome_ends_the_batch_only_if_it_is_to_fail_fast(outcome: Outcome) -> None:
    assert (ends_batch(outcome, fail_fast=True), ends_batch(outcome, fail_fast=False)) == (True, False)


@pytest.mark.parametrize("outcome", [Outcome.PASSED, Outcome.CANCELLED, Outcome.NOT_RUN])
def test_no_other_outcome_ends_a_batch(outcome: Outcome) -> None:
    assert not ends_batch(outcome, fail_fast=True)


def test_a_failed_trial_does_not_fail_the_batch() -> None:
    assert verdict(Ending(SOME_PASSED)) == (Verdict.SUCCEEDED, Reason.NONE)


def test_a_batch_whose_gate_passed_succeeded() -> None:
    assert verdict(Ending(SOME_PASSED, gate=GateOutcome.PASSED)) == (Verdict.SUCCEEDED, Reason.NONE)


def test_a_batch_whose_gate_stayed_open_is_inconclusive() -> None:
    ended = verdict(Ending(SOME_PASSED, gate=GateOutcome.INCONCLUSIVE))

    assert ended == (Verdict.INCONCLUSIVE, Reason.GATE_INCONCLUSIVE)


@pytest.mark.parametrize("counts", [NONE_PASSED, {}, {Outcome.PASSED: 0}], ids=["all failed", "none at all", "zero"])
def test_a_batch_in_which_nothing_passed_failed(counts: dict[Outcome, int]) -> None:
    assert verdict(Ending(counts)) == (Verdict.FAILED, Reason.ALL_TRIALS_FAILED)


CAUSES: list[tuple[dict[str, Any], tuple[Verdict, Reason]]] = [
    ({"cancelled": True}, (Verdict.CANCELLED, Reason.CANCELLED)),
    ({"environment_failed": True}, (Verdict.FAILED, Reason.ENVIRONMENT_FAILED)),
    ({"deadline_passed": True}, (Verdict.FAILED, Reason.BATCH_DEADLINE_EXCEEDED)),
    ({"failed_fast": True}, (Verdict.FAILED, Reason.FAIL_FAST)),
    ({"counts": NONE_PASSED}, (Verdict.FAILED, Reason.ALL_TRIALS_FAILED)),
    ({"gate": GateOutcome.FAILED}, (Verdict.FAILED, Reason.GATE_FAILED)),
]


@pytest.mark.parametrize("first", range(len(CAUSES)), ids=[str(expected[1]) for _, expected in CAUSES])
def test_of_several_causes_the_one_that_cut_the_batch_short_names_the_ending(first: int) -> None:
    everything = {name: value for causes, _ in CAUSES[first:] for name, value in causes.items()}

    ended = verdict(Ending(**{"counts": SOME_PASSED, **everything}))

    assert ended == CAUSES[first][1]


@pytest.mark.parametrize(
    ("ended_as", "reason", "code"),
    [
        (Verdict.SUCCEEDED, Reason.NONE, 0),
        (Verdict.FAILED, Reason.GATE_FAILED, 1),
        (Verdict.FAILED, Reason.ALL_TRIALS_FAILED, 1),
        (Verdict.FAILED, Reason.FAIL_FAST, 1),
        (Verdict.INCONCLUSIVE, Reason.GATE_INCONCLUSIVE, 1),
        (Verdict.FAILED, Reason.BATCH_DEADLINE_EXCEEDED, 3),
        (Verdict.FAILED, Reason.ENVIRONMENT_FAILED, 4),
        (Verdict.FAILED, Reason.ENVIRONMENT_DEADLINE_EXCEEDED, 4),
        (Verdict.CANCELLED, Reason.CANCELLED, 130),
    ],
)
def test_each_ending_has_its_documented_exit_code(ended_as: Verdict, reason: Reason, code: int) -> None:
    assert exit_code(ended_as, reason) == code


def test_a_reason_read_back_as_text_gives_the_same_exit_code() -> None:
    assert exit_code(Verdict.FAILED, "BatchDeadlineExceeded") == 3
