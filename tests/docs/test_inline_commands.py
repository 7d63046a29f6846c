"""Commands that the text names, outside of blocks that are run: each is one that there is, with options it takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from batchyard.cli.app import app

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`(?:\$ )?(batchyard [^`]+)`(?!`)")
TEXTS = sorted(
    file
    for pattern in (
        "README.md",
        "docs/**/*.md",
        "examples/**/*.md",
        "charts/*/README.md",
        "charts/*/templates/NOTES.txt",
    )
    for file in ROOT.glob(pattern)
)


def named() -> list[tuple[str, str]]:
    found = {
        (str(file.relative_to(ROOT)), " ".join(command.split()))
        for file in TEXTS
        for command in _INLINE.findall(_FENCE.sub("", file.read_text(encoding="utf-8")))
    }
    return sorted(found)


def faults_of(line: str) -> list[str]:
    """Return what of a command line does not exist. Words in it may stand for something."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="batchyard", help_option_names=["-h", "--help"])
    words = shlex.split(line.split(" | ")[0])[1:]
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return [f"there is no command {words[0]}"]
        command = command.commands[words.pop(0)]
    options = {option for one in command.get_params(context) for option in (*one.opts, *one.secondary_opts)}
    return [f"it has no option {word}" for word in words if word.startswith("-") and word.split("=")[0] not in options]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("batchyard run FILE --quiet | tee x", []),
        ("batchyard ru FILE", ["there is no command ru"]),
        ("batchyard execution roll NAME", ["there is no command roll"]),
        ("batchyard run FILE --quite", ["it has no option --quite"]),
    ],
)
def test_what_does_not_exist_is_noticed(line: str, fault: list[str]) -> None:
    assert faults_of(line) == fault


def test_every_command_that_the_text_names_exists_with_its_options() -> None:
    lines = named()

    assert len(lines) > 100
    assert [(file, line, faults) for file, line in lines if (faults := faults_of(line))] == []
