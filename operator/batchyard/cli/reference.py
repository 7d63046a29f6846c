"""The reference of the command line as Markdown, made from the commands themselves; ``docs/cli.md`` is its output.

Not for users' first steps: those are written by hand elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from batchyard.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = """\
# Command line

Made from the commands themselves by `make golden`; a test compares. Not to be edited by hand.

<!-- page: local or cluster -->
<!-- before: cd examples/docs_search && mkdir deploy && sed -i '4,$d' cases.jsonl -->
<!-- before: sed -i 's/minSuccessRate: 0.75/minSuccessRate: 0.1/' batchtest.yaml -->
<!-- before: sed -i 's/maxRegression: 0.0/&, confidence: null/' batchtest.yaml -->
"""

# Typer's command classes are private and have moved between its versions: they are taken as they come.
_Command = Any


def markdown() -> str:
    """Return the whole reference."""
    return "\n".join([_HEAD, *_section(typer.main.get_command(app), "batchyard", 2)])


def _section(command: _Command, path: str, level: int) -> Iterator[str]:
    context = typer.Context(command, info_name=path, help_option_names=["-h", "--help"])
    yield f"{'#' * level} `{path}`\n"
    yield f"{command.help}\n"
    yield f"```text\n{' '.join([path, *command.collect_usage_pieces(context)])}\n```\n"
    yield "| option | meaning |\n| --- | --- |"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            name, meaning = record
            yield f"| `{_cell(name)}` | {_cell(meaning)} |"
    yield ""
    if command.epilog:
        examples = "\n".join(f"$ {line.strip()}" for line in command.epilog.splitlines()[1:])
        yield f"Examples:\n\n```console\n{examples}\n```\n"
    for name, inner in getattr(command, "commands", {}).items():
        yield from _section(inner, f"{path} {name}", 3 if " " in path else level + 1)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
