"""What is kept once an attempt or a batch has ended, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from batchyard.decide.retention import keep_thread, keep_workspace
from batchyard.model.execution import Keep
from batchyard.model.outcome import Outcome

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("outcome", "kept"),
    [
        (Outcome.PASSED, False),
        (Outcome.CANCELLED, False),
        (Outcome.NOT_RUN, False),
        (Outcome.FAILED, True),
        (Outcome.TIMED_OUT, True),
        (Outcome.NEEDS_INPUT, True),
        (Outcome.ERRORED, True),
    ],
)
@pytest.mark.proves("workspaces")
def test_a_workspace_is_kept_when_there_is_something_to_look_at(outcome: Outcome, kept: bool) -> None:
    assert keep_workspace(outcome) is kept


def test_every_outcome_has_an_answer_about_its_workspace() -> None:
    assert {outcome for outcome in Outcome if keep_workspace(outcome)} == {
        Outcome.FAILED,
        Outcome.TIMED_OUT,
        Outcome.NEEDS_INPUT,
        Outcome.ERRORED,
    }


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (Keep.NEVER, set()),
        (Keep.ON_FAILURE, {Outcome.FAILED, Outcome.TIMED_OUT, Outcome.NEEDS_INPUT, Outcome.ERRORED}),
        (Keep.ALWAYS, set(Outcome) - {Outcome.NOT_RUN}),
    ],
)
def test_the_policy_says_which_threads_are_kept(keep: Keep, kept: set[Outcome]) -> None:
    assert {outcome for outcome in Outcome if keep_thread(keep, outcome)} == kept
