"""A checkpoint survives the death of its process, wherever in a run that comes."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchyard.workflows.checkpoint_file import read_boundaries
from batchyard.workflows.checkpoints import SqliteCheckpoints
from checkpoint_child import NODES

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

CHILD = Path(__file__).parents[1] / "checkpoint_child.py"


@pytest.fixture(scope="module", params=["plain", "awaited"])
def dead_files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The checkpoint files of processes that died of SIGKILL: the first in node 0, the second in node 1, and so on."""
    folder = tmp_path_factory.mktemp("dead")
    command = [sys.executable, str(CHILD), "die", str(folder), request.param]
    ended = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True).stdout.split()
    assert ended == [str(-signal.SIGKILL)] * NODES
    return [folder / f"{request.param}-{node}.db" for node in range(NODES)]


@pytest.mark.parametrize("node", range(NODES))
def test_every_boundary_before_a_kill_is_there_after_it(dead_files: list[Path], node: int) -> None:
    boundaries = read_boundaries(dead_files[node], "thread-0")

    assert [boundary.node for boundary in boundaries] == [f"n{index}" for index in range(node)]
    assert all(boundary.entry_checkpoint and boundary.exit_checkpoint for boundary in boundaries)


@pytest.mark.parametrize("node", range(NODES))
def test_the_file_of_a_killed_process_opens_again_with_all_its_states(dead_files: list[Path], node: int) -> None:
    saver = SqliteCheckpoints(dead_files[node])

    try:
        boundaries = read_boundaries(dead_files[node], "thread-0")
        states = [saver.get_tuple(at("thread-0", boundary.exit_checkpoint)) for boundary in boundaries]
        logs = [state.checkpoint["channel_values"]["log"] for state in states if state is not None]
        assert logs == [list(range(count)) for count in range(1, node + 1)]
        saver.put_writes(at("thread-0", "later"), [("log", [99])], "task")
    finally:
        saver.close()


@pytest.mark.parametrize("seed", range(4))
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "checkpoints.db"
    wanted = random.Random(seed).randrange(5, 60)  # noqa: S311 - the moment of a kill, no secret

    finished = kill_after(path, wanted)

    saver = SqliteCheckpoints(path)
    try:
        for thread in finished:
            assert [boundary.node for boundary in read_boundaries(path, thread)] == [f"n{i}" for i in range(NODES)]
        newest = f"thread-{len(finished)}"
        for boundary in read_boundaries(path, newest):
            state = saver.get_tuple(at(newest, boundary.exit_checkpoint))
            assert state is not None
            assert state.checkpoint["channel_values"]["log"][-1] == int(boundary.node[1:])
    finally:
        saver.close()


@pytest.mark.proves("checkpointers")
def test_eight_processes_write_and_another_reads_and_none_finds_a_file_locked(tmp_path: Path) -> None:
    files = [tmp_path / f"worker-{number}.db" for number in range(8)]
    children = [
        subprocess.Popen(
            [sys.executable, str(CHILD), "some", str(file), "10"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for file in files
    ]  # fmt: skip

    while any(child.poll() is None for child in children):
        for file in files:
            read_boundaries(file, "thread-0")

    assert [(child.returncode, child.communicate()[1]) for child in children] == [(0, "")] * 8
    assert [len(read_boundaries(file, "thread-9")) for file in files] == [NODES] * 8


def kill_after(path: Path, threads: int) -> list[str]:
    """Kill the child from outside once it said that so many threads were through; return all that it said were."""
    command = [sys.executable, str(CHILD), "run", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        finished = [child.stdout.readline().strip() for _ in range(threads)]
        child.kill()
        finished += [line.strip() for line in child.stdout if line.endswith("\n")]
    return finished


def at(thread: str, checkpoint: str | None) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": "", "checkpoint_id": checkpoint}}
