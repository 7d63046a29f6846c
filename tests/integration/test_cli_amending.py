"""What a user sees of amending: how much is carried over, why not more, and what refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from command_line import TESTS, Bench
from runner_bench import await_true

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import Popen

GATE = (TESTS / "workflows" / "gate.py").read_text()
GRAPH = """
from typing import TypedDict

from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    case: str


def build(variants):
    graph = StateGraph(State)
    graph.add_node("only", lambda state: {"case": state["case"]})
    graph.add_edge(START, "only")
    graph.add_edge("only", END)
    return graph
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "graph.py").write_text(GRAPH)
    made = Bench(tmp_path)
    made.write(**own_code())
    return made


def own_code(**spec: Any) -> dict[str, Any]:
    return {"workflow": {"factory": "graph:build", "source": {"path": "."}}, **spec}


def test_the_rest_is_run_and_the_whole_is_shown(bench: Bench) -> None:
    first = bench.json("run", "batch.yaml")
    more = bench.write("more.yaml", **own_code(repeats=2))

    told = bench.run("run", more, "--amend", "small")
    shown = bench.json("show", "small", "--trials")

    assert told.returncode == 0, told.stderr
    assert f"4 of 8 trials carried over from {first['batch']['id']}, 4 to run: 4 new" in told.stderr
    assert "4 of 8 trials were carried over and not run again" in told.stdout
    assert shown["counts"]["carriedOver"] == 4
    ran_in = {trial["id"]: trial.get("carriedFrom") for trial in shown["trials"]}
    assert ran_in["x/one/0"] == first["batch"]["id"]
    assert ran_in["x/one/1"] is None


def test_changed_code_is_named_and_nothing_is_made(bench: Bench) -> None:
    bench.json("run", "batch.yaml")
    (bench.folder / "graph.py").write_text(GRAPH + "# changed\n")

    refused = bench.run("run", "batch.yaml", "--amend", "small")

    assert refused.returncode == 2
    assert "cannot be amended: code: graph.py is another" in refused.stderr
    assert len(bench.json("list")["batches"]) == 1


def test_a_file_that_says_what_it_amends_means_the_same(bench: Bench) -> None:
    first = bench.json("run", "batch.yaml")
    more = bench.write("more.yaml", **own_code(repeats=2, amends="small"))
    written = (bench.folder / more).read_text()
    (bench.folder / more).write_text(written.replace('{"name": "small"}', '{"name": "larger"}'))

    told = bench.run("run", more)
    both = bench.run("run", more, "--amend", "small")

    assert told.returncode == 0, told.stderr
    assert f"4 of 8 trials carried over from {first['batch']['id']}, 4 to run: 4 new" in told.stderr
    assert both.returncode == 2
    assert "says already what is amended, and so does --amend" in both.stderr


def test_to_amend_and_to_reuse_is_one_too_many(bench: Bench) -> None:
    done = bench.run("run", "batch.yaml", "--amend", "small", "--reuse")

    assert done.returncode == 2
    assert "not both" in done.stderr


def test_what_runs_write_themselves_is_no_code(bench: Bench) -> None:
    store = ("--store", "results.sqlite")
    bench.run("run", "batch.yaml", *store, "--report", "first.html")
    bench.run("run", "batch.yaml", *store, "--report", "second.html", "--report", "junit.xml")

    again = bench.run("run", "batch.yaml", *store, "--report", "second.html", "--reuse")
    (first,) = bench.json("list", *store)["batches"][2:]
    amended = bench.run("run", "batch.yaml", *store, "--amend", first["id"])

    assert "4 of 4 trials carried over" in again.stderr
    assert f"4 of 4 trials carried over from {first['id']}" in amended.stderr


def test_what_is_no_code_can_be_left_out_later(bench: Bench) -> None:
    (bench.folder / "notes.txt").write_text("before")
    first = bench.json("run", "batch.yaml")["batch"]["id"]
    (bench.folder / "notes.txt").write_text("after")

    refused = bench.run("run", "batch.yaml", "--amend", "small")
    reused = bench.run("run", "batch.yaml", "--reuse")
    (bench.folder / ".batchyardignore").write_text("*.txt\n")
    amended = bench.run("run", "batch.yaml", "--amend", first)

    assert "notes.txt is another" in refused.stderr
    assert "leave out in .batchyardignore what is no code, or run all of it anew" in refused.stderr
    assert "leave out in .batchyardignore what is no code\n" in reused.stderr
    assert "4 of 4 trials carried over" in amended.stderr


@pytest.fixture
def held(bench: Bench) -> Iterator[Popen[str]]:
    """A run whose trials wait for the file ``.gate``."""
    waiting = {"open": str(bench.folder / ".gate"), "begun": str(bench.folder / ".begun")}
    (bench.folder / "graph.py").write_text(GATE)
    bench.write(**own_code(cases=[{"name": "one", "input": waiting}]))
    process = bench.start("run", "batch.yaml", "--quiet")
    await_true((bench.folder / ".begun").exists, "a trial waits")
    yield process
    process.kill()
    process.communicate()


def test_a_resume_that_is_refused_leaves_the_batch_as_it_was(bench: Bench, held: Popen[str]) -> None:
    (bench.folder / "graph.py").write_text(GATE + "# changed while it runs\n")
    refused = bench.run("resume", "small")
    (bench.folder / "graph.py").write_text(GATE)
    (bench.folder / ".gate").touch()
    held.communicate(timeout=60)

    amended = bench.run("run", "batch.yaml", "--amend", "small")

    assert refused.returncode == 4
    assert "is being run by process" in refused.stderr
    assert "not all is as it was" not in refused.stderr
    assert "2 of 2 trials carried over" in amended.stderr


def test_a_resume_after_a_change_says_what_changed(bench: Bench, held: Popen[str]) -> None:
    held.kill()
    held.communicate()
    (bench.folder / "graph.py").write_text(GATE + "# changed\n")
    (bench.folder / ".gate").touch()

    resumed = bench.run("resume", "small")

    assert resumed.returncode == 0, resumed.stderr
    assert "not all is as it was when the batch began: code: graph.py is another" in resumed.stderr
    assert "it was resumed after a change" in bench.run("run", "batch.yaml", "--amend", "small").stderr
