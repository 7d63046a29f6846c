"""``batchyard import`` as it is typed: what is written, what is said, and that nothing is written by halves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from command_line import Bench, batch_test

if TYPE_CHECKING:
    from pathlib import Path

TESTS = """
tests:
  - {description: one, vars: {text: a}, assert: [{type: contains, value: A}, {type: llm-rubric, value: kind}]}
  - {description: two, vars: {text: b}, assert: [{type: contains, value: B}]}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "tests.yaml").write_text(TESTS, encoding="utf-8")
    return Bench(tmp_path)


def test_cases_and_evaluation_are_written_and_the_rest_is_said(bench: Bench) -> None:
    done = bench.run("import", "tests.yaml", "--evaluation", "evaluation.yaml", "--output-field", "text")

    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line) for line in (bench.folder / "cases.jsonl").read_text("utf-8").splitlines()] == [
        {"name": "one", "input": {"text": "a"}, "expected": {"text": "A"}},
        {"name": "two", "input": {"text": "b"}, "expected": {"text": "B"}},
    ]
    snippet = yaml.safe_load((bench.folder / "evaluation.yaml").read_text("utf-8"))
    assert snippet == {
        "evaluation": {"passThreshold": 1, "evaluators": [{"name": "contains", "config": {"field": "text"}}]}
    }
    assert "cases.jsonl: 2 cases from tests.yaml (promptfoo)" in done.stdout
    assert (
        "tests[0].assert[1]: assertion `llm-rubric`; write a `callable` evaluator that asks your model" in done.stdout
    )


def test_what_was_written_is_a_valid_batch(bench: Bench) -> None:
    bench.run("import", "tests.yaml", "--evaluation", "evaluation.yaml")
    document: dict[str, Any] = batch_test(casesFrom=[{"path": "cases.jsonl"}])
    document["spec"].pop("cases")
    document["spec"] |= yaml.safe_load((bench.folder / "evaluation.yaml").read_text("utf-8"))
    (bench.folder / "batch.yaml").write_text(json.dumps(document), encoding="utf-8")

    assert bench.json("validate", "batch.yaml", "--no-workflow") == {"valid": True, "faults": []}


def test_with_strict_a_loss_is_an_error_and_nothing_is_written(bench: Bench) -> None:
    done = bench.run("import", "tests.yaml", "--strict", "--evaluation", "evaluation.yaml")

    assert done.returncode == 2
    assert "nothing was written" in done.stderr
    assert "assertion `llm-rubric`" in done.stderr
    assert sorted(path.name for path in bench.folder.iterdir()) == ["tests.yaml"]


def test_a_file_that_is_there_is_kept_unless_it_may_be_replaced(bench: Bench) -> None:
    (bench.folder / "cases.jsonl").write_text("mine", encoding="utf-8")

    refused = bench.run("import", "tests.yaml", "--evaluation", "evaluation.yaml")
    replaced = bench.run("import", "tests.yaml", "--force")

    assert (refused.returncode, replaced.returncode) == (2, 0)
    assert "cases.jsonl: 1 fault\n  file: is there already; name another file, or give --force" in refused.stderr
    assert sorted(path.name for path in bench.folder.iterdir()) == ["cases.jsonl", "tests.yaml"]
    assert (bench.folder / "cases.jsonl").read_text("utf-8") != "mine"


def test_cases_can_go_to_standard_output_and_the_file_come_from_standard_input(bench: Bench) -> None:
    done = bench.run("import", "-", "--out", "-", stdin='{"inputs": {"a": 1}, "outputs": {"b": 2}}')

    assert done.returncode == 0
    assert json.loads(done.stdout) == {"name": "standard-input-1", "input": {"a": 1}, "expected": {"b": 2}}
    assert "standard output: 1 case from - (langsmith)" in done.stderr


def test_one_json_document_tells_a_program_all_of_it(bench: Bench) -> None:
    document = bench.json("import", "tests.yaml")

    assert document == {
        "file": "tests.yaml",
        "format": "promptfoo",
        "cases": 2,
        "written": "cases.jsonl",
        "losses": [
            {
                "message": "assertion `llm-rubric`",
                "remedy": "write a `callable` evaluator that asks your model",
                "count": 1,
                "places": ["tests[0].assert[1]"],
            }
        ],
        "evaluation": {"passThreshold": 1, "evaluators": [{"name": "contains", "config": {"field": "output"}}]},
        "note": "",
    }


def test_cases_and_the_json_document_are_not_both_written_to_standard_output(bench: Bench) -> None:
    done = bench.run("import", "tests.yaml", "--out", "-", "--output", "json")

    assert done.returncode == 2
    assert list(json.loads(done.stdout)) == ["error"]
    assert "name a file with --out" in done.stderr


def test_folders_that_are_not_there_are_made(bench: Bench) -> None:
    done = bench.run("import", "tests.yaml", "--out", "new/folder/cases.jsonl")

    assert (done.returncode, done.stderr) == (0, "")
    assert len((bench.folder / "new" / "folder" / "cases.jsonl").read_text("utf-8").splitlines()) == 2


@pytest.mark.parametrize("out", [".", "tests.yaml/cases.jsonl"])
def test_where_no_file_can_be_the_path_is_named_as_it_was_given(bench: Bench, out: str) -> None:
    done = bench.run("import", "tests.yaml", "--out", out)

    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {out}: cannot be written: ")
    assert ".batchyard-" not in done.stderr
    assert sorted(path.name for path in bench.folder.iterdir()) == ["tests.yaml"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--out", "same.yaml", "--evaluation", "./same.yaml"], "is to have the cases and the evaluation"),
        (["--force", "--out", "tests.yaml"], "is the file that is imported"),
        (["--force", "--evaluation", "./tests.yaml"], "is the file that is imported"),
    ],
)
def test_no_file_is_written_over_the_other_or_over_what_is_imported(
    bench: Bench, options: list[str], told: str
) -> None:
    done = bench.run("import", "tests.yaml", *options)

    assert done.returncode == 2
    assert told in done.stderr
    assert sorted(path.name for path in bench.folder.iterdir()) == ["tests.yaml"]
    assert (bench.folder / "tests.yaml").read_text("utf-8") == TESTS
