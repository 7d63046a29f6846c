"""The commands as they are typed: names, options and help. What they do is in a module each, imported when needed.

No ``from __future__ import annotations`` here: Typer reads the annotations when a command is run.
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from batchyard import __version__
from batchyard.cli.options import (
    BatchArgument,
    FileArgument,
    LogFormat,
    Output,
    OutputOption,
    QuietOption,
    StoreOption,
    TrailFormat,
)
from batchyard.model.events import Severity
from batchyard.model.outcome import Outcome

_RUNNING = "Run"
_LOOKING = "Look at results"
_FILES = "Prepare a file"
_STORE = "Look after the store"


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Let the reader of standard output go away early; Typer would end with 1, as if a batch had failed."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            from batchyard.cli.terminal import silence_stdout

            silence_stdout()
            return 0


def _group(text: str) -> typer.Typer:
    return typer.Typer(help=text, rich_markup_mode="rich", pretty_exceptions_enable=False)


def _examples(*lines: str) -> str:
    return "\n\n".join(["[bold]Examples[/bold]", *(f"  {line}" for line in lines)])


app = typer.Typer(
    cls=_Commands,
    help="Run a workflow in many variants on many cases, with deadlines that kill, and compare what comes out.",
    epilog=_examples("batchyard run batchtest.yaml", "batchyard compare docs-search", "batchyard audit verify 3f9k2x"),
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
audit_app = _group("Read, check and export the audit trail of a batch.")
db_app = _group("Create, upgrade and check the database that a store is.")
app.add_typer(audit_app, name="audit", rich_help_panel=_LOOKING)
app.add_typer(db_app, name="db", rich_help_panel=_STORE)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"batchyard {__version__}")
        raise typer.Exit


@app.callback()
def _settings(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="More log lines on standard error; twice for all.")
    ] = 0,
    log_format: Annotated[LogFormat, typer.Option(help="How log lines are written.")] = LogFormat.TEXT,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of whatever goes wrong.")] = False,
) -> None:
    from batchyard.cli.logs import configure

    configure(log_format, 2 if debug else verbose)


# -- run -----------------------------------------------------------------------------------------------------------


@app.command(
    rich_help_panel=_RUNNING,
    epilog=_examples(
        "batchyard run batchtest.yaml",
        "batchyard run batchtest.yaml --store results.db --output json > result.json",
        "envsubst < batchtest.yaml | batchyard run -",
    ),
)
def run(
    file: FileArgument, store: StoreOption = "", output: OutputOption = Output.TEXT, quiet: QuietOption = False
) -> int:
    """Run a BatchTest on this machine and show which combination did best.

    The exit code tells how it ended: 0 succeeded and the gate passed, 1 verdict Failed or Inconclusive, 2 invalid
    file or usage (nothing was created), 3 the batch's deadline passed, 4 the environment or the store failed, 130
    interrupted: `batchyard resume` goes on, and no finished trial runs twice.
    """
    from batchyard.cli.run import run_file

    return run_file(file, store, output, quiet=quiet)


@app.command(
    rich_help_panel=_RUNNING,
    epilog=_examples("batchyard resume docs-search-3f9k2x", "batchyard resume docs-search"),
)
def resume(
    batch: BatchArgument, store: StoreOption = "", output: OutputOption = Output.TEXT, quiet: QuietOption = False
) -> int:
    """Go on with a batch that was interrupted or killed; its finished trials are not run again.

    The batch is as it was accepted: its deadline goes on, and changes to the file make no difference. For a batch
    that is finished, its result is shown. The exit codes are those of `batchyard run`.
    """
    from batchyard.cli.run import resume_batch

    return resume_batch(batch, store, output, quiet=quiet)


# -- files -----------------------------------------------------------------------------------------------------------


@app.command(
    rich_help_panel=_FILES,
    epilog=_examples(
        "batchyard validate batchtest.yaml",
        "batchyard validate batchtest.yaml --no-workflow",
        "batchyard validate - --output json < batchtest.yaml",
    ),
)
def validate(
    file: FileArgument,
    no_workflow: Annotated[
        bool, typer.Option("--no-workflow", help="Do not import and build the workflow; read the files only.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> int:
    """Say everything that is wrong with a BatchTest, or that nothing is; runs and creates nothing.

    The exit code is 0 for a valid file and 2 for any other.
    """
    from batchyard.cli.files import validate_file

    return validate_file(file, output, workflow=not no_workflow)


@app.command(
    rich_help_panel=_FILES,
    epilog=_examples(
        "batchyard expand batchtest.yaml",
        "batchyard expand batchtest.yaml | wc -l",
        "batchyard expand batchtest.yaml --limit 3 --output json",
    ),
)
def expand(
    file: FileArgument,
    limit: Annotated[int | None, typer.Option(min=0, help="List only the first ones.")] = None,
    output: OutputOption = Output.TEXT,
) -> int:
    """List the trials that a BatchTest describes, in the order in which they would begin."""
    from batchyard.cli.files import expand_file

    return expand_file(file, output, limit=limit)


# -- results ---------------------------------------------------------------------------------------------------------


@app.command(
    "list",
    rich_help_panel=_LOOKING,
    epilog=_examples("batchyard list", "batchyard list --limit 5 --output json"),
)
def list_(
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
) -> int:
    """List the batches in the store, newest first."""
    from batchyard.cli.batches import list_batches

    return list_batches(store, output, limit=limit)


@app.command(
    rich_help_panel=_LOOKING,
    epilog=_examples(
        "batchyard show docs-search",
        "batchyard show docs-search --outcome Failed --outcome TimedOut",
        "batchyard show docs-search --trial bm25-first/with-statement/0",
        "batchyard show docs-search --trials --output json",
    ),
)
def show(
    batch: BatchArgument,
    trials: Annotated[bool, typer.Option("--trials", help="Every trial as well, with how it ended.")] = False,
    outcome: Annotated[
        list[Outcome] | None, typer.Option(help="Only trials that ended so; may be given several times.")
    ] = None,
    trial: Annotated[
        str, typer.Option(metavar="ID", help="One trial: its attempts, nodes, scores and files.", show_default=False)
    ] = "",
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
) -> int:
    """Show how a batch stands or ended: the ranked combinations, the gate and the first failures."""
    if trial:
        from batchyard.cli.trial import show_trial

        return show_trial(batch, trial, store, output)
    from batchyard.cli.batches import show_batch

    return show_batch(batch, store, output, trials=trials, outcomes=outcome or [])


@app.command(
    rich_help_panel=_LOOKING,
    epilog=_examples(
        "batchyard compare docs-search",
        "batchyard compare docs-search --limit 0",
        "batchyard compare docs-search --output json",
    ),
)
def compare(
    batch: BatchArgument,
    limit: Annotated[int, typer.Option(min=0, help="How many cases are shown; 0 is all.")] = 50,
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
) -> int:
    """Compare the combinations of a batch: the ranking, the gate, and case by case who passed what."""
    from batchyard.cli.compare import compare_batch

    return compare_batch(batch, store, output, limit=limit)


# -- audit -----------------------------------------------------------------------------------------------------------


@audit_app.command(
    "list",
    epilog=_examples(
        "batchyard audit list docs-search",
        "batchyard audit list docs-search --severity warning",
        "batchyard audit list docs-search --trial bm25-first/with-statement/0 --limit 0",
    ),
)
def audit_list(
    batch: BatchArgument,
    type_: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="Only entries of this type, such as TrialTimedOut; repeatable."),
    ] = None,
    trial: Annotated[str, typer.Option(metavar="ID", help="Only entries about this trial.", show_default=False)] = "",
    severity: Annotated[Severity, typer.Option(help="Only entries at least this severe.")] = Severity.DEBUG,
    limit: Annotated[int, typer.Option(min=0, help="How many, the newest ones; 0 is all.")] = 50,
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
) -> int:
    """List what happened in a batch, oldest first."""
    from batchyard.cli.audit import Wanted, list_entries

    wanted = Wanted(tuple(type_ or ()), trial, severity, limit)
    return list_entries(batch, store, output, wanted)


@audit_app.command(
    "verify",
    epilog=_examples(
        "batchyard audit verify docs-search",
        "batchyard audit verify --file trail.jsonl --head 41c0...",
    ),
)
def audit_verify(
    batch: Annotated[
        str, typer.Argument(metavar="[BATCH]", help="A batch's id, the beginning of it, or its name.")
    ] = "",
    file: Annotated[
        Path | None, typer.Option(metavar="EXPORT", help="An export (JSONL) to verify instead; needs no store.")
    ] = None,
    head: Annotated[
        str, typer.Option(metavar="HASH", help="The newest hash, as you kept it elsewhere.", show_default=False)
    ] = "",
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
) -> int:
    """Check that an audit trail is whole, in order and unchanged.

    The exit code is 0 if it is, and 1 if it is not; the first bad entry is named.
    """
    from batchyard.cli.audit import verify_batch, verify_file

    if bool(batch) == bool(file):
        raise typer.BadParameter("give a BATCH or --file, and not both")
    if file is not None:
        return verify_file(file, head, output)
    return verify_batch(batch, head, store, output)


@audit_app.command(
    "export",
    epilog=_examples(
        "batchyard audit export docs-search > trail.jsonl",
        "batchyard audit export docs-search --format cloudevents > events.jsonl",
    ),
)
def audit_export(
    batch: BatchArgument,
    format_: Annotated[
        TrailFormat,
        typer.Option("--format", help="jsonl can be verified anywhere; cloudevents is for receivers of CloudEvents."),
    ] = TrailFormat.JSONL,
    store: StoreOption = "",
) -> int:
    """Write a batch's audit trail to standard output, one JSON document a line, oldest first."""
    from batchyard.cli.audit import export_entries

    return export_entries(batch, store, format_)


# -- db --------------------------------------------------------------------------------------------------------------


@db_app.command(epilog=_examples("batchyard db upgrade", "batchyard db upgrade --store postgresql://me@db/batchyard"))
def upgrade(store: StoreOption = "", output: OutputOption = Output.TEXT) -> int:
    """Create the database or bring its schema up to date. Every other command that writes does so by itself."""
    from batchyard.cli.database import upgrade_store

    return upgrade_store(store, output)


@db_app.command(epilog=_examples("batchyard db current", "batchyard db current --output json"))
def current(store: StoreOption = "", output: OutputOption = Output.TEXT) -> int:
    """Show the version of the database's schema; changes nothing."""
    from batchyard.cli.database import show_version

    return show_version(store, output)


@db_app.command(epilog=_examples("batchyard db check", "batchyard db check --output json"))
def check(store: StoreOption = "", output: OutputOption = Output.TEXT) -> int:
    """Look for dangling rows, broken trails and counts that disagree; changes nothing.

    The exit code is 1 if anything critical is found.
    """
    from batchyard.cli.database import check_store

    return check_store(store, output)
