"""The commands under ``audit`` and ``db`` as they are typed; what they do is in modules of their own.

No ``from __future__ import annotations`` here: Typer reads the annotations when a command is run.
"""

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
    Output,
    OutputOption,
    StoreOption,
    TrailFormat,
    origin_of,
)
from batchyard.cli.registry import command, group
from batchyard.model.events import EventType, Severity

audit_app = group("Read, check and export the audit trail of a batch.")
db_app = group("Create, upgrade and check the database that a store is.")


# -- audit -----------------------------------------------------------------------------------------------------------


@command(
    audit_app,
    "list",
    "batchyard audit list docs-search",
    "batchyard audit list docs-search --severity warning",
    "batchyard audit list docs-search --trial bm25-first/class-counter/0 --limit 0",
)
def audit_list(
    batch: BatchArgument,
    type_: Annotated[
        list[EventType] | None,
        typer.Option("--type", metavar="TYPE", help="Only entries of this type, such as TrialTimedOut; repeatable."),
    ] = None,
    trial: Annotated[str, typer.Option(metavar="ID", help="Only entries about this trial.", show_default=False)] = "",
    severity: Annotated[Severity, typer.Option(help="Only entries at least this severe.")] = Severity.DEBUG,
    limit: Annotated[int, typer.Option(min=0, help="How many, the newest ones; 0 is all.")] = 50,
    store: StoreOption = "",
    kube: KubeOption = False,
    context: ContextOption = "",
    namespace: NamespaceOption = "",
    operator_namespace: OperatorNamespaceOption = OPERATOR_NAMESPACE,
    output: OutputOption = Output.TEXT,
) -> int:
    """List what happened in a batch, oldest first."""
    from batchyard.cli.audit import Wanted, list_entries

    wanted = Wanted(tuple(type_ or ()), trial, severity, limit)
    origin = origin_of(store, kube, context, namespace, operator_namespace)
    return list_entries(batch, origin, output, wanted)


@command(
    audit_app,
    "verify",
    "batchyard audit verify docs-search",
    "batchyard audit verify docs-search --kube",
    "batchyard audit verify --file trail.jsonl --head 41c0...",
)
def audit_verify(
    batch: Annotated[str, typer.Argument(metavar="BATCH", help="A batch's id, the beginning of it, or its name.")] = "",
    file: Annotated[
        Path | None, typer.Option(metavar="EXPORT", help="An export (JSONL) to verify instead; needs no store.")
    ] = None,
    head: Annotated[
        str, typer.Option(metavar="HASH", help="The newest hash, as you kept it elsewhere.", show_default=False)
    ] = "",
    store: StoreOption = "",
    kube: KubeOption = False,
    context: ContextOption = "",
    namespace: NamespaceOption = "",
    operator_namespace: OperatorNamespaceOption = OPERATOR_NAMESPACE,
    output: OutputOption = Output.TEXT,
) -> int:
    """Check that an audit trail is whole, in order and unchanged.

    With --kube, it must also hold the newest hash that the BatchTest's status shows. The exit code is 0 if it is, and
    1 if it is not; the first bad entry is named.
    """
    from batchyard.cli.audit import verify_batch, verify_file

    if bool(batch) == bool(file):
        raise typer.BadParameter("give a BATCH or --file, and not both")
    if file is not None and kube:
        raise typer.BadParameter("--file is read here; --kube does not go with it")
    origin = origin_of(store, kube, context, namespace, operator_namespace)
    if file is not None:
        return verify_file(file, head, output)
    return verify_batch(batch, head, origin, output)


@command(
    audit_app,
    "export",
    "batchyard audit export docs-search > trail.jsonl",
    "batchyard audit export docs-search --format cloudevents > events.jsonl",
)
def audit_export(
    batch: BatchArgument,
    format_: Annotated[
        TrailFormat,
        typer.Option("--format", help="jsonl can be verified anywhere; cloudevents is for receivers of CloudEvents."),
    ] = TrailFormat.JSONL,
    store: StoreOption = "",
    kube: KubeOption = False,
    context: ContextOption = "",
    namespace: NamespaceOption = "",
    operator_namespace: OperatorNamespaceOption = OPERATOR_NAMESPACE,
) -> int:
    """Write a batch's audit trail to standard output, one JSON document a line, oldest first."""
    from batchyard.cli.audit import export_entries

    return export_entries(batch, origin_of(store, kube, context, namespace, operator_namespace), format_)


# -- db --------------------------------------------------------------------------------------------------------------


@command(
    db_app,
    "upgrade",
    "batchyard db upgrade",
    "batchyard db upgrade --store postgresql://me@db/batchyard",
)
def upgrade(store: StoreOption = "", output: OutputOption = Output.TEXT) -> int:
    """Create the database or bring its schema up to date. Every other command that writes does so by itself."""
    from batchyard.cli.database import upgrade_store

    return upgrade_store(store, output)


@command(
    db_app,
    "current",
    "batchyard db current",
    "batchyard db current --output json",
)
def current(store: StoreOption = "", output: OutputOption = Output.TEXT) -> int:
    """Show the version of the database's schema; changes nothing."""
    from batchyard.cli.database import show_version

    return show_version(store, output)


@command(
    db_app,
    "check",
    "batchyard db check",
    "batchyard db check --repair",
    "batchyard db check --output json",
)
def check(
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what needs nobody's judgement; a SQLite file is copied first.")
    ] = False,
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
) -> int:
    """Look for dangling rows, broken trails, counts that disagree and events that are stuck; changes nothing.

    The exit code is 1 if anything critical is found, or left after --repair. Never mended: results and audit entries,
    for which there is only a back-up.
    """
    from batchyard.cli.database import check_store

    return check_store(store, output, repair=repair)


@command(
    db_app,
    "sessions",
    "batchyard db sessions",
    "batchyard db sessions --end-abandoned",
    "batchyard db sessions --end-abandoned --silent-for 600",
)
def sessions(
    end_abandoned: Annotated[
        bool, typer.Option("--end-abandoned", help="End the sessions whose process died, and tidy up after them.")
    ] = False,
    silent_for: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Take sessions of other machines for dead after this silence; without it, never.",
            show_default=False,
        ),
    ] = None,
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
) -> int:
    """List who runs which batch: alive, silent on another machine, or abandoned by a process that died.

    `run` and `resume` end the sessions that were abandoned on this machine by themselves.
    """
    from batchyard.cli.sessions import show_sessions

    return show_sessions(store, output, end=end_abandoned, silent_for=silent_for)
