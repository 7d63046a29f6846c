"""Commands whose standard streams are not what they are at a terminal: another encoding, closed, or full."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from command_line import Bench, command

if TYPE_CHECKING:
    from pathlib import Path

LOST = "standard output cannot be written: No space left on device; send it elsewhere"
ARROW = "\N{RIGHTWARDS ARROW}"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(params=["ascii", "iso8859-1"])
def narrow(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """A bench whose standard output has no arrows."""
    return Bench(tmp_path, {"PYTHONIOENCODING": request.param})


def pointed(bench: Bench, **spec: Any) -> str:
    """Write a batch of which one of two trials passes, and the other says an arrow."""
    (bench.folder / "arrow.py").write_text(
        "from langgraph.graph import END, START, StateGraph\n"
        "def point(state):\n"
        f"    if state.get('fails'): raise ValueError('{ARROW}')\n"
        "    return {}\n"
        "def build(variants):\n"
        "    return StateGraph(dict).add_node('point', point).add_edge(START, 'point').add_edge('point', END)\n",
        encoding="utf-8",
    )
    cases = [{"name": "one", "input": {}}, {"name": "two", "input": {"fails": True}}]
    factory = {"factory": "arrow:build", "source": {"path": "."}}
    return bench.write(workflow=factory, variants={"matrix": {"a": ["x"]}}, cases=cases, **spec)


# -- an encoding that has not every character ----------------------------------------------------------------------


@pytest.mark.parametrize(("gate", "code"), [(0.5, 0), (1.0, 1)])
def test_the_verdict_is_the_same_whatever_standard_output_can_spell(narrow: Bench, gate: float, code: int) -> None:
    file = pointed(narrow, gate={"minSuccessRate": gate})

    done = narrow.run("run", file, "--report", "report.xml")

    assert done.returncode == code, done.stderr
    assert "\\u2192" in done.stdout
    assert (narrow.folder / "report.xml").exists()


@pytest.mark.parametrize("arguments", [["show", "small"], ["show", "small", "--trials"], ["audit", "list", "small"]])
def test_what_standard_output_cannot_spell_is_escaped(narrow: Bench, arguments: list[str]) -> None:
    narrow.run("run", pointed(narrow))

    shown = narrow.run(*arguments)

    assert shown.returncode == 0, shown.stderr
    assert "\\u2192" in shown.stdout


@pytest.mark.parametrize("name", ["run", "list"])
def test_help_can_be_had_whatever_standard_output_can_spell(narrow: Bench, name: str) -> None:
    assert narrow.run(name, "--help").returncode == 0


def test_what_is_data_stays_utf_8_whatever_standard_output_can_spell(narrow: Bench) -> None:
    tests = {"prompts": ["{{q}}"], "providers": ["x"], "tests": [{"vars": {"q": f"{ARROW}\N{GRINNING FACE}"}}]}
    (narrow.folder / "promptfoo.yaml").write_text(json.dumps(tests), encoding="utf-8")

    narrow.run("import", "promptfoo.yaml", "--out", "cases.jsonl")
    done = narrow.run("import", "promptfoo.yaml", "--out", "-")

    assert done.stdout == (narrow.folder / "cases.jsonl").read_text(encoding="utf-8")


# -- streams that are full, or not there ---------------------------------------------------------------------------


def redirected(bench: Bench, redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell does that redirects its streams."""
    words = ["sh", "-c", f'exec "$@" {redirection}', "sh", *command(*arguments)]
    return subprocess.run(
        words, cwd=bench.folder, env=bench.environment, capture_output=True, text=True, check=False, timeout=110
    )


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """A bench whose streams are buffered or are not."""
    return Bench(tmp_path, {"PYTHONUNBUFFERED": request.param})


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_result_that_cannot_be_printed_ends_with_4_is_said_once_and_is_in_its_report(
    either: Bench, output: str
) -> None:
    done = redirected(
        either, "> /dev/full", "run", either.write(), "--quiet", "--output", output, "--report", "report.xml"
    )

    assert done.returncode == 4
    assert done.stderr == f"error: {LOST}\n"
    assert (either.folder / "report.xml").exists()
    assert either.json("list")["batches"][0]["phase"] == "Succeeded"


@pytest.mark.parametrize("arguments", [["validate", "batch.yaml"], ["--version"], ["audit", "--help"]])
def test_whatever_cannot_be_printed_ends_with_4_and_a_sentence(bench: Bench, arguments: list[str]) -> None:
    bench.write()

    done = redirected(bench, "> /dev/full", *arguments)

    assert (done.returncode, done.stderr) == (4, f"error: {LOST}\n")


def test_an_error_that_cannot_be_printed_as_json_keeps_its_exit_code(either: Bench) -> None:
    done = redirected(either, "> /dev/full", "expand", "nosuch.yaml", "--output", "json")

    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("redirection", ["2> /dev/full", "2>&-"])
def test_a_batch_runs_to_its_end_though_nothing_can_be_said_of_it(either: Bench, redirection: str) -> None:
    done = redirected(either, redirection, "run", either.write())

    assert done.returncode == 0
    assert "4 of 4 trials finished: 4 Passed" in done.stdout


@pytest.mark.parametrize("redirection", ["2> /dev/full", "2>&-"])
@pytest.mark.parametrize("option", ["--debug", "--verbose"])
def test_an_error_that_cannot_be_said_keeps_its_exit_code(bench: Bench, redirection: str, option: str) -> None:
    assert redirected(bench, redirection, option, "validate", "nosuch.yaml").returncode == 2


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_batch_that_nobody_wants_to_see_the_result_of_ends_with_its_verdict(bench: Bench, output: str) -> None:
    done = redirected(bench, ">&-", "run", bench.write(), "--quiet", "--output", output)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["validate", "-"], ["import", "-"]])
def test_a_closed_standard_input_is_an_empty_one(bench: Bench, arguments: list[str]) -> None:
    closed, empty = redirected(bench, "<&-", *arguments), redirected(bench, "< /dev/null", *arguments)

    assert (closed.returncode, closed.stderr) == (2, empty.stderr)
