"""Options and arguments that several commands share. Not for what only one command has."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Output(StrEnum):
    """What standard output is for: people, or a program."""

    TEXT = "text"
    JSON = "json"


class LogFormat(StrEnum):
    """How a log line is written."""

    TEXT = "text"
    JSON = "json"


class TrailFormat(StrEnum):
    """What an exported audit trail is made of."""

    JSONL = "jsonl"
    CLOUDEVENTS = "cloudevents"


def _known_batches(ctx: typer.Context, incomplete: str) -> list[str]:
    from batchyard.cli.batches import known_batches

    return known_batches(ctx.params.get("store") or "", incomplete)


FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="BatchTest to read, YAML or JSON; - reads standard input.")
]
BatchArgument = Annotated[
    str,
    typer.Argument(
        metavar="BATCH",
        help="A batch's id, the beginning of it, or its name for the newest one.",
        autocompletion=_known_batches,
    ),
]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="PATH|URL",
        help="Where results are kept: a SQLite file or postgresql://USER:PASSWORD@HOST/DATABASE. "
        "Default: $BATCHYARD_STORE, else a file in the user's data folder.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Output,
    typer.Option("--output", "-o", help="json prints one JSON document and nothing else on standard output."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notices; only the result.")]
