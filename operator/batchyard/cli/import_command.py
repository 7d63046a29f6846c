"""``import`` as it is typed: its options and help.

No ``from __future__ import annotations`` here: Typer reads the annotations when a command is run.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from batchyard.cli.options import Output, OutputOption
from batchyard.cli.registry import command


class FormatChoice(StrEnum):
    """Whose file it is."""

    PROMPTFOO = "promptfoo"
    OPENAI_EVALS = "openai-evals"
    LANGSMITH = "langsmith"
    INSPECT = "inspect"


def register(app: typer.Typer, panel: str) -> None:
    """Add the command to ``app``."""
    command(
        app,
        "import",
        "batchyard import promptfooconfig.yaml",
        "batchyard import samples.jsonl --format openai-evals --input-field question --output-field answer",
        "batchyard import dataset.json --split test --out test.jsonl",
        "batchyard import 2026-01-01_gsm8k.eval --evaluation evaluation.yaml --strict",
        panel=panel,
    )(import_)


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to import; - reads standard input.")],
    format_: Annotated[
        FormatChoice | None,
        typer.Option("--format", help="Whose file it is; default: as it looks.", show_default=False),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="PATH", help="Where the cases are written; - is standard output.")
    ] = Path("cases.jsonl"),
    evaluation: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Write the suggested spec.evaluation there as well, as YAML.", show_default=False
        ),
    ] = None,
    input_field: Annotated[
        str, typer.Option(metavar="NAME", help="Field of the workflow's input that takes a text.")
    ] = "input",
    output_field: Annotated[
        str, typer.Option(metavar="NAME", help="Field of the workflow's final state that has the answer.")
    ] = "output",
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Of a LangSmith dataset, only this split.", show_default=False)
    ] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Write nothing if anything would be lost.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False,
    output: OutputOption = Output.TEXT,
) -> int:
    """Make cases of another tool's tests: promptfoo, OpenAI Evals, LangSmith or Inspect.

    What cannot be carried over is said, each kind once with how often and what to do. Code and addresses that a file
    names are never followed. Name the written file in spec.casesFrom.

    The exit code is 0, or 2 for a file that cannot be imported, or with --strict for any loss: nothing is written.
    """
    if output is Output.JSON and out == Path("-"):
        raise typer.BadParameter("--output json has standard output for its one document: name a file with --out")
    from batchyard.cli.importing import Target, import_file
    from batchyard.importing.formats import Format
    from batchyard.importing.source import Wanted

    return import_file(
        file,
        Format(format_) if format_ else None,
        Wanted(input_field, output_field, split),
        Target(out, evaluation, strict=strict, force=force),
        output,
    )
