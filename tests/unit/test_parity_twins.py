"""A batch's twin runs the same trials, or a sample of them, elsewhere; the two are compared by what they have."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchyard.decide.parity import sample, with_parity
from batchyard.engine.parity import Elsewhere, Run, compare, parity_entries, parity_status, twin
from batchyard.engine.ports import BatchRecord
from batchyard.engine.sources import LoadedBatch, digest_of, loaded_from
from batchyard.judge.parity import ParityConfig
from batchyard.model.errors import NotComparable
from batchyard.model.outcome import Phase
from batchyard.model.spec import BatchTest
from batchyard.model.spec_environment import Isolation, Provider
from batchyard.model.status import Truth
from batchyard.model.trial import Case
from parity_builders import a_trial, check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchyard.model.trial import AttemptResult

NOW = datetime(2026, 1, 1, tzinfo=UTC)
THREADS = Elsewhere(Provider.IN_PROCESS, Isolation.THREAD)


def loaded(*cases: str, styles: Sequence[str] = ("a", "b")) -> LoadedBatch:
    spec = {
        "workflow": {"factory": "graph:build", "source": {"path": "."}},
        "variants": {"matrix": {"style": list(styles)}},
        "gate": {"minScore": 0.5},
        "parity": {"enabled": True},
        "failFast": True,
    }
    document = {"apiVersion": "batchyard.dev/v1alpha1", "kind": "BatchTest", "metadata": {"name": "demo"}, "spec": spec}
    batch = BatchTest.model_validate(document, strict=False)
    return loaded_from(batch, tuple(Case(name, {}) for name in cases), Path("/"))


def results(batch: LoadedBatch) -> list[AttemptResult]:
    return [replace(a_trial(trial.id), ordinal=trial.ordinal) for trial in batch.plan]


def run(batch: LoadedBatch, name: str, found: list[AttemptResult], phase: Phase = Phase.SUCCEEDED) -> Run:
    record = BatchRecord(name, name, batch.to_json(), batch.digest, "/", len(batch.plan), NOW, NOW, phase=phase)

    def finals(ordinals: Sequence[int] | None) -> Iterator[AttemptResult]:
        known = {result.ordinal: result for result in found}
        return (known[ordinal] for ordinal in (sorted(known) if ordinals is None else ordinals) if ordinal in known)

    return Run(record, batch, finals)


# -- the sample ------------------------------------------------------------------------------------------------------


def test_a_sample_is_always_the_same_and_takes_something_of_every_part() -> None:
    chosen = sample(100, 10, "digest")

    assert chosen == sample(100, 10, "digest") != sample(100, 10, "other")
    assert [number // 10 for number in chosen] == list(range(10))


def test_a_sample_larger_than_the_batch_is_all_of_it() -> None:
    assert sample(3, 10, "digest") == (0, 1, 2)


# -- the twin --------------------------------------------------------------------------------------------------------


def test_a_twins_digest_is_of_what_it_runs_itself() -> None:
    batch = loaded("one")

    other = twin(batch, THREADS, of="demo-1", only=(0,))

    assert other.digest == digest_of(other.to_json()) != batch.digest


def test_a_twin_runs_the_chosen_trials_elsewhere_and_has_no_gate_or_check_of_its_own() -> None:
    batch = loaded("one", "two")

    other = twin(batch, THREADS, of="demo-1", only=(1, 2))

    assert [trial.id for trial in other.plan] == ["a/two/0", "b/one/0"]
    assert [trial.ordinal for trial in other.plan] == [0, 1]
    spec = other.batch.spec
    assert (other.batch.metadata.name, spec.environment.isolation) == ("demo-parity", Isolation.THREAD)
    assert (spec.gate.min_score, spec.parity.enabled, spec.fail_fast) == (None, False, False)


def test_a_twin_comes_back_from_the_store_as_it_went_in() -> None:
    other = twin(loaded("one", "two"), THREADS, of="demo-1", only=(1, 2))

    again = LoadedBatch.from_json(other.to_json(), Path("/"))

    assert (again.twin_of, again.plan) == ("demo-1", other.plan)


# -- the comparison --------------------------------------------------------------------------------------------------


def test_of_a_batch_only_what_its_twin_was_to_run_is_compared() -> None:
    batch = loaded("one", "two", "three")
    other = twin(batch, THREADS, of="main", only=(1, 5))

    report = compare(run(batch, "main", results(batch)), run(other, "other", results(other)), ParityConfig())

    assert report.equivalent
    assert report.compared == 2


def test_a_sampled_trial_without_a_result_is_missing() -> None:
    batch = loaded("one", "two")
    other = twin(batch, THREADS, of="main", only=(1, 3))

    report = compare(run(batch, "main", results(batch)), run(other, "other", results(other)[:1]), ParityConfig())

    assert [found.sentence() for found in report.discrepancies] == ["b/two/0: there is no result of right"]


def test_batches_whose_cases_stand_in_another_order_are_compared_by_name() -> None:
    left, right = loaded("one", "two"), loaded("two", "three", "one", styles=("b", "a"))

    report = compare(run(left, "left", results(left)), run(right, "right", results(right)), ParityConfig())

    assert report.compared == 4
    assert [found.trial for found in report.discrepancies] == ["a/three/0", "b/three/0"]


def test_a_batch_that_is_not_over_is_not_compared() -> None:
    batch = loaded("one")
    running = run(batch, "left", [], Phase.RUNNING)

    with pytest.raises(NotComparable, match="batchyard resume left"):
        compare(running, run(batch, "right", []), ParityConfig())


# -- what is written down --------------------------------------------------------------------------------------------


def test_status_and_trail_are_bounded_and_hold_nothing_that_a_workflow_said() -> None:
    names = [f"a/c{number:02}/0" for number in range(50)]
    left, right = ([a_trial(name, output={"key": secret}) for name in names] for secret in ("hunter2", "hunter3"))
    report = check(left, right)

    status = parity_status(THREADS, "demo-parity-1", report, ("this batch", "threads"))
    entries = parity_entries("demo-1", 2, report, ("this batch", "threads"), NOW)

    assert (status.total, len(status.discrepancies), len(entries)) == (50, 5, 20)
    assert "hunter" not in str(status) + str(entries)
    assert entries[0].message == "a/c00/0: the final state at $.key differs between this batch and threads"


@pytest.mark.parametrize(
    ("code", "verified", "expected"),
    [(0, Truth.TRUE, 0), (0, Truth.FALSE, 1), (0, Truth.UNKNOWN, 4), (0, None, 0), (3, Truth.FALSE, 3)],
)
def test_a_command_that_was_asked_for_a_comparison_does_not_succeed_without_it(
    code: int, verified: Truth | None, expected: int
) -> None:
    assert with_parity(code, verified) == expected
