"""``compare``'s cells of combination x case: what the gate makes of the same trials."""

from __future__ import annotations

from batchyard.cli.compare import Grid
from batchyard.model.outcome import Outcome
from judge_builders import a_result


def test_a_trial_that_failed_without_a_score_counts_as_0_in_its_cell() -> None:
    best, raised, lost = a_result(score=1.0), a_result(outcome=Outcome.FAILED), a_result(outcome=Outcome.ERRORED)

    (cell,) = Grid([best, raised, lost]).to_json()

    assert (cell["successRate"], cell["score"]) == (0.5, 0.5)


def test_a_batch_without_scores_has_none_in_its_cells() -> None:
    (cell,) = Grid([a_result(), a_result(outcome=Outcome.FAILED)]).to_json()

    assert (cell["successRate"], cell["score"]) == (0.5, None)
