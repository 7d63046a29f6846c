"""What is found out of the code, the packages and Python that a batch runs with."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from batch_bench import batch_file
from batchyard.decide.amending import setting_differences
from batchyard.engine.settings import MOST_FILES, installed, setting_of
from batchyard.engine.sources import load
from batchyard.model.setting import Setting

if TYPE_CHECKING:
    from pathlib import Path


def found_in(folder: Path, *written: str) -> Setting:
    """Write a BatchTest with a file of cases, whose code is in its own folder, and return what it runs with."""
    (folder / "cases.jsonl").write_text('{"name": "more", "input": {}}\n')
    source = {"factory": "graph:build", "source": {"path": "."}}
    return setting_of(
        load(batch_file(folder, "graph:build", workflow=source, casesFrom=[{"path": "cases.jsonl"}])),
        "here",
        [folder / name for name in written],
    )


def test_every_file_counts_but_those_of_batch_tests_and_cases(tmp_path: Path) -> None:
    (tmp_path / "graph.py").write_text("one")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "system.txt").write_text("be kind")
    was = found_in(tmp_path)

    (tmp_path / "prompts" / "system.txt").write_text("be brief")
    (tmp_path / "cases.jsonl").write_text('{"name": "other", "input": {"n": 1}}\n')
    (tmp_path / "second.yaml").write_text("apiVersion: batchyard.dev/v1alpha1\nkind: BatchTest\n")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "graph.pyc").write_text("compiled")

    (said,) = setting_differences(found_in(tmp_path), was)
    assert said.startswith("code: prompts/system.txt is another (")


def test_what_the_user_leaves_out_does_not_count(tmp_path: Path) -> None:
    (tmp_path / ".batchyardignore").write_text("*.html\n")
    was = found_in(tmp_path)

    (tmp_path / "report.html").write_text("<p>")

    assert list(setting_differences(found_in(tmp_path), was)) == []


def test_what_a_run_writes_does_not_count_in_it_nor_in_the_next(tmp_path: Path) -> None:
    first = found_in(tmp_path, "out/report.html", "results.sqlite", "results.sqlite.files")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("<p>")
    (tmp_path / "results.sqlite").write_text("rows")
    (tmp_path / "results.sqlite.files").mkdir()
    (tmp_path / "results.sqlite.files" / "kept.txt").write_text("of a trial")

    again = found_in(tmp_path, "out/report.html", "results.sqlite", "results.sqlite.files")
    without_report = found_in(tmp_path, "results.sqlite", "results.sqlite.files")

    assert list(setting_differences(again, first)) == []
    assert list(setting_differences(without_report, first)) == []
    assert Setting.from_json(first.to_json()) == first


def test_a_folder_with_too_much_in_it_is_not_known(tmp_path: Path) -> None:
    for number in range(MOST_FILES + 1):
        (tmp_path / f"{number}.txt").touch()

    found = found_in(tmp_path)

    assert "holds more than 2,000 files or 32 MiB" in found.unknown
    assert found.files == {}


def test_packages_are_known_by_name_and_version() -> None:
    assert f"langgraph-{version('langgraph')}" in installed()
