"""Commands whose standard streams are not what they are at a terminal: another encoding, closed, or full."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from command_line import Bench

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.mark.parametrize("command", [["show", "small"], ["show", "small", "--trials"], ["audit", "list", "small"]])
def test_what_standard_output_cannot_spell_is_escaped(narrow: Bench, command: list[str]) -> None:
    narrow.run("run", pointed(narrow))

    shown = narrow.run(*command)

    assert shown.returncode == 0, shown.stderr
    assert "\\u2192" in shown.stdout


@pytest.mark.parametrize("command", ["run", "list"])
def test_help_can_be_had_whatever_standard_output_can_spell(narrow: Bench, command: str) -> None:
    assert narrow.run(command, "--help").returncode == 0


def test_what_is_data_stays_utf_8_whatever_standard_output_can_spell(narrow: Bench) -> None:
    tests = {"prompts": ["{{q}}"], "providers": ["x"], "tests": [{"vars": {"q": f"{ARROW}\N{GRINNING FACE}"}}]}
    (narrow.folder / "promptfoo.yaml").write_text(json.dumps(tests), encoding="utf-8")

    narrow.run("import", "promptfoo.yaml", "--out", "cases.jsonl")
    done = narrow.run("import", "promptfoo.yaml", "--out", "-")

    assert done.stdout == (narrow.folder / "cases.jsonl").read_text(encoding="utf-8")
