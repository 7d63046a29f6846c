"""Runs that are interrupted, killed or busy, and ``resume``, by real commands."""

from __future__ import annotations

import shutil
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from command_line import TESTS, Bench, workflow

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    pause = threading.Event()
    for _ in range(1500):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()
        pause.wait(0.02)
    process.kill()
    raise AssertionError(f"{path} did not appear")


def waiting(bench: Bench, grace: float) -> subprocess.Popen[str]:
    """Start a run that waits for a gate that never opens, and has begun to."""
    begun = bench.folder / "begun"
    file = bench.write(
        workflow=workflow("gate"),
        cases=[{"name": "slow", "input": {"open": "/nonexistent/gate", "begun": str(begun)}}],
        deadlines={"graceSeconds": grace},
    )
    process = bench.start("run", file)
    wait_for(begun, process)
    return process


def test_an_interrupted_run_ends_with_130_and_resume_runs_only_the_rest(bench: Bench, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    cases = [{"name": "quick", "input": {}}, {"name": "slow", "input": {"open": str(gate), "begun": str(begun)}}]
    file = bench.write(
        workflow=workflow("gate"),
        variants={"matrix": {"answer": ["yes"]}},
        cases=cases,
        parallelism=1,
        deadlines={"graceSeconds": 0},
    )
    process = bench.start("run", file)
    wait_for(begun, process)

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "stopping: finished results are kept" in err
    assert "Go on with: batchyard resume small-" in out

    gate.touch()
    resumed = bench.json("resume", "small")

    assert [(trial["id"], trial["attempt"]) for trial in resumed["trials"]] == [("yes/quick/0", 1), ("yes/slow/0", 2)]
    assert resumed["batch"]["phase"] == "Succeeded"
    assert bench.run("audit", "verify", "small").returncode == 0


def test_resume_runs_nothing_while_the_code_is_gone_and_goes_on_when_it_is_back(bench: Bench, tmp_path: Path) -> None:
    gate, begun, code = tmp_path / "gate", tmp_path / "begun", tmp_path / "code"
    code.mkdir()
    shutil.copy(TESTS / "workflows" / "gate.py", code / "gate.py")
    file = bench.write(
        workflow={"factory": "gate:build", "source": {"path": "code"}},
        cases=[{"name": "slow", "input": {"open": str(gate), "begun": str(begun)}}],
        deadlines={"graceSeconds": 0},
    )
    process = bench.start("run", file, "--quiet")
    wait_for(begun, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    code.rename(tmp_path / "elsewhere")

    refused = bench.run("resume", "small")
    left = bench.json("show", "small")["counts"]

    (tmp_path / "elsewhere").rename(code)
    gate.touch()
    resumed = bench.json("resume", "small")
    assert (refused.returncode, "is left as it is" in refused.stderr) == (2, True)
    assert left["failed"] == left["errored"] == 0
    assert (resumed["batch"]["phase"], resumed["counts"]["passed"]) == ("Succeeded", resumed["batch"]["total"])


def test_a_second_interrupt_ends_at_once_with_130(bench: Bench) -> None:
    process = waiting(bench, grace=3000)
    assert process.stderr is not None

    process.send_signal(signal.SIGINT)
    while "stopping:" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=10) == 130
    process.communicate()


def test_term_is_an_interruption_too(bench: Bench) -> None:
    process = waiting(bench, grace=0)

    process.terminate()
    _, err = process.communicate(timeout=30)

    assert process.returncode == 130, err


def test_resuming_a_finished_batch_says_so_and_gives_its_own_exit_code(bench: Bench) -> None:
    file = bench.write(
        workflow=workflow("hostile"), variants={"matrix": {"act": ["raises"]}}, cases=[{"name": "one", "input": {}}]
    )
    bench.run("run", file)

    again = bench.run("resume", "small")

    assert again.returncode == 1
    assert "is finished" in again.stderr
    assert "AllTrialsFailed" in again.stdout


def test_a_batch_that_runs_cannot_be_run_a_second_time(bench: Bench, tmp_path: Path) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    file = bench.write(
        workflow=workflow("gate"), cases=[{"name": "slow", "input": {"open": str(gate), "begun": str(begun)}}]
    )
    process = bench.start("run", file)
    wait_for(begun, process)

    second = bench.run("resume", "small")
    gate.touch()
    process.communicate(timeout=30)

    assert second.returncode == 4
    assert "is being run by process" in second.stderr
    assert process.returncode == 0
