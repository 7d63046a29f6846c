"""A batch whose trials begin from another's checkpoints: what ran there does not run again, and nothing else is new."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from batch_bench import cases
from batchyard.engine.forks import bound
from batchyard.local_files import checkpoints_folder, files_folder
from batchyard.model.errors import SpecInvalid
from batchyard.model.outcome import Outcome, Reason
from batchyard.store.tables import batches

if TYPE_CHECKING:
    from batch_bench import BatchBench, Ran
    from batchyard.compose import Running
    from batchyard.engine.sources import LoadedBatch

ASKED = [{"name": "one", "input": {"case": "one"}}, {"name": "two", "input": {"case": "two"}}]
FORK = {"batchTest": "first", "node": "two"}


def first(bench: BatchBench, **spec: Any) -> Ran:
    matrix = {"matrix": {"side": ["left", "right"]}}
    return bench.run(bench.load("noop:build", **{"name": "first", "variants": matrix, "cases": ASKED, **spec}))


def fork(bench: BatchBench, **spec: Any) -> LoadedBatch:
    return bench.load("noop:build", **{"name": "second", "cases": ASKED, "forkFrom": FORK, **spec})


def ran(bench: BatchBench, loaded: LoadedBatch) -> Ran:
    return bench.run(bound(bench.store, loaded))


@pytest.mark.proves("bug-30")
def test_only_what_follows_the_boundary_runs_and_with_the_other_combination(bench: BatchBench) -> None:
    source = first(bench)
    wanted = {**FORK, "variants": {"side": "right"}}

    forked = ran(bench, fork(bench, variants={"matrix": {"side": ["up"]}}, forkFrom=wanted))

    assert forked.outcomes == {Outcome.PASSED: 2}
    for name in ("one", "two"):
        found = forked.of("up", name)
        assert [boundary.node for boundary in found.boundaries] == ["three", "four", "five"]
        assert found.output == {**source.of("right", name).output, "variants": {"side": "up"}}


@pytest.mark.proves("batch-forks")
def test_the_trail_says_which_checkpoint_each_trial_came_from(bench: BatchBench) -> None:
    source = first(bench)

    forked = ran(bench, fork(bench))

    told = {sealed.entry.trial_id: sealed.entry.details["forkedFrom"] for sealed in forked.audited("TrialPassed")}
    result = source.of("left", "two")
    (boundary,) = (one for one in result.boundaries if one.node == "two")
    assert told["left/two/0"] == {
        "trial": "left/two/0",
        "thread": result.thread_id,
        "checkpoint": boundary.exit_checkpoint,
    }
    assert forked.record.spec["forkedFrom"] == source.record.id


def test_keys_that_are_set_replace_what_the_state_had(bench: BatchBench) -> None:
    first(bench)

    forked = ran(bench, fork(bench, forkFrom={**FORK, "set": {"count": 100, "path": ["edited"]}}))

    output = forked.of("left").output
    assert (output["count"], output["path"]) == (103, ["edited", "three", "four", "five"])


def test_a_resumed_fork_goes_on_from_the_batch_that_it_began_with(bench: BatchBench) -> None:
    first(bench)
    loaded = bound(bench.store, fork(bench))
    record = bench.accept(loaded)

    def interrupt(running: Running) -> None:
        running.session.interrupt()

    assert bench.run(loaded, record, on_start=interrupt).finished.verdict is None
    again = first(bench, cases=[{"name": "one", "input": {"case": "other"}}])
    ended = bench.run(type(loaded).from_json(bench.store.batch(record.id).spec, loaded.base), record)

    assert again.record.id != ended.record.spec["forkedFrom"]
    assert [boundary.node for boundary in ended.of("left").boundaries] == ["three", "four", "five"]
    assert ended.of("left").output["case"] == "one"


def test_a_fork_of_a_batch_past_its_retention_time_still_begins_there(bench: BatchBench) -> None:
    source = first(bench)
    with bench.store.engine.begin() as connection:
        connection.execute(batches.update(), {"completed_at": 0})
    loaded = bound(bench.store, fork(bench))

    forked = bench.run(loaded, bench.engine.accept(bench.store, loaded, files_folder(bench.target)))

    assert forked.outcomes == {Outcome.PASSED: 2}
    assert bench.store.batch(source.record.id).audit_pruned_at is None


def test_a_trial_whose_source_did_not_get_there_fails_alone_and_says_so(bench: BatchBench) -> None:
    asked = [*cases("fails", error="no"), *cases("runs")]
    bench.run(bench.load(name="first", cases=asked))

    forked = ran(bench, bench.load(name="second", cases=asked, forkFrom={"batchTest": "first", "node": "act"}))

    failed = forked.of("left", "fails")
    assert (failed.outcome, failed.reason) == (Outcome.FAILED, Reason.START_REFUSED)
    assert "left/fails/0" in failed.message
    assert forked.of("left", "runs").outcome is Outcome.PASSED


def test_a_trial_whose_thread_is_gone_fails_and_says_so(bench: BatchBench) -> None:
    source = first(bench)
    for file in checkpoints_folder(files_folder(bench.target), source.record.id).iterdir():
        file.unlink()

    forked = ran(bench, fork(bench))

    assert {(one.outcome, one.reason) for one in forked.finals} == {(Outcome.FAILED, Reason.START_REFUSED)}


@pytest.mark.parametrize(
    ("wanted", "place", "said"),
    [
        ({"batchTest": "nowhere"}, "spec.forkFrom.batchTest", "is no batch of this store"),
        ({"node": "six"}, "spec.forkFrom.node", "they ended one, two, three, four, five"),
        ({"variants": {"side": "down"}}, "spec.forkFrom.variants", "leads to no combination of first"),
    ],
)
def test_what_cannot_be_forked_is_refused_before_anything_runs(
    bench: BatchBench, wanted: dict[str, Any], place: str, said: str
) -> None:
    first(bench)

    with pytest.raises(SpecInvalid) as caught:
        bound(bench.store, fork(bench, forkFrom={**FORK, **wanted}))

    (fault,) = caught.value.faults
    assert fault.path == place
    assert said in str(fault)


def test_everything_that_can_be_said_against_a_fork_is_said_at_once(bench: BatchBench) -> None:
    first(bench)
    wanted = {**FORK, "node": "six", "variants": {"side": "down"}}

    with pytest.raises(SpecInvalid) as caught:
        bound(bench.store, fork(bench, cases=[*ASKED, {"name": "new", "input": {}}], repeats=7, forkFrom=wanted))

    assert [fault.path.removeprefix("spec.") for fault in caught.value.faults] == [
        "forkFrom.variants",
        "forkFrom.batchTest",
        "repeats",
        "forkFrom.node",
    ]


def test_a_batch_that_is_not_finished_is_not_forked_from(bench: BatchBench) -> None:
    record = bench.accept(bench.load("noop:build", name="first", cases=ASKED))

    with pytest.raises(SpecInvalid, match=f"batchyard resume {record.id}"):
        bound(bench.store, fork(bench))


def test_a_document_without_a_fork_reads_back_as_before(bench: BatchBench) -> None:
    loaded = bench.load("noop:build")

    assert "forkedFrom" not in loaded.to_json()
    forked = replace(loaded, forked_from="first-abc123")
    assert type(loaded).from_json(forked.to_json(), loaded.base) == forked
    assert forked.digest == loaded.digest
