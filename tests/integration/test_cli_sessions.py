"""A run that is killed is seen as abandoned, ended by the next command that runs something, and gone on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from command_line import Bench, workflow
from runner_bench import await_true

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import Popen


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def running(bench: Bench) -> Iterator[Popen[str]]:
    """A run of which two trials are done and two wait for a file."""
    gate, begun = bench.folder / "gate", bench.folder / "begun"
    held: dict[str, Any] = {"open": str(gate), "begun": str(begun)}
    file = bench.write(
        "held.yaml",
        workflow=workflow("gate"),
        cases=[{"name": "free", "input": {}}, {"name": "held", "input": held}],
        parallelism=4,
    )
    process = bench.start("run", file, "--quiet")
    await_true(begun.exists, "a trial waits")
    await_true(lambda: len(list((bench.folder / "data").rglob("*_held_0_1"))) == 2, "both held trials have begun")
    yield process
    process.kill()
    process.communicate()


def sessions(bench: Bench, *more: str) -> Any:
    return bench.json("db", "sessions", *more)


@pytest.mark.proves("bug-21")
def test_a_run_that_goes_on_is_alive_and_stays_untouched(bench: Bench, running: Popen[str]) -> None:
    found = sessions(bench, "--end-abandoned", "--silent-for", "1")

    assert [(session["state"], session["pid"]) for session in found["sessions"]] == [("Alive", running.pid)]
    assert found["ended"] == []
    (bench.folder / "gate").touch()
    assert running.wait(60) == 0


@pytest.mark.proves("missing-sessions")
def test_a_killed_run_is_ended_by_the_next_one_with_an_entry_and_goes_on_afterwards(
    bench: Bench, running: Popen[str]
) -> None:
    running.kill()
    running.wait(20)
    (before,) = sessions(bench)["sessions"]

    other = bench.run("run", bench.write("other.yaml"))

    assert before["state"] == "Abandoned"
    assert other.returncode == 0, other.stderr
    assert f"note: batch {before['batch']} was left by process {running.pid}" in other.stderr
    assert sessions(bench)["sessions"] == []
    assert list((bench.folder / "data").rglob("*_held_0_1")) == []
    kinds = [entry["type"] for entry in bench.json("audit", "list", before["batch"], "--limit", "0")["entries"]]
    assert kinds[-1] == "SessionAbandoned"
    assert bench.run("audit", "verify", before["batch"]).returncode == 0

    (bench.folder / "gate").touch()
    resumed = bench.json("resume", before["batch"])

    assert resumed["batch"]["phase"] == "Succeeded"
    assert {trial["case"]: trial["attempt"] for trial in resumed["trials"]} == {"free": 1, "held": 1}


def test_a_killed_run_is_ended_on_request(bench: Bench, running: Popen[str]) -> None:
    running.kill()
    running.wait(20)

    done = bench.run("db", "sessions", "--end-abandoned")

    assert done.returncode == 0, done.stderr
    assert "ended: batch small-" in done.stdout
    assert "no session is open" in done.stdout


def test_a_store_that_is_not_there_has_no_session(bench: Bench) -> None:
    assert sessions(bench)["sessions"] == []
    assert not bench.store.exists()
