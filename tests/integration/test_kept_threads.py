"""After a batch its states are there to be gone on with as its spec says, within its share of the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batch_bench import cases
from batchyard.local_files import CHECKPOINTS, EXECUTIONS, KEPT, WORKSPACES, KeptThreads, files_folder, forget_batch
from batchyard.model.outcome import Outcome
from batchyard.workflows.checkpoint_reading import read_history

if TYPE_CHECKING:
    from pathlib import Path

    from batch_bench import BatchBench, Ran
    from batchyard.model.trial import JSON, AttemptResult

GOOD_AND_BAD = [*cases("good"), *cases("bad", error="broken")]
NEVER = "/nowhere/at/all"


def kept_nodes(bench: BatchBench, ran: Ran, result: AttemptResult) -> list[str] | None:
    """The nodes that a kept attempt had ended, None if it was not kept."""
    file = KeptThreads(files_folder(bench.target), ran.record.id).find(result.thread_id, result.worker)
    if file is None:
        return None
    return [node for point in read_history(file, result.thread_id) for node in point.nodes]


def worker_files(bench: BatchBench, ran: Ran) -> int:
    return KeptThreads(files_folder(bench.target), ran.record.id).worker_bytes()


@pytest.mark.parametrize(
    ("policy", "good", "bad"),
    [("Always", ["before", "act", "after"], ["before"]), ("OnFailure", None, ["before"]), ("Never", None, None)],
)
def test_the_batch_says_whose_states_are_kept(
    bench: BatchBench, policy: str, good: list[str] | None, bad: list[str] | None
) -> None:
    ran = bench.run(bench.load(cases=GOOD_AND_BAD, checkpoints={"keep": policy}))

    assert kept_nodes(bench, ran, ran.of("left", "good")) == good
    assert kept_nodes(bench, ran, ran.of("left", "bad")) == bad
    assert (worker_files(bench, ran) > 0) == (policy == "Always")


def test_the_states_of_an_attempt_that_was_killed_are_kept_up_to_its_last_boundary(bench: BatchBench) -> None:
    deadlines: dict[str, JSON] = {"trialSeconds": 3, "graceSeconds": 0}
    keep: dict[str, JSON] = {"keep": "OnFailure"}

    ran = bench.run(bench.load(cases=cases("one", until=NEVER), deadlines=deadlines, checkpoints=keep))

    assert ran.of("left").outcome is Outcome.TIMED_OUT
    assert kept_nodes(bench, ran, ran.of("left")) == ["before"]


def test_without_room_for_all_the_failed_ones_are_kept_in_order(bench: BatchBench) -> None:
    failing = cases(*(f"bad-{number}" for number in range(4)), error="broken")

    ran = bench.run(bench.load(cases=[*cases("good"), *failing], checkpoints={"keepLimit": "20Ki"}))

    found = [kept_nodes(bench, ran, ran.of("left", f"bad-{number}")) for number in range(4)]
    assert found[0] == ["before"]
    assert found[-1] is kept_nodes(bench, ran, ran.of("left", "good")) is None
    assert worker_files(bench, ran) == 0
    kept = (files_folder(bench.target) / KEPT / ran.record.id).iterdir()
    assert sum(file.stat().st_size for file in kept) <= 20 * 1024


def test_what_is_kept_goes_with_its_batch(tmp_path: Path) -> None:
    for folder in (KEPT, EXECUTIONS, WORKSPACES, CHECKPOINTS):
        (tmp_path / folder / "old").mkdir(parents=True)
        (tmp_path / folder / "other").mkdir()

    forget_batch(tmp_path, "old")

    assert {path.name for path in tmp_path.glob("*/*")} == {"other"}
