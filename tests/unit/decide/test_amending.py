"""Which results of a finished batch stand for trials of another one, and what is said where none can."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.decide.amending import Bounds, Carrying, Side, Tally, Why, differences, ends_alike, is_answer
from batchyard.engine.carrying import side_of
from batchyard.engine.sources import LoadedBatch
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.setting import Setting
from batchyard.model.trial import AttemptResult, NodeBoundary

if TYPE_CHECKING:
    from batchyard.model.matrix import Plan
    from batchyard.model.trial import Trial

SETTING = Setting({"graph.py": "a" * 32, "batch.yaml": "b" * 32}, ("batch.yaml",), ("langgraph-1.0",), "CPython", "Ray")
T0 = datetime(2026, 1, 1, tzinfo=UTC)


def a_case(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "input": {"of": name}, **fields}


def a_side(**spec: Any) -> Side:
    """Return a batch of 2 combinations, 2 cases and 2 repeats, changed as ``spec`` says."""
    plain: dict[str, Any] = {
        "workflow": {"factory": "graph:build", "source": {"path": "."}},
        "variants": {"matrix": {"model": ["small", "large"]}},
        "cases": [a_case("ada"), a_case("alan")],
        "repeats": 2,
    }
    metadata = {"name": "bench"}
    document = {"apiVersion": "batchyard.dev/v1alpha1", "kind": "BatchTest", "metadata": metadata, "spec": plain | spec}
    return replace(side_of(LoadedBatch.from_json(document, Path("/"))), setting=SETTING)


def result_of(trial: Trial, **fields: Any) -> AttemptResult:
    plain = AttemptResult(
        trial_id=trial.id, ordinal=trial.ordinal, combination=trial.combination.name, case=trial.case.name,
        repeat=trial.repeat, attempt=1, epoch=1, outcome=Outcome.PASSED, reason="", message="", started_at=T0,
        ended_at=T0, duration_seconds=1.0, thread_id=f"old-1/{trial.id}#1@1",
    )  # fmt: skip
    return replace(plain, **fields)


def carried(new: Side, old: Side, **fields: Any) -> dict[str, str]:
    """Return, for each trial of the old batch, the trial that its result stands for, or why of none."""
    carrying = Carrying(new, old)
    found = {trial.id: carrying.number_of(result_of(trial, **fields)) for trial in old.plan}
    return {name: one.name if isinstance(one, Why) else new.plan.trial(one).id for name, one in found.items()}


def names(plan: Plan) -> set[str]:
    return {trial.id for trial in plan}


# -- what holds for all trials -------------------------------------------------------------------------------------


def test_two_batches_that_differ_in_nothing_that_decides_a_trial_have_no_differences() -> None:
    other = a_side(parallelism=1, failFast=True, retry={"maxAttempts": 5}, gate={"minScore": 1.0}, description="again")

    assert differences(other, a_side()) == ()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"files": {"graph.py": "c" * 32}}, "code: graph.py is another (cccccccc, was aaaaaaaa)"),
        ({"files": {"graph.py": "a" * 32, "rag.py": ""}}, "code: rag.py is new"),
        ({"files": {}}, "code: graph.py is gone"),
        ({"packages": ("langgraph-2.0",)}, "packages: langgraph-2.0 is new, langgraph-1.0 is gone"),
        ({"python": "PyPy"}, "Python: PyPy, was CPython"),
        ({"place": "threads"}, "place: threads, was Ray"),
        ({"unknown": "too large"}, "the code of this batch is not known: too large"),
    ],
)
def test_what_it_runs_with_is_compared_and_named(setting: dict[str, Any], said: str) -> None:
    new = replace(a_side(), setting=replace(SETTING, **setting))

    assert differences(new, a_side()) == (said,)


def test_a_batch_of_which_nothing_is_known_cannot_be_amended() -> None:
    (said,) = differences(a_side(), replace(a_side(), setting=None))

    assert "not known what the finished batch ran with" in said


def test_the_files_of_either_batch_are_no_code() -> None:
    new = replace(SETTING, files={**SETTING.files, "batch.yaml": "", "more.jsonl": ""}, apart=("more.jsonl",))

    assert differences(replace(a_side(), setting=new), a_side()) == ()


@pytest.mark.parametrize(
    "spec",
    [
        {"evaluation": {"passThreshold": 0.6}},
        {"limits": {"recursionLimit": 7}},
        {"budgets": {"trial": {"steps": 5}}},
        {"checkpoints": {"durability": "async"}},
        {"workflow": {"factory": "graph:other", "source": {"path": "."}}},
    ],
)
def test_parts_of_the_spec_that_decide_every_trial_are_named(spec: dict[str, Any]) -> None:
    found = differences(a_side(**spec), a_side())

    assert any(said.endswith(" is another") for said in found)


# -- trial by trial ------------------------------------------------------------------------------------------------


def test_more_cases_variants_and_repeats_leave_every_result_its_trial() -> None:
    new = a_side(
        variants={"matrix": {"model": ["new", "small", "large"]}},
        cases=[a_case("grace"), a_case("ada", weight=3.0), a_case("alan")],
        repeats=3,
    )

    assert carried(new, a_side()) == {name: name for name in names(a_side().plan)}


def test_repeats_stay_apart() -> None:
    found = carried(a_side(repeats=1), a_side(repeats=2))

    assert {name for name, stands in found.items() if stands == "NO_SUCH_TRIAL"} == {
        f"{model}/{case}/1" for model in ("small", "large") for case in ("ada", "alan")
    }


@pytest.mark.parametrize(
    "changed",
    [{"input": {"of": 1}}, {"expected": "x"}, {"answers": [{"value": 1}]}, {"input": {"of": "ada", "more": None}}],
)
def test_a_case_that_asks_something_else_is_run_again(changed: dict[str, Any]) -> None:
    found = carried(a_side(cases=[{**a_case("ada"), **changed}, a_case("alan")]), a_side())

    assert {name.split("/")[1] for name, stands in found.items() if stands == "CASE"} == {"ada"}


def test_one_and_one_point_nought_are_different_inputs() -> None:
    one, other = (a_side(cases=[a_case("ada", input={"n": number})]) for number in (1, 1.0))

    assert set(carried(one, other).values()) == {"CASE"}


@pytest.mark.parametrize("override", [{"env": {"A": "1"}}, {"packages": ["six==1.16.0"]}, {"resources": {"cpu": "2"}}])
def test_a_combination_that_sees_something_else_is_run_again(override: dict[str, Any]) -> None:
    matrix = {"matrix": {"model": ["small", "large"]}}
    changed = a_side(variants={**matrix, "overrides": [{"match": {"model": "small"}, **override}]})

    found = carried(changed, a_side())

    assert {name.split("/")[0] for name, stands in found.items() if stands == "COMBINATION"} == {"small"}


def test_a_name_that_stands_for_other_variants_is_run_again() -> None:
    def included(model: str) -> Side:
        return a_side(variants={"include": [{"name": "base", "variants": {"model": model}}]})

    assert set(carried(included("small"), included("large")).values()) == {"COMBINATION"}


@pytest.mark.parametrize(
    ("outcome", "reason", "stands"),
    [
        (Outcome.PASSED, "", True),
        (Outcome.FAILED, Reason.BELOW_THRESHOLD, True),
        (Outcome.FAILED, Reason.NODE_RAISED, True),
        (Outcome.NEEDS_INPUT, Reason.INTERRUPTED_BY_GRAPH, True),
        (Outcome.TIMED_OUT, Reason.TRIAL_DEADLINE_EXCEEDED, True),
        (Outcome.TIMED_OUT, Reason.BATCH_DEADLINE_EXCEEDED, False),
        (Outcome.FAILED, Reason.WORKFLOW_INVALID, False),
        (Outcome.FAILED, Reason.START_REFUSED, False),
        (Outcome.ERRORED, Reason.WORKER_LOST, False),
        (Outcome.CANCELLED, Reason.FAIL_FAST, False),
        (Outcome.NOT_RUN, Reason.FAIL_FAST, False),
    ],
)
def test_what_says_nothing_of_the_combination_is_no_answer(outcome: Outcome, reason: str, stands: bool) -> None:
    (trial, *_) = a_side().plan

    assert is_answer(result_of(trial, outcome=outcome, reason=reason)) is stands


SAME = Bounds(trial=10.0, node=None, idle=None, grace=5.0)


@pytest.mark.parametrize(
    ("bounds", "alike"),
    [
        (SAME, True),
        (replace(SAME, trial=20.0), True),
        (replace(SAME, trial=1.5), True),
        (replace(SAME, trial=1.0), False),
        (replace(SAME, node=0.8), True),
        (replace(SAME, node=0.7), False),
        (replace(SAME, idle=1.5), True),
        (replace(SAME, idle=0.9), False),
        (replace(SAME, grace=0.0), True),
    ],
)
def test_other_deadlines_change_nothing_if_none_would_have_come_first(bounds: Bounds, alike: bool) -> None:
    (trial, *_) = a_side().plan
    took_a_second = result_of(trial, boundaries=(NodeBoundary("read", "completed", 0.7),))

    assert ends_alike(took_a_second, SAME, bounds) is alike


@pytest.mark.parametrize("bounds", [replace(SAME, trial=20.0), replace(SAME, trial=5.0), replace(SAME, grace=1.0)])
def test_what_a_deadline_ended_stands_only_under_the_same(bounds: Bounds) -> None:
    (trial, *_) = a_side().plan
    ended = result_of(trial, outcome=Outcome.TIMED_OUT, reason=Reason.TRIAL_DEADLINE_EXCEEDED)

    assert ends_alike(ended, SAME, SAME)
    assert not ends_alike(ended, SAME, bounds)


def test_nodes_are_looked_at_only_if_their_deadline_became_shorter() -> None:
    shorter, longer = ({"deadlines": {"nodeSeconds": seconds}} for seconds in (1.0, 2.0))

    assert Carrying(a_side(**shorter), a_side(**longer)).looks_at_nodes
    assert not Carrying(a_side(**longer), a_side(**shorter)).looks_at_nodes


def test_the_sentence_counts_what_is_run_and_why() -> None:
    new, old = a_side(cases=[a_case("ada", expected=1), a_case("alan"), a_case("grace")]), a_side()
    tally, carrying = Tally(len(new.plan)), Carrying(new, old)

    for trial in old.plan:
        tally.add(carrying.number_of(result_of(trial)))

    assert tally.sentence("old-1") == (
        "4 of 12 trials carried over from old-1, 8 to run: 4 new, 4 of cases with another input, expectation or script"
    )


_MODELS = st.lists(st.sampled_from(["small", "large", "s", "xl"]), min_size=1, unique=True)
_CASES = st.dictionaries(st.sampled_from(["ada", "alan", "grace"]), st.sampled_from([1, 1.0, True, "1"]), min_size=1)
_SIDES = st.builds(
    lambda models, inputs, repeats: a_side(
        variants={"matrix": {"model": models}},
        cases=[a_case(name, input={"n": value}) for name, value in inputs.items()],
        repeats=repeats,
    ),
    _MODELS,
    _CASES,
    st.integers(1, 3),
)


@settings(max_examples=40)
@given(_SIDES, _SIDES)
def test_no_trial_gets_two_results_and_each_gets_its_own(new: Side, old: Side) -> None:
    carrying = Carrying(new, old)

    found = [(trial, carrying.number_of(result_of(trial))) for trial in old.plan]

    numbers = [one for _, one in found if not isinstance(one, Why)]
    assert len(set(numbers)) == len(numbers)
    inputs = {case.name: repr(old.plan.input_for(case)) for case in old.plan.cases}
    for trial, number in found:
        if not isinstance(number, Why):
            mine = new.plan.trial(number)
            assert (mine.id, dict(mine.combination.variants)) == (trial.id, dict(trial.combination.variants))
            assert repr(new.plan.input_for(mine.case)) == inputs[trial.case.name]
    # What is not carried over is not there, or asks something else.
    same = {case.name for case in new.plan.cases if inputs.get(case.name) == repr(new.plan.input_for(case))}
    both = {trial.id for trial in new.plan if trial.case.name in same} & names(old.plan)
    assert len(numbers) == len(both)
