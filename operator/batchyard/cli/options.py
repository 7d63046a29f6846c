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


class Runner(StrEnum):
    """What runs the trials."""

    THREADS = "threads"
    RAY = "ray"


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
RunnerOption = Annotated[
    Runner | None,
    typer.Option(
        help="What runs the trials: threads, each with a worker process on this machine, or actors of Ray "
        "(pip install 'batchyard\\[ray]'). Default: ray for provider Ray, else threads.",
        show_default=False,
    ),
]
RayAddressOption = Annotated[
    str,
    typer.Option(
        "--ray-address",
        metavar="HOST:PORT",
        help="Ray cluster to run on; auto finds the one of this machine. Default: $RAY_ADDRESS, else a Ray is started "
        "on this machine and ended with the run.",
        show_default=False,
    ),
]
