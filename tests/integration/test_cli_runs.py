"""``run`` and ``resume`` by real commands: exit codes, what is printed where, and what bad input leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from command_line import TESTS, Bench, batch_test, workflow

if TYPE_CHECKING:
    from pathlib import Path

CASE = {"name": "one", "input": {}}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def evaluators(field: str) -> dict[str, Any]:
    return {"evaluators": [{"name": "exactMatch", "config": {"field": field}}]}


# -- exit codes ----------------------------------------------------------------------------------------------------


def test_a_batch_that_succeeds_ends_with_0_and_a_table(bench: Bench) -> None:
    done = bench.run("run", bench.write())

    assert done.returncode == 0, done.stderr
    assert "combination" in done.stdout
    assert "4 of 4 trials finished: 4 Passed" in done.stdout
    assert "batch small-" in done.stderr


def test_a_gate_that_fails_ends_with_1_and_says_which_rule(bench: Bench) -> None:
    file = bench.write(
        workflow=workflow("gate"),
        variants={"matrix": {"answer": ["yes"]}},
        cases=[{**CASE, "expected": {"answer": "yes"}}, {"name": "two", "expected": {"answer": "no"}}],
        evaluation=evaluators("answer"),
        gate={"minScore": 0.9},
    )

    done = bench.run("run", file)

    assert done.returncode == 1, done.stderr
    assert "gate FAIL  minScore" in done.stdout
    assert "Failed yes/two/0#1" in done.stderr


def test_a_batch_in_which_nothing_passes_ends_with_1(bench: Bench) -> None:
    file = bench.write(
        workflow=workflow("hostile"),
        variants={"matrix": {"act": ["raises"]}},
        cases=[CASE],
        deadlines={"graceSeconds": 0},
    )

    done = bench.run("run", file)

    assert done.returncode == 1, done.stderr
    assert "AllTrialsFailed" in done.stdout


def test_the_batchs_deadline_ends_it_with_3(bench: Bench) -> None:
    file = bench.write(
        workflow=workflow("gate"),
        cases=[{"name": "one", "input": {"open": "/nonexistent/gate"}}],
        deadlines={"batchSeconds": 2, "trialSeconds": 2, "graceSeconds": 0},
    )

    done = bench.run("run", file)

    assert done.returncode == 3, done.stderr
    assert "BatchDeadlineExceeded" in done.stdout


def test_a_store_that_cannot_be_one_ends_with_4(bench: Bench) -> None:
    done = bench.run("run", bench.write(), "--store", str(bench.folder))

    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].startswith("error: store ")


# -- bad input -----------------------------------------------------------------------------------------------------

BAD_FILES = {
    "no yaml": "spec: [",
    "no mapping": "just text",
    "empty": "",
    "two faults": json.dumps(batch_test(parallelism=0, repeats="many")),
    "no case": json.dumps(batch_test(cases=[])),
    "no such folder": json.dumps(batch_test(workflow={"factory": "a.b:c", "source": {"path": "nowhere"}})),
    "no such module": json.dumps(batch_test(workflow={"factory": "nope.graph:build", "source": {"path": "."}})),
    "no such factory": json.dumps(
        batch_test(workflow={"factory": "workflows.noop:nope", "source": {"path": str(TESTS)}})
    ),
    "the factory refuses": json.dumps(batch_test(workflow=workflow("hostile"))),
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES.keys())
@pytest.mark.proves("bug-08")
def test_bad_input_ends_with_2_names_the_fault_and_creates_nothing(bench: Bench, content: str) -> None:
    (bench.folder / "bad.yaml").write_text(content, encoding="utf-8")

    refused = bench.run("run", "bad.yaml")

    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: bad.yaml: ")
    assert "Traceback" not in refused.stderr
    assert [path.name for path in bench.folder.iterdir()] == ["bad.yaml"]


def test_every_fault_has_a_line_with_path_value_and_remedy(bench: Bench) -> None:
    refused = bench.run("run", bench.write(parallelism=0, repeats="many"))

    head, parallelism, repeats = refused.stderr.splitlines()
    assert head == "error: batch.yaml: 2 faults"
    assert parallelism.startswith("  spec.parallelism: 0: must be at least 1; ")
    assert repeats.startswith('  spec.repeats: "many": must be a whole number; ')


def test_a_file_that_is_not_there_is_named(bench: Bench) -> None:
    refused = bench.json("run", "nowhere.yaml", exit_code=2)

    assert refused["error"]["faults"][0]["value"] == "nowhere.yaml"


def test_validate_says_the_same_in_both_forms(bench: Bench) -> None:
    file = bench.write(parallelism=0, repeats="many")

    told = bench.json("validate", file, exit_code=2)
    said = bench.run("validate", file)

    assert [fault["path"] for fault in told["faults"]] == ["spec.parallelism", "spec.repeats"]
    assert told["valid"] is False
    assert said.returncode == 2
    assert "spec.repeats" in said.stderr


def test_validate_tells_what_no_pod_would_have_beside_every_other_fault(bench: Bench) -> None:
    gate = {"baseline": {"combination": "nix"}}
    file = bench.write(environment={"template": {"hostNetwork": True, "foo": 1}}, gate=gate)

    told = bench.json("validate", file, exit_code=2)

    assert [fault["path"].removeprefix("spec.") for fault in told["faults"]] == [
        "environment.template.hostNetwork",
        "environment.template.foo",
        "gate.baseline.combination",
    ]


def test_validate_builds_the_workflow_unless_told_not_to(bench: Bench) -> None:
    file = bench.write(workflow={"factory": "workflows.noop:nope", "source": {"path": str(TESTS)}})

    assert bench.json("validate", file, exit_code=2)["faults"][0]["path"] == "spec.workflow.factory"
    assert bench.json("validate", file, "--no-workflow") == {"valid": True, "faults": []}


# -- what is printed -------------------------------------------------------------------------------------------------


def test_the_document_has_the_contracts_shape(bench: Bench) -> None:
    document = bench.json("run", bench.write())

    assert {"batch", "trials", "combinations", "best", "gate", "audit"} <= document.keys()
    assert {"id", "name", "phase", "reason", "message", "startTime", "completionTime"} <= document["batch"].keys()
    first = document["trials"][0]
    assert {key: first[key] for key in ("id", "combination", "case", "repeat", "attempt", "outcome", "nodes")} == {
        "id": "x/one/0",
        "combination": {"a": "x"},
        "case": "one",
        "repeat": 0,
        "attempt": 1,
        "outcome": "Passed",
        "nodes": ["one", "two", "three", "four", "five"],
    }
    assert {"reason", "message", "score", "metrics", "durationSeconds", "startTime", "completionTime"} <= first.keys()
    assert len(document["trials"]) == document["counts"]["total"] == 4
    assert document["gate"] == {"passed": True, "outcome": "Passed", "checks": []}
    assert document["audit"]["dropped"] == 0
    assert len(document["audit"]["head"]) == 64


def test_the_file_may_come_from_standard_input(bench: Bench) -> None:
    done = bench.run("run", "-", stdin=json.dumps(batch_test()))

    assert done.returncode == 0, done.stderr


def test_quiet_says_nothing_but_the_result(bench: Bench) -> None:
    done = bench.run("run", bench.write(), "--quiet")

    assert done.stderr == ""
    assert "4 Passed" in done.stdout


def test_thread_isolation_says_that_deadlines_are_cooperative(bench: Bench) -> None:
    done = bench.run("run", bench.write(environment={"isolation": "Thread"}))

    assert done.returncode == 0, done.stderr
    assert "deadlines are cooperative" in done.stderr


def test_another_provider_is_said_to_run_in_local_processes(bench: Bench) -> None:
    done = bench.run("run", bench.write(environment={"provider": "KubeRay"}))

    assert done.returncode == 0, done.stderr
    assert "use the operator for KubeRay" in done.stderr


def test_a_run_imports_no_kubernetes_no_ray_and_not_even_langgraph(bench: Bench) -> None:
    script = (
        "import sys\nfrom batchyard.cli.main import run\n"
        f"code = run(['run', {bench.write()!r}])\n"
        "loaded = {'kopf', 'kubernetes', 'ray', 'langgraph', 'langchain_core'} & set(sys.modules)\n"
        "sys.exit(repr((code, loaded)) if code or loaded else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=bench.folder,
        env=bench.environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_a_reader_that_goes_away_changes_neither_the_exit_code_nor_says_a_word(bench: Bench) -> None:
    file = bench.write(repeats=200)
    process = bench.start("expand", file, "--output", "json")
    assert process.stdout is not None

    process.stdout.readline()
    process.stdout.close()

    assert process.wait(timeout=30) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_an_unexpected_error_is_one_line_with_a_way_to_its_traceback(bench: Bench) -> None:
    (bench.folder / "batchyard_broken.py").write_text(
        "from batchyard.cli import files\n"
        "def broken(*_, **__):\n    raise ZeroDivisionError('by nought')\n"
        "files.expand_file = broken\n"
        "import sys\nfrom batchyard.cli.main import run\nsys.exit(run(sys.argv[1:]))\n",
        encoding="utf-8",
    )

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "batchyard_broken.py", *arguments]
        return subprocess.run(
            words, cwd=bench.folder, env=bench.environment, capture_output=True, text=True, check=False
        )

    plain, debug = ask("expand", "x.yaml"), ask("--debug", "expand", "x.yaml")

    assert plain.returncode == debug.returncode == 4
    assert plain.stderr.splitlines()[0] == "error: unexpected ZeroDivisionError: by nought"
    assert "--debug" in plain.stderr
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr


def test_a_run_says_why_a_declared_node_is_not_shared(bench: Bench) -> None:
    nodes = [{"name": "n1", "dependsOn": []}, {"name": "n8", "dependsOn": [], "reads": ["branching:LOCK"]}]
    file = bench.write(
        workflow={
            "factory": "branching:build",
            "source": {"path": str(TESTS / "workflows")},
            "sharedPrefix": {"nodes": nodes},
        },
        variants={"matrix": {"first": ["a"], "last": ["0", "1"]}},
        cases=[{"name": "one", "input": {"log": str(bench.folder / "log")}}],
    )

    told, silent = bench.run("run", file), bench.run("run", file, "--quiet")

    assert told.returncode == 0, told.stderr
    (note,) = [line for line in told.stderr.splitlines() if line.startswith("note: node")]
    assert note.startswith("note: node n8 is not shared: ")
    assert "lock" in note
    assert silent.stderr == ""
