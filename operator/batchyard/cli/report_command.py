"""``report`` as it is typed: its options and help.

No ``from __future__ import annotations`` here: Typer reads the annotations when a command is run.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from batchyard.cli.options import (
    OPERATOR_NAMESPACE,
    BatchArgument,
    ContextOption,
    KubeOption,
    NamespaceOption,
    OperatorNamespaceOption,
    StoreOption,
    origin_of,
)
from batchyard.cli.registry import command


class ReportFormat(StrEnum):
    """What a report is made of."""

    HTML = "html"
    MARKDOWN = "markdown"
    JUNIT = "junit"
    CSV = "csv"
    PARQUET = "parquet"


ReportOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Write a report there at the end, by its suffix: .html, .md, .xml (JUnit), .csv or .parquet; may be given "
        "several times.",
        show_default=False,
    ),
]


def register(app: typer.Typer, panel: str) -> None:
    """Add the command to ``app``."""
    command(
        app,
        "report",
        "batchyard report docs-search",
        "batchyard report docs-search --format markdown >> $GITHUB_STEP_SUMMARY",
        "batchyard report docs-search --out results.xml",
        "batchyard report docs-search --out trials.parquet",
        "batchyard report docs-search --kube --namespace team-a",
        panel=panel,
    )(report)


def report(
    batch: BatchArgument,
    format_: Annotated[
        ReportFormat | None,
        typer.Option("--format", help="What to write; default: by the suffix of --out, else html.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write; - is standard output. Default: BATCH-ID.html or .parquet in this folder, and "
            "standard output for the other formats.",
            show_default=False,
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show the HTML in a browser once it is written.")] = False,
    store: StoreOption = "",
    kube: KubeOption = False,
    context: ContextOption = "",
    namespace: NamespaceOption = "",
    operator_namespace: OperatorNamespaceOption = OPERATOR_NAMESPACE,
) -> int:
    """Write a report of a batch: HTML for people, Markdown and JUnit for CI, CSV and Parquet for other programs.

    The HTML is one file that needs no network, with the verdict first. A file that is there already is replaced. A
    batch that is not finished gives the report of what it has so far. Final states of workflows are in no report.
    """
    from batchyard.cli.report import write_report

    origin = origin_of(store, kube, context, namespace, operator_namespace)
    return write_report(batch, origin, format_, out, show=open_)
