"""``parity`` as it is typed; what it does is in ``parity``.

No ``from __future__ import annotations`` here: Typer reads the annotations when a command is run.
"""

from pathlib import Path
from typing import Annotated

import typer

from batchyard.cli.options import (
    OPERATOR_NAMESPACE,
    ContextOption,
    KubeOrigin,
    NamespaceOption,
    OperatorNamespaceOption,
    Output,
    OutputOption,
    Preset,
    QuietOption,
    StoreOption,
)
from batchyard.cli.registry import command


def register(app: typer.Typer, panel: str) -> None:
    """Add the command to ``app``."""
    command(
        app,
        "parity",
        "batchyard parity batchtest.yaml",
        "batchyard parity batchtest.yaml --against InProcess/Thread --sample 20",
        "batchyard parity batchtest.yaml --strict --output json",
        "batchyard parity docs-search-parity docs-search-parity-against",
        "batchyard parity docs-search kube:docs-search --namespace team-a",
        panel=panel,
    )(parity)


def parity(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE | BATCH BATCH",
            help="A file to run twice, or two batches of the store; kube:NAME is one of a cluster.",
        ),
    ],
    against: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="Where the file is run the second time: InProcess, InProcess/Thread or Ray. Default: that of the "
            "file's spec.parity, else Ray, or InProcess for a file with provider Ray.",
            show_default=False,
        ),
    ] = "",
    sample: Annotated[
        int | None, typer.Option(min=1, help="Compare so many trials only, always the same ones.", show_default=False)
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Forgive no number a bit; compare messages too.")] = False,
    lenient: Annotated[bool, typer.Option("--lenient", help="Forgive 5% of a number.")] = False,
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
    quiet: QuietOption = False,
    context: ContextOption = "",
    namespace: NamespaceOption = "",
    operator_namespace: OperatorNamespaceOption = OPERATOR_NAMESPACE,
) -> int:
    """Run the same trials in two places and compare them, trial by trial: outcome, score, metrics and final state.

    Both runs are batches in the store. With two batches instead of a file, nothing is run. What counts as equal is in
    the file's `spec.parity`; times never have to be. The exit code is 0 if nothing differs and 1 if something does.
    """
    if strict and lenient:
        raise typer.BadParameter("give --strict or --lenient, and not both")
    preset = Preset.STRICT if strict else Preset.LENIENT if lenient else None
    if len(what) > 2:
        raise typer.BadParameter("give one file, or two batches")
    from batchyard.cli.parity import check_batches, check_file, elsewhere

    if len(what) == 2:
        if against or sample is not None:
            raise typer.BadParameter("--against and --sample are for a file; two batches are not run again")
        kube = KubeOrigin(context, namespace, operator_namespace)
        return check_batches(what[0], what[1], store, kube, output, preset)
    try:
        there = elsewhere(against) if against else None
    except ValueError as err:
        raise typer.BadParameter(str(err), param_hint="--against") from err
    return check_file(Path(what[0]), store, output, against=there, size=sample, preset=preset, quiet=quiet)
