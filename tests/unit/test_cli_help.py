"""What can be had of the command line without a store: help, version, completion, usage errors, and how quickly."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from batchyard import __version__
from batchyard.cli.app import app
from batchyard.cli.reference import markdown
from command_line import Bench, command

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


def commands(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every command and group below one, with what is typed for it."""
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield f"{path}{name}", inner
            yield from commands(inner, f"{path}{name} ")


ALL = dict(commands(typer.main.get_command(app)))
COMMANDS = [path for path in ALL if " " not in path]
LEAVES = [path for path, one in ALL.items() if not getattr(one, "commands", {})]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_help_names_every_command(bench: Bench) -> None:
    shown = bench.run("--help")

    assert shown.returncode == 0
    assert all(f"│ {name} " in shown.stdout for name in COMMANDS)


def test_no_command_at_all_shows_the_help(bench: Bench) -> None:
    assert bench.run().stdout == bench.run("--help").stdout


@pytest.mark.parametrize("path", LEAVES)
def test_the_help_of_every_command_has_examples_of_itself(bench: Bench, path: str) -> None:
    shown = bench.run(*path.split(), "--help")

    assert shown.returncode == 0
    _, _, examples = shown.stdout.partition("Examples")
    assert f"batchyard {path}" in examples


def test_help_costs_less_than_twice_what_its_library_does(bench: Bench) -> None:
    def seconds(words: list[str]) -> float:
        began = time.monotonic()
        subprocess.run(words, env=bench.environment, check=True, capture_output=True)
        return time.monotonic() - began

    library = [sys.executable, "-c", "import typer.main, typer.rich_utils"]
    # Side by side, so that whatever else runs holds up both.
    rounds = [(seconds(library), seconds(command("--help"))) for _ in range(7)]

    assert min(helped / alone for alone, helped in rounds) < 2


@pytest.mark.parametrize("heavy", ["pydantic", "sqlalchemy", "langgraph", "structlog", "yaml", "rich.table", "asyncio"])
def test_the_commands_can_be_listed_without_importing_anything_heavy(bench: Bench, heavy: str) -> None:
    script = f"import sys, batchyard.cli.main; sys.exit({heavy!r} in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], env=bench.environment, check=False).returncode == 0


def test_the_version_is_printed(bench: Bench) -> None:
    assert bench.run("--version").stdout == f"batchyard {__version__}\n"


def test_a_misspelt_command_is_a_usage_error_with_a_suggestion(bench: Bench) -> None:
    refused = bench.run("validat", "x.yaml")

    assert (refused.returncode, refused.stdout) == (2, "")
    assert "'validate'" in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "a", "b"],
        ["run", "a", "--parallel", "3"],
        ["show"],
        ["audit"],
        ["audit", "verify"],
        ["db", "x"],
        *(["environments", "prune", option, many] for option in ("--gib", "--days") for many in ("inf", "1e10", "nan")),
    ],
)
def test_a_line_that_cannot_be_understood_is_a_usage_error_and_no_traceback(bench: Bench, arguments: list[str]) -> None:
    refused = bench.run(*arguments)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: ")
    assert "Traceback" not in refused.stderr


def test_a_usage_error_is_a_document_too_when_json_is_asked_for(bench: Bench) -> None:
    refused = bench.run("run", "--output", "json")

    assert refused.returncode == 2
    assert json.loads(refused.stdout)["error"]["exitCode"] == 2


def test_the_reference_is_what_the_commands_say() -> None:
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == markdown(), "run `make golden` and read the diff"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed_for_every_shell(bench: Bench, shell: str) -> None:
    asked = Bench(bench.folder, {"_BATCHYARD_COMPLETE": f"source_{shell}"})

    script = asked.run()

    assert script.returncode == 0
    assert f"_BATCHYARD_COMPLETE=complete_{shell}" in script.stdout


def test_bash_completes_commands_with_the_printed_script(bench: Bench, tmp_path: Path) -> None:
    program = tmp_path / "batchyard"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m batchyard "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    script = f"""
        PATH="{tmp_path}:$PATH"
        eval "$(_BATCHYARD_COMPLETE=source_bash batchyard)"
        COMP_WORDS=(batchyard audit v); COMP_CWORD=2
        _batchyard_completion batchyard
        echo "${{COMPREPLY[@]}}"
    """

    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=bench.environment, capture_output=True, text=True, check=True
    )

    assert done.stdout == "verify\n"
