"""The README's own files and commands, run as they stand there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def written_files() -> dict[str, str]:
    """Return the files that the README tells its reader to write."""
    pattern = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
    return dict(pattern.findall(README.read_text(encoding="utf-8")))


def commands() -> list[str]:
    """Return the commands that follow the files."""
    block = re.search(r"<!-- run -->\n```console\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    return [line.removeprefix("$ ").strip() for line in block.group(1).splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in written_files().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_the_readme_s_own_batchtest_runs_and_each_command_after_it_works(folder: Path) -> None:
    assert set(written_files()) == {"greet.py", "batchtest.yaml"}
    assert len(commands()) == 4

    outputs = [_run(command, folder) for command in commands()]

    assert [output.returncode for output in outputs] == [0, 0, 0, 0], [output.stderr for output in outputs]
    assert "Best: warm" in outputs[0].stdout
    assert "intact" in outputs[3].stdout


def test_the_readme_s_batchtest_is_as_short_as_it_says(folder: Path) -> None:
    lines = (folder / "batchtest.yaml").read_text(encoding="utf-8").splitlines()

    assert len(lines) <= 13


def test_the_demo_output_in_the_readme_is_what_the_example_gives(tmp_path: Path) -> None:
    shown = re.search(r"<!-- demo output -->\n```text\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    example = README.parent / "examples" / "docs_search" / "batchtest.yaml"

    run = _run(f".venv/bin/batchyard run {example} --store {tmp_path / 'demo.db'}", tmp_path)

    assert run.returncode == 0, run.stderr
    row = re.compile(r"^(\S+) +(?:\+[\d.]+ +)?(\d+\.\d)%", re.MULTILINE)
    written, given = row.findall(shown.group(1)), row.findall(run.stdout)
    assert len(written) == 9
    assert written[0][0] == given[0][0]
    # What `make demo` ends with: who wins, by how much and how sure.
    last = run.stdout.splitlines()[-1]
    assert re.search(rf"Best: {given[0][0]}, score [\d.]+, .*over baseline, 95% sure of at least \+[\d.]+\.$", last)
    # Rates move a little with the reference that each release of Python ships; times are a machine's own.
    rates = {name: float(rate) for name, rate in given}
    assert {name: rates[name] for name, _ in written} == {
        name: pytest.approx(float(rate), abs=7) for name, rate in written
    }


def test_the_figures_in_the_readme_are_those_of_the_last_benchmark() -> None:
    results = json.loads((README.parent / "benchmarks" / "results" / "latest.json").read_text(encoding="utf-8"))
    faster = {ratio["over"]: ratio["steady"] for ratio in results["throughput"]["ratios"]}

    shown = re.findall(r"^\| .+ \| ([\d.]+)[^|]* \|$", README.read_text(encoding="utf-8"), re.MULTILINE)

    assert shown == [
        f"{faster['langgraph + SqliteSaver']:.1f}",
        f"{faster['inspect-ai']:.1f}",
        f"{faster['wtb, batch runner']:.1f}",
        f"{results['boundary']['ofSqliteSaver']['ours']:.2f}",
        f"{results['overrun']['overrun']['maxSeconds']:.2f}",
        f"{results['scale']['parentMaxMebibytes']:.0f}",
    ]


def _run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = command.split()
    assert words[0] == ".venv/bin/batchyard"
    arguments = [sys.executable, "-m", "batchyard", *words[1:]]
    if "--store" not in arguments:
        arguments += ["--store", str(folder / "store.db")]
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
