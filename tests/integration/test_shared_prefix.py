"""Whole batches whose combinations share the beginnings of their runs: what ran, and that nobody can tell."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from batch_bench import WORKFLOWS, cases
from batchyard.engine.carrying import amending
from batchyard.engine.settings import setting_of
from batchyard.local_files import checkpoints_folder, files_folder
from batchyard.model.outcome import Outcome, Phase, Reason

if TYPE_CHECKING:
    from pathlib import Path

    from batch_bench import BatchBench
    from batchyard.compose import Running
    from batchyard.engine.sources import LoadedBatch
    from batchyard.model.events import Event
    from batchyard.model.trial import AttemptResult

NODES = [f"n{number}" for number in range(1, 11)]
SHAREABLE = [{"name": name, "dependsOn": ["first"] if name == "n4" else []} for name in NODES[:7]]
FOUR = {"first": ["a"], "last": ["0", "1", "2", "3"]}


def load(
    bench: BatchBench, matrix: dict[str, list[str]], names: str = "ab", *, sharing: bool = True, **spec: Any
) -> LoadedBatch:
    """Load a batch of the branching chain; every node that it runs is named in the folder's ``log``."""
    workflow: dict[str, Any] = {"factory": "branching:build", "source": {"path": str(WORKFLOWS)}}
    if sharing:
        workflow["sharedPrefix"] = {"nodes": spec.pop("nodes", SHAREABLE)}
    state = {"log": str(bench.folder / "log"), **spec.pop("state", {})}
    return bench.load(workflow=workflow, variants={"matrix": matrix}, cases=cases(*names, **state), **spec)


def counted(bench: BatchBench) -> Counter[str]:
    """How often each node ran, from the shallowest to the deepest."""
    return Counter((bench.folder / "log").read_text().split())


def times(*counts: int) -> Counter[str]:
    return Counter(dict(zip(NODES, counts, strict=True)))


def said(result: AttemptResult) -> tuple[object, ...]:
    """All that is to be the same whether a trial shared its beginning or not."""
    nodes = [(boundary.node, boundary.step, bool(boundary.exit_checkpoint)) for boundary in result.boundaries]
    return (result.trial_id, result.outcome, result.reason, result.message, result.score, result.output, nodes)


def prefixes(bench: BatchBench, batch_id: str) -> Path:
    return checkpoints_folder(files_folder(bench.target), batch_id) / "prefixes"


@pytest.mark.parametrize("isolation", ["Process", "Thread"])
def test_what_combinations_have_in_common_runs_once_a_case(bench: BatchBench, isolation: str) -> None:
    ran = bench.run(load(bench, FOUR, environment={"isolation": isolation}))

    assert ran.outcomes == {Outcome.PASSED: 8}
    assert counted(bench) == times(2, 2, 2, 2, 2, 2, 2, 8, 8, 8)
    assert not prefixes(bench, ran.record.id).exists()


def test_combinations_share_as_deep_as_they_agree(bench: BatchBench) -> None:
    ran = bench.run(load(bench, {"first": ["a", "b"], "last": ["0", "1"]}, "a", repeats=2))

    assert ran.outcomes == {Outcome.PASSED: 8}
    assert counted(bench) == times(2, 2, 2, 4, 4, 4, 4, 8, 8, 8)


def test_trials_say_the_same_as_without_sharing_and_which_nodes_they_shared(bench: BatchBench) -> None:
    alone = bench.run(load(bench, FOUR, sharing=False))
    together = bench.run(load(bench, FOUR))

    assert [said(result) for result in together.finals] == [said(result) for result in alone.finals]
    assert [node.status for node in together.of("a-0", "a").boundaries] == ["completed"] * 10
    assert [node.status for node in together.of("a-3", "a").boundaries] == ["shared"] * 7 + ["completed"] * 3
    assert together.audited("BatchStarted")[0].entry.details["shared"] == NODES[:7]


def test_what_another_trial_ran_counts_into_a_trials_duration_but_not_into_its_deadline(bench: BatchBench) -> None:
    ran = bench.run(load(bench, {"first": ["a"], "last": ["0", "1"]}, "a", state={"slow": "n2"}))

    led, followed = ran.of("a-0", "a"), ran.of("a-1", "a")
    assert led.duration_seconds >= 0.3
    assert followed.duration_seconds - (followed.ended_at - followed.started_at).total_seconds() >= 0.29


def test_trials_run_from_their_input_if_the_one_they_wait_for_gets_nowhere(bench: BatchBench) -> None:
    ran = bench.run(load(bench, FOUR, "a", state={"fails": "n1"}))

    assert ran.outcomes == {Outcome.FAILED: 4}
    assert {result.reason for result in ran.finals} == {Reason.NODE_RAISED}
    assert counted(bench) == Counter(n1=4)


def test_a_trial_whose_process_dies_behind_the_branch_still_leaves_its_beginning(bench: BatchBench) -> None:
    ran = bench.run(load(bench, FOUR, "a", state={"dies": "n80"}, retry={"maxAttempts": 1}))

    assert ran.outcomes == {Outcome.ERRORED: 1, Outcome.PASSED: 3}
    assert counted(bench) == times(1, 1, 1, 1, 1, 1, 1, 4, 3, 3)


def test_a_limit_of_steps_ends_a_run_where_it_would_have_ended(bench: BatchBench) -> None:
    for limit in (9, 10):
        alone = bench.run(load(bench, FOUR, "a", sharing=False, limits={"recursionLimit": limit}))
        together = bench.run(load(bench, FOUR, "a", limits={"recursionLimit": limit}))

        assert [said(result) for result in together.finals] == [said(result) for result in alone.finals]


def test_a_resumed_batch_goes_on_from_what_the_first_session_left(bench: BatchBench) -> None:
    loaded = load(bench, FOUR, "a", parallelism=1)
    record = bench.accept(loaded)

    def interrupt_after_the_first(running: Running) -> None:
        def hear(event: Event) -> None:
            if event.type == "TrialPassed":
                running.session.interrupt()

        running.bus.subscribe(hear)

    first = bench.run(loaded, record, on_start=interrupt_after_the_first)
    kept = len(list(prefixes(bench, record.id).iterdir()))
    second = bench.run(loaded, bench.store.batch(record.id))

    assert first.finished.verdict is None
    assert kept == 1
    assert second.record.phase is Phase.SUCCEEDED
    assert counted(bench) == times(1, 1, 1, 1, 1, 1, 1, 4, 4, 4)


def test_a_resumed_batch_whose_beginnings_are_damaged_runs_from_the_input(bench: BatchBench) -> None:
    loaded = load(bench, FOUR, "a", parallelism=1)
    record = bench.accept(loaded)

    def interrupt_after_the_first(running: Running) -> None:
        running.bus.subscribe(lambda event: running.session.interrupt() if event.type == "TrialPassed" else None)

    bench.run(loaded, record, on_start=interrupt_after_the_first)
    for file in prefixes(bench, record.id).iterdir():
        file.write_bytes(b"cut off")
    second = bench.run(loaded, bench.store.batch(record.id))

    assert second.outcomes == {Outcome.PASSED: 4}
    assert counted(bench) == times(4, 4, 4, 4, 4, 4, 4, 4, 4, 4)


def test_what_an_amended_batch_adds_shares_its_beginning_though_carried_trials_left_none(bench: BatchBench) -> None:
    def known(*last: str) -> LoadedBatch:
        loaded = load(bench, {"first": ["a"], "last": list(last)}, "a")
        return replace(loaded, setting=setting_of(loaded, "worker processes"))

    bench.run(known("0", "1"))
    before = counted(bench)
    ran = bench.run(amending(bench.store, known("0", "1", "2", "3", "4"), "bench"))

    assert len(ran.audited("TrialCarriedOver")) == 2
    assert ran.outcomes == {Outcome.PASSED: 5}
    assert counted(bench) - before == times(1, 1, 1, 1, 1, 1, 1, 3, 3, 3)


def test_the_trail_says_why_a_declared_node_is_not_shared(bench: BatchBench) -> None:
    nodes = [*SHAREABLE, {"name": "n11", "dependsOn": []}, {"name": "n8", "dependsOn": [], "reads": ["branching:LOCK"]}]

    ran = bench.run(load(bench, FOUR, "a", nodes=nodes))

    details = ran.audited("BatchStarted")[0].entry.details
    assert details["notShared"]["n11"] == "no workflow has a node of this name"
    assert "lock" in details["notShared"]["n8"]
    assert details["shared"] == NODES[:7]


def test_names_that_are_not_there_are_faults_before_anything_runs(bench: BatchBench) -> None:
    reads = ["branching:NAMES", "branching:NAME"]
    nodes = [{"name": "n1l", "dependsOn": []}, {"name": "n2", "dependsOn": [], "reads": reads}]

    wrong = {fault.path: str(fault) for fault in bench.engine.check(load(bench, FOUR, nodes=nodes))}

    assert bench.engine.check(load(bench, FOUR)) == []
    assert set(wrong) == {f"spec.workflow.sharedPrefix.nodes{place}" for place in ("[0].name", "[1].reads[1]")}
    assert "n1l: is no node of the workflow; did you mean n1?" in wrong["spec.workflow.sharedPrefix.nodes[0].name"]
    assert 'has no "NAME"' in wrong["spec.workflow.sharedPrefix.nodes[1].reads[1]"]


def test_a_node_that_only_some_combinations_have_is_no_fault(bench: BatchBench) -> None:
    nodes = [{"name": "n1", "dependsOn": []}, {"name": "extra", "dependsOn": []}]

    assert bench.engine.check(load(bench, {"first": ["a", "extra"]}, nodes=nodes)) == []


@pytest.mark.proves("shared-prefix")
def test_sixteen_variants_run_no_more_nodes_than_they_have_to(bench: BatchBench) -> None:
    variants = {"first": ["a"], "last": [str(number) for number in range(16)]}

    ran = bench.run(load(bench, variants, "abcd"))

    ideal = 4 * (7 + 16 * 3)
    assert ran.outcomes == {Outcome.PASSED: 64}
    assert counted(bench).total() <= 1.02 * ideal
