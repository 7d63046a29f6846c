"""Faults once found in whole runs of real graphs: each test failed before its fault was mended."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from batchyard.clock import SystemClock
from batchyard.engine.ports import Owner
from batchyard.local_files import KeptThreads, files_folder
from batchyard.model.errors import BatchBusy, EnvironmentUnavailable, StoreError
from batchyard.model.outcome import Outcome, Verdict
from batchyard.workflows.checkpoint_reading import read_history
from raced_store import RacedStore
from runner_bench import await_true

if TYPE_CHECKING:
    from pathlib import Path

    from batch_bench import BatchBench
    from batchyard.compose import Running
    from batchyard.model.trial import JSON

GRAPH = "regressed:build"
HIDDEN = "sk-live-abcdefghijklmnopqrstuvwxyz0123456789"


def one_case(**state: JSON) -> list[JSON]:
    return [{"name": "one", "input": {"name": "one", **state}}]


# -- the check before a run --------------------------------------------------------------------------------------------


def side_by_side(*indexed: str) -> dict[str, JSON]:
    """Three combinations whose factory needs a variable that only the ``indexed`` ones have, each its own value."""
    return {
        "variants": {
            "matrix": {"act": ["needs"], "side": ["left", "right", "middle"]},
            "overrides": [{"match": {"side": side}, "env": {"INDEX": f"of {side}"}} for side in indexed],
        }
    }


@pytest.mark.proves("node-variants")
def test_every_combination_is_checked_and_run_with_its_own_values(bench: BatchBench) -> None:
    batch = bench.load(GRAPH, **side_by_side("left", "right", "middle"))

    faults = bench.engine.check(batch)
    ran = bench.run(batch)

    assert faults == []
    assert {result.output["index"] for result in ran.finals} == {"of left", "of right", "of middle"}


def test_a_combination_without_its_value_is_the_only_one_at_fault(bench: BatchBench) -> None:
    faults = bench.engine.check(bench.load(GRAPH, **side_by_side("left", "middle")))

    (fault,) = faults
    assert "KeyError: 'INDEX'" in fault.message
    assert "'right'" in fault.message


@pytest.mark.proves("bug-08")
def test_a_fault_that_every_environment_has_is_told_once(bench: BatchBench) -> None:
    faults = bench.engine.check(bench.load("regressed:absent", **side_by_side("left", "right", "middle")))

    (fault,) = faults
    assert 'has no "absent"' in fault.message


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_half_a_secret_at_the_cut_of_a_long_message_is_kept_nowhere(bench: BatchBench) -> None:
    lengths = range(1900, 1996, 5)
    batch = bench.load(
        GRAPH,
        variants={"matrix": {"act": ["leaks"]}},
        cases=[{"name": f"x{length}", "input": {"length": length}} for length in lengths],
        environment={"env": {"API_KEY": HIDDEN}},
    )

    ran = bench.run(batch)

    said = [result.message for result in ran.finals]
    kept = [
        *said,
        *(boundary.error for result in ran.finals for boundary in result.boundaries),
        *(f"{sealed.entry.message} {json.dumps(sealed.entry.details)}" for sealed in ran.entries),
        json.dumps(ran.record.status),
        *(event.message for event in ran.events),
    ]
    assert [text for text in kept if HIDDEN[:6] in text] == []
    assert ran.outcomes == {Outcome.FAILED: len(lengths)}
    assert sum(message.endswith("[redacted]…") for message in said) >= 5


def test_a_secret_in_what_the_check_finds_is_masked(bench: BatchBench) -> None:
    batch = bench.load(GRAPH, variants={"matrix": {"act": ["leaks-built"]}}, environment={"env": {"API_KEY": HIDDEN}})

    (fault,) = bench.engine.check(batch)

    assert "refused: [redacted]" in fault.message
    assert HIDDEN not in str(fault)


# -- interruptions and sessions ----------------------------------------------------------------------------------------


def test_a_node_that_raises_when_an_interruption_ends_it_has_not_failed_and_is_run_again(
    bench: BatchBench, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    batch = bench.load(
        GRAPH, variants={"matrix": {"act": ["ends-on-term"]}}, cases=one_case(begun=str(begun)), failFast=True
    )
    record = bench.accept(batch)

    def interrupt_when_it_runs(running: Running) -> None:
        def interrupt() -> None:
            await_true(begun.exists, "the begin of the trial")
            running.session.interrupt()

        threading.Thread(target=interrupt).start()

    first = bench.run(batch, record, on_start=interrupt_when_it_runs)
    second = bench.run(batch, bench.store.batch(record.id))

    assert (first.finished.verdict, first.finals) == (None, [])
    assert first.audited("TrialCancelled")[0].entry.details["signals"][0] == "TERM"
    assert second.finished.verdict is Verdict.SUCCEEDED
    assert [result.outcome for result in second.attempts] == [Outcome.CANCELLED, Outcome.PASSED]


def test_a_batch_whose_first_process_died_before_its_first_commit_is_told_from_its_acceptance_on(
    bench: BatchBench,
) -> None:
    batch = bench.load(GRAPH, variants={"matrix": {"act": ["pass"]}}, cases=one_case())
    record = bench.accept(batch)
    bench.store.open_session(
        record.id, Owner("a machine that is no more", 1, "1"), record.accepted_at.replace(year=2020)
    )

    ran = bench.run(batch, bench.store.batch(record.id))

    assert ran.finished.verdict is Verdict.SUCCEEDED
    assert ran.record.started_at is not None
    assert ran.record.started_at >= record.accepted_at
    assert [sealed.entry.type for sealed in ran.entries][:2] == ["BatchAccepted", "BatchResumed"]


def test_a_batch_that_another_process_takes_up_in_this_moment_is_left_to_it(bench: BatchBench) -> None:
    loaded = bench.load()
    record, store = bench.accept(loaded), RacedStore(bench.store.engine)

    with pytest.raises(BatchBusy, match=f"batchyard resume {record.id}"):
        bench.engine.run(store, files_folder(bench.target), record, loaded, on_start=lambda _running: None)

    assert store.others is not None
    store.heartbeat(store.others, SystemClock().now())


def test_a_session_that_a_broken_store_ended_gives_its_batch_back_to_the_same_process(bench: BatchBench) -> None:
    batch = bench.load(GRAPH, variants={"matrix": {"act": ["pass"]}}, cases=one_case())
    record = bench.accept(batch)
    refuse = "CREATE TRIGGER refusal BEFORE INSERT ON attempts BEGIN SELECT RAISE(ABORT, 'refused by a test'); END"
    with closing(sqlite3.connect(bench.target)) as database:
        database.execute(refuse)
        with pytest.raises(StoreError, match="refused by a test"):
            bench.run(batch, record)
        owner = bench.store.live_owner(record.id)
        database.execute("DROP TRIGGER refusal")
        database.commit()

    ran = bench.run(batch, bench.store.batch(record.id))

    assert owner is None
    assert ran.finished.verdict is Verdict.SUCCEEDED
    assert ran.outcomes == {Outcome.PASSED: 1}


@pytest.mark.proves("bug-10")
def test_an_attempt_has_one_id_for_its_node_its_checkpoints_its_result_and_whoever_asks_for_it(
    bench: BatchBench,
) -> None:
    batch = bench.load(GRAPH, variants={"matrix": {"act": ["tells-thread"]}}, repeats=2, checkpoints={"keep": "Always"})

    ran = bench.run(batch)

    ids = [f"{ran.record.id}/tells-thread/one/{repeat}#1@1" for repeat in range(2)]
    assert [result.thread_id for result in ran.finals] == ids
    assert [result.output["index"] for result in ran.finals] == ids
    kept = KeptThreads(files_folder(bench.target), ran.record.id)
    files = [kept.find(result.thread_id, result.worker) for result in ran.finals]
    histories = [read_history(file, id_) for file, id_ in zip(files, ids, strict=True) if file is not None]
    assert [[point.id for point in points if "act" in point.nodes] for points in histories] == [
        [boundary.exit_checkpoint for boundary in result.boundaries] for result in ran.finals
    ]


# -- the place ---------------------------------------------------------------------------------------------------------


def test_a_folder_for_checkpoints_that_cannot_be_made_is_no_environment_and_says_what_to_do(
    bench: BatchBench,
) -> None:
    batch = bench.load(GRAPH, variants={"matrix": {"act": ["pass"]}}, cases=one_case())
    record = bench.accept(batch)
    bench.workspaces.mkdir(parents=True)
    in_the_way = bench.workspaces.parent / "checkpoints"
    in_the_way.write_text("a file")

    with pytest.raises(EnvironmentUnavailable, match="name another place with --store"):
        bench.run(batch, record)
    owner = bench.store.live_owner(record.id)
    in_the_way.unlink()
    ran = bench.run(batch, record)

    assert owner is None
    assert ran.finished.verdict is Verdict.SUCCEEDED
