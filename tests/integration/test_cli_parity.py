"""``parity`` and ``spec.parity`` as a user types them, in worker processes and in threads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from command_line import Bench, workflow

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def placed(bench: Bench, *tells: str, **spec: Any) -> str:
    return bench.write(workflow=workflow("placed"), variants={"matrix": {"tells": list(tells)}}, **spec)


@pytest.mark.proves("missing-parity")
def test_a_workflow_that_says_the_same_everywhere_is_verified_and_both_runs_are_kept(bench: Bench) -> None:
    found = bench.json("parity", placed(bench, "case"), "--against", "inprocess/thread", "--strict", "-q")

    assert (found["equivalent"], found["compared"], found["total"]) == (True, 2, 0)
    assert [found[side]["place"] for side in ("left", "right")] == ["InProcess/Process", "InProcess/Thread"]
    again = bench.run("parity", found["left"]["id"], found["right"]["id"])
    assert again.returncode == 0, again.stderr
    assert "2 trials compared, all equal" in again.stdout


@pytest.mark.alone
@pytest.mark.timeout(300)
@pytest.mark.proves("missing-parity")
def test_a_file_is_compared_with_a_ray_that_is_started_for_it(bench: Bench) -> None:
    found = bench.json("parity", placed(bench, "case", "process"), "--against", "Ray", "--strict", "-q", exit_code=1)

    assert [found[side]["place"] for side in ("left", "right")] == ["InProcess/Process", "Ray"]
    assert (found["equivalent"], found["compared"], found["matching"]) == (False, 4, 2)
    assert {one["trial"] for one in found["discrepancies"]} == {"process/one/0", "process/two/0"}


@pytest.mark.proves("missing-parity")
def test_a_run_whose_sample_differs_elsewhere_keeps_its_verdict_and_fails(bench: Bench) -> None:
    parity = {"enabled": True, "isolation": "Thread", "sampleSize": 2}
    file = placed(bench, "case", "process", parity=parity)

    done = bench.run("run", file)

    assert done.returncode == 1, done.stderr
    assert "parity FAIL  against InProcess/Thread: 2 trials compared, 1 equal; 1 discrepancy" in done.stdout
    assert ": Succeeded after" in done.stdout
    trail = [entry["type"] for entry in bench.json("audit", "list", "small")["entries"]]
    assert trail[-3:] == ["BatchFinished", "ParityMismatch", "ParityMismatch"]
    assert bench.run("audit", "verify", "small").returncode == 0
    assert bench.run("resume", "small", "-q").returncode == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a.yaml", "--against", "moon"], "InProcess, InProcess/Process, InProcess/Thread or Ray"),
        (["a.yaml", "--against", "Ray/Thread"], "Ray's actors run no user code"),
        (["a", "b", "--sample", "3"], "two batches are not run again"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_way_out(bench: Bench, words: list[str], told: str) -> None:
    done = bench.run("parity", *words)

    assert done.returncode == 2
    assert told in done.stderr.replace("\n", " ")


def test_a_place_that_is_not_there_leaves_parity_unknown_until_it_is(bench: Bench) -> None:
    (bench.folder / "ray.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\")")
    without = Bench(bench.folder, {"PYTHONPATH": str(bench.folder)})
    file = placed(bench, "case", parity={"enabled": True, "against": "Ray"})

    done = without.run("run", file, "--output", "json")

    assert done.returncode == 4, done.stderr
    assert json.loads(done.stdout)["batch"]["phase"] == "Succeeded"
    assert "parity was not verified" in done.stderr
    assert "batchyard resume small-" in done.stderr


def spending(bench: Bench, **spec: Any) -> str:
    """Write a batch of eight trials, of whose twin the first uses up what all may use."""
    cases = [{"name": name, "input": {"notes": str(bench.folder / "notes")}} for name in "abcdefgh"]
    return bench.write(
        workflow=workflow("ninth_time"), variants={"matrix": {"only": ["this"]}}, cases=cases, parallelism=1,
        budgets={"batch": {"tokens": 100}}, **spec,
    )  # fmt: skip


def test_a_run_elsewhere_that_ended_early_leaves_parity_unknown_and_resume_runs_it_again(bench: Bench) -> None:
    done = bench.run("run", spending(bench, parity={"enabled": True, "isolation": "Thread", "sampleSize": 8}))

    assert done.returncode == 4, done.stderr
    (told,) = [line for line in done.stderr.splitlines() if "parity was not verified" in line]
    assert "BatchBudgetExceeded" in told
    assert "try again with: batchyard resume small-" in told
    again = bench.run("resume", "small", "-q")
    assert again.returncode == 0, again.stderr
    assert "parity pass  against InProcess/Thread: 8 trials compared, all equal" in again.stdout


def test_a_file_one_of_whose_runs_ended_early_is_not_compared_and_its_exit_code_says_why(bench: Bench) -> None:
    done = bench.run("parity", spending(bench), "--against", "inprocess/thread", "-q")

    assert done.returncode == 3, done.stderr
    assert "parity was not checked: batch small-parity-against-" in done.stderr
    assert "BatchBudgetExceeded" in done.stderr
    assert done.stdout == ""
