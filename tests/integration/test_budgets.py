"""Real graphs under budgets and the idle deadline: what they use is counted, and those over it are ended.

One batch runs the acts of ``workflows/spending.py`` that spend, another those that are stuck.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batch_bench import BatchBench, Ran
from batchyard.model.outcome import Outcome, Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchyard.compose import LocalEngine
    from batchyard.model.trial import JSON, AttemptResult

pytestmark = pytest.mark.hostile

STEPS, TOKENS, COST = 12, 1000, 10.0
IDLE, GRACE = 2.0, 0.3
SPENDING = (
    "modest", "states", "asks", "goes_on", "goes_on_and_spends", "goes_on_asking", "spends_too_much_at_the_end",
    "burns_and_ignores_stops",
)  # fmt: skip
STUCK = ("is_stuck_in_c", "is_stuck_and_ignores_stops", "stops_itself")


def name_of(act: str) -> str:
    return act.replace("_", "-")


def run_acts(bench: BatchBench, acts: Sequence[str], **spec: JSON) -> Ran:
    return bench.run(
        bench.load(
            "spending:build",
            variants={"include": [{"name": name_of(act), "variants": {"act": act}} for act in acts]},
            **spec,
        )
    )


@pytest.fixture(scope="module")
def spent(engine: LocalEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    bench = BatchBench(engine, tmp_path_factory.mktemp("spent"))
    yield run_acts(
        bench,
        SPENDING,
        budgets={
            "trial": {"steps": STEPS, "tokens": TOKENS, "cost": COST},
            "prices": {"fake": {"inputPerMillion": 0, "outputPerMillion": 0},
                       "fake-large": {"inputPerMillion": 1000, "outputPerMillion": 5000}},
        },
    )  # fmt: skip
    bench.store.close()


@pytest.fixture(scope="module")
def stuck(engine: LocalEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    bench = BatchBench(engine, tmp_path_factory.mktemp("stuck"))
    yield run_acts(
        bench,
        (*STUCK, "reports_and_takes_its_time"),
        parallelism=4,
        deadlines={"batchSeconds": 120, "trialSeconds": 60, "idleSeconds": IDLE, "graceSeconds": GRACE},
    )
    bench.store.close()


def result_of(ran: Ran, act: str) -> AttemptResult:
    return ran.of(name_of(act))


def test_what_a_workflow_reports_from_any_thread_becomes_metrics_of_its_trial(spent: Ran) -> None:
    result = result_of(spent, "modest")

    assert result.outcome is Outcome.PASSED
    assert result.metrics == {"steps": 2, "tokens": 500, "cost": 0.25, "retrieved": 5}


def test_metrics_of_the_final_state_count_as_reports_do(spent: Ran) -> None:
    assert result_of(spent, "states").metrics == {"steps": 2, "tokens": 70, "cost": 0, "depth": 2}


def test_a_models_tokens_are_counted_and_priced_without_the_workflows_doing(spent: Ran) -> None:
    metrics = result_of(spent, "asks").metrics

    assert metrics == {"steps": 2, "tokens": 42, "cost": pytest.approx(0.09)}


@pytest.mark.parametrize(
    ("act", "reason", "text"),
    [
        ("goes_on", Reason.STEP_BUDGET_EXCEEDED, "used 12 steps of 12 allowed, and more were due"),
        ("goes_on_and_spends", Reason.TOKEN_BUDGET_EXCEEDED, "used 1,350 tokens of 1,000 allowed"),
        ("spends_too_much_at_the_end", Reason.COST_BUDGET_EXCEEDED, "used 12.5 cost of 10 allowed"),
        ("goes_on_asking", Reason.STEP_BUDGET_EXCEEDED, "used 12 steps"),
    ],
)
def test_a_trial_over_its_budget_fails_at_the_next_node_boundary(
    spent: Ran, act: str, reason: Reason, text: str
) -> None:
    result = result_of(spent, act)

    assert (result.outcome, result.reason, result.score) == (Outcome.FAILED, reason, None)
    assert text in result.message
    assert all(boundary.status == "completed" for boundary in result.boundaries)
    assert len(result.boundaries) == result.metrics["steps"] <= STEPS


@pytest.mark.proves("budgets")
def test_one_that_burns_tokens_and_ignores_every_stop_is_killed_and_what_it_used_is_known(spent: Ran) -> None:
    result = result_of(spent, "burns_and_ignores_stops")

    assert (result.outcome, result.reason) == (Outcome.FAILED, Reason.TOKEN_BUDGET_EXCEEDED)
    assert "in node 'act'" in result.message
    assert result.metrics["tokens"] > TOKENS
    (ended,) = [one.entry for one in spent.audited("TrialFailed") if one.entry.trial_id.startswith("burns")]
    assert ended.details["signals"] == ["TERM", "KILL"]


def test_a_trial_over_its_budget_is_not_tried_again(spent: Ran) -> None:
    assert len(spent.attempts) == len(spent.finals) == len(SPENDING)


def test_a_result_that_comes_after_its_trials_budget_was_exceeded_is_late(spent: Ran) -> None:
    late = [one.entry.trial_id.split("/")[0] for one in spent.audited("LateResult")]

    assert late == ["spends-too-much-at-the-end"]


@pytest.mark.parametrize("act", STUCK)
@pytest.mark.proves("budgets")
def test_a_trial_that_makes_no_progress_times_out_whatever_it_is_stuck_in(stuck: Ran, act: str) -> None:
    result = result_of(stuck, act)

    assert (result.outcome, result.reason) == (Outcome.TIMED_OUT, Reason.IDLE_DEADLINE_EXCEEDED)
    assert "made no progress for 2 s" in result.message
    assert "in node 'act'" in result.message
    assert IDLE <= result.duration_seconds < 30


def test_a_trial_that_reports_makes_progress_however_long_its_node_takes(stuck: Ran) -> None:
    result = result_of(stuck, "reports_and_takes_its_time")

    assert result.outcome is Outcome.PASSED
    assert result.duration_seconds > IDLE


@pytest.mark.proves("budgets")
def test_a_batch_over_its_budget_ends_what_runs_and_leaves_the_rest_unrun(bench: BatchBench) -> None:
    ran = run_acts(
        bench,
        ("burns_and_ignores_stops",),
        cases=[{"name": f"c{n}", "input": {}} for n in range(4)],
        budgets={"batch": {"tokens": 2000}},
    )

    assert (ran.finished.verdict, ran.finished.reason) == (Verdict.FAILED, Reason.BATCH_BUDGET_EXCEEDED)
    # The first may have used it all up before the second is ready to begin.
    assert ran.outcomes in ({Outcome.CANCELLED: 2, Outcome.NOT_RUN: 2}, {Outcome.CANCELLED: 1, Outcome.NOT_RUN: 3})
    assert {result.reason for result in ran.finals} == {Reason.BATCH_BUDGET_EXCEEDED}
    assert [one.entry.details for one in ran.audited("BudgetExceeded")] == [{"scope": "batch", "kind": "tokens"}]


@pytest.mark.parametrize(
    ("allowed", "reason"),
    [({"tokens": TOKENS}, Reason.TOKEN_BUDGET_EXCEEDED), ({"steps": 2}, Reason.STEP_BUDGET_EXCEEDED)],
)
def test_an_answer_to_a_trial_over_its_budget_begins_no_node(bench: BatchBench, allowed: JSON, reason: Reason) -> None:
    ran = run_acts(
        bench,
        ("spends_too_much_and_asks",),
        cases=[{"name": "one", "input": {}, "answers": [{"value": "yes"}]}],
        budgets={"trial": allowed},
    )

    result = result_of(ran, "spends_too_much_and_asks")
    assert (result.outcome, result.reason) == (Outcome.FAILED, reason)
    assert (result.metrics["tokens"], result.metrics["steps"]) == (1300, 2)


def test_a_thread_over_its_budget_is_asked_to_stop_and_does(bench: BatchBench) -> None:
    ran = run_acts(
        bench,
        ("goes_on_and_spends", "modest"),
        environment={"isolation": "Thread"},
        budgets={"trial": {"tokens": TOKENS}},
    )

    assert ran.of("goes-on-and-spends").reason == Reason.TOKEN_BUDGET_EXCEEDED
    # A thread that the workflow starts by itself is not known to be of this trial, and there are others.
    assert ran.of("modest").metrics == {"steps": 2, "tokens": 400, "cost": 0.25, "retrieved": 3}
