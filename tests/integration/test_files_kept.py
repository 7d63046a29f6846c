"""A batch that declares files keeps them with its checkpoints, wherever its trials run."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from batch_bench import batch_file
from batchyard.engine.forks import bound
from batchyard.local_files import checkpoint_files, files_folder, objects_folder
from batchyard.model.execution import FilesLost
from batchyard.model.outcome import Outcome, Reason
from batchyard.workflows.blobs import BlobStore
from batchyard.workflows.checkpoint_reading import read_history
from batchyard.workflows.file_upkeep import examine
from batchyard.workflows.snapshots import read_snapshot
from command_line import Bench as CommandLine
from held_bench import Desk

if TYPE_CHECKING:
    from pathlib import Path

    from batch_bench import BatchBench
    from batchyard.model.trial import AttemptResult

CASES = [{"name": name, "input": {"case": name}} for name in ("a", "b", "c")]
FILES = {"paths": ["out/"], "ignore": ["*.tmp"], "maxFileBytes": 1000}


def kept(bench: BatchBench, trial: AttemptResult) -> list[str]:
    """Return what ``out/log`` was at each boundary of a trial that completed nodes."""
    files = files_folder(bench.target)
    blobs = BlobStore(objects_folder(files))
    points = [point for file in checkpoint_files(files) for point in read_history(file, trial.thread_id)]
    snapshots = [read_snapshot(blobs, point.files) for point in points if point.nodes]
    assert [[file.path for file in snapshot] for snapshot in snapshots] == [["out/log"]] * len(snapshots)
    return [blobs.read(snapshot[0].digest).decode() for snapshot in snapshots]


def run(bench: BatchBench, **spec: Any) -> list[AttemptResult]:
    given = {"cases": CASES, "checkpoints": {"files": FILES, "keep": "Always"}, **spec}
    return bench.run(bench.load("writing:build", **given)).finals


def holds_for(bench: BatchBench, finals: list[AttemptResult]) -> None:
    assert [final.outcome for final in finals] == [Outcome.PASSED] * len(CASES)
    assert [kept(bench, final) for final in finals] == [[f"{n} one\n", f"{n} one\n{n} two\n"] for n in "abc"]


@pytest.mark.parametrize("isolation", ["Process", "Thread"])
def test_every_trial_has_its_own_files_at_each_boundary(bench: BatchBench, isolation: str) -> None:
    finals = run(bench, environment={"isolation": isolation})

    holds_for(bench, finals)


def test_a_file_over_the_limit_fails_its_trial_alone(bench: BatchBench) -> None:
    one = {"name": "large", "input": {"case": "large", "also": "big"}}

    finals = run(bench, cases=[CASES[0], one, {"name": "ignored", "input": {"case": "ignored", "also": "big.tmp"}}])

    assert [final.outcome for final in finals] == [Outcome.PASSED, Outcome.FAILED, Outcome.PASSED]
    assert finals[1].reason == Reason.FILES_NOT_KEPT
    assert finals[1].message.startswith('after node "one": out/big is more than 1,000 bytes; raise spec.checkpoints')


def test_what_a_refused_boundary_left_is_collected_at_the_batchs_end(bench: BatchBench) -> None:
    # "log" comes before "zeros", so its content is kept by the time that the other is refused.
    one = {"name": "large", "input": {"case": "large", "also": "zeros"}}

    finals = run(bench, cases=[CASES[0], one])

    files = files_folder(bench.target)
    assert finals[1].reason == Reason.FILES_NOT_KEPT
    assert examine(BlobStore(objects_folder(files)), checkpoint_files(files)).orphans == ()
    assert kept(bench, finals[0]) == ["a one\n", "a one\na two\n"]


def test_a_batch_that_begins_from_another_begins_with_its_files(bench: BatchBench) -> None:
    run(bench, name="first")
    fork = {
        "cases": CASES,
        "checkpoints": {"files": FILES, "keep": "Always"},
        "forkFrom": {"batchTest": "first", "node": "one"},
    }

    finals = bench.run(bound(bench.store, bench.load("writing:build", name="second", **fork))).finals

    assert [final.outcome for final in finals] == [Outcome.PASSED] * len(CASES)
    assert [final.output["log"] for final in finals] == [f"{n} one\n{n} two\n" for n in "abc"]


def test_files_that_nobody_can_go_back_to_go_with_the_states_of_their_trials(bench: BatchBench) -> None:
    failed = {"name": "large", "input": {"case": "large", "also": "big"}}

    finals = run(bench, cases=[*CASES, failed], checkpoints={"files": {**FILES, "maxFileBytes": 3000}, "keep": "Never"})

    assert [final.outcome for final in finals] == [Outcome.PASSED] * 4
    assert list(BlobStore(objects_folder(files_folder(bench.target))).digests()) == []


def test_without_declared_files_nothing_is_kept(bench: BatchBench) -> None:
    run(bench, checkpoints={})

    files = files_folder(bench.target)
    assert not objects_folder(files).exists()
    assert examine(BlobStore(objects_folder(files)), checkpoint_files(files)).orphans == ()


def test_db_check_names_lost_files_and_removes_what_nobody_refers_to(bench: BatchBench) -> None:
    run(bench)
    line, blobs = CommandLine(bench.folder), BlobStore(objects_folder(files_folder(bench.target)))
    whole = set(blobs.digests())
    with blobs.in_use():
        blobs.put(b"nobody's")
    repaired = line.run("db", "check", "--repair", "--store", bench.target)
    left = set(blobs.digests())
    for digest in left:
        blobs.place(digest).unlink()

    broken = line.run("db", "check", "--store", bench.target)

    assert (repaired.returncode, left) == (0, whole)
    assert "1 contents of files that no checkpoint referred to were removed, 8 bytes" in repaired.stdout
    assert broken.returncode == 1
    (told,) = [line for line in broken.stdout.splitlines() if line.startswith("critical lost_files")]
    assert "lost_files  bench-" in told
    assert "files are lost that the checkpoints of left/a/0#1, left/b/0#1, left/c/0#1 refer to" in told
    assert told.endswith("or run those trials again: nothing is taken back to these")


@pytest.mark.parametrize("keep", [{}, {"keep": "OnFailure"}, {"keep": "Never"}, {"keepLimit": "1Ki"}])
def test_db_check_says_when_the_folder_of_the_states_is_gone(bench: BatchBench, keep: dict[str, str]) -> None:
    run(bench, cases=CASES[:1], checkpoints=keep)
    line = CommandLine(bench.folder)
    whole = line.run("db", "check", "--store", bench.target)
    shutil.rmtree(files_folder(bench.target))

    lost = line.run("db", "check", "--store", bench.target)

    assert "nothing wrong was found" in whole.stdout
    assert (lost.returncode, "lost_states" in lost.stdout) == (0, "keep" not in keep)


def test_nothing_is_taken_back_to_a_boundary_whose_files_are_lost(bench: BatchBench, tmp_path: Path) -> None:
    loaded = bench.load("writing:build", cases=CASES[:1], checkpoints={"files": FILES})
    desk = Desk(bench, loaded, bench.run(loaded), tmp_path / "log")
    blobs = BlobStore(objects_folder(files_folder(bench.target)))
    held = desk.moves.roll_back(desk.kept("left", "a"), "two")
    (one,) = [point for point in desk.now(held).history if "one" in point.nodes]
    blobs.place(read_snapshot(blobs, one.files)[0].digest).unlink()
    before, entries = desk.now(held), list(bench.store.audit_entries(held.batch))

    with pytest.raises(FilesLost, match="nothing was changed; choose another boundary"):
        desk.moves.roll_back(before, "one")
    with pytest.raises(FilesLost):
        desk.moves.roll_back(desk.kept("left", "a"), "one")
    with pytest.raises(FilesLost):
        desk.moves.fork(before, "one", loaded.plan.combinations[0], {})
    assert desk.moves.state(before, "one") == {"case": "a", "log": "a one\n"}

    assert [folder.load().id for folder in desk.folders.of_batch(held.batch)] == [held.id]
    assert (desk.now(held), list(bench.store.audit_entries(held.batch))) == (before, entries)


@pytest.mark.proves("bug-29")
@pytest.mark.timeout(300)
def test_an_execution_that_is_taken_back_goes_on_with_the_files_of_its_boundary(tmp_path: Path) -> None:
    line = CommandLine(tmp_path)
    file = batch_file(tmp_path, "writing:build", cases=CASES[:1], checkpoints={"files": FILES})
    assert line.run("run", str(file)).returncode == 0

    back = line.json("execution", "rollback", "bench", "left/a/0", "--to", "one")
    ended = line.json("execution", "resume", back["execution"])

    assert (ended["status"], ended["state"]["log"]) == ("Completed", "a one\na two\n")
