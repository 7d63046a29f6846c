"""The commands as they are typed: names, options and help. What they do is in a module each, imported when needed.

No ``from __future__ import annotations`` here: Typer reads the annotations when a command is run.
"""

from typing import Annotated

import typer

from batchyard import __version__
from batchyard.cli import bundle_command, crd, import_command, parity_command, report_command, services
from batchyard.cli.environments import environments_app
from batchyard.cli.execution_group import execution_app
from batchyard.cli.groups import audit_app, db_app
from batchyard.cli.options import (
    OPERATOR_NAMESPACE,
    AmendOption,
    BatchArgument,
    ContextOption,
    FileArgument,
    KubeOption,
    NamespaceOption,
    OperatorNamespaceOption,
    Output,
    OutputOption,
    QuietOption,
    RayAddressOption,
    ReuseOption,
    RunnerOption,
    StoreOption,
    origin_of,
)
from batchyard.cli.registry import Commands, command, examples
from batchyard.cli.report_command import ReportOption
from batchyard.log_format import LogFormat
from batchyard.model.outcome import Outcome

_RUNNING = "Run"
_LOOKING = "Look at results"
_FILES = "Prepare a file"
_STORE = "Look after the store"


app = typer.Typer(
    cls=Commands,
    help="Run a workflow in many variants on many cases, with deadlines that kill, and compare what comes out.",
    epilog=examples(
        "batchyard run batchtest.yaml", "batchyard compare docs-search", "batchyard audit verify docs-search"
    ),
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(execution_app, name="execution", rich_help_panel=_RUNNING)
app.add_typer(audit_app, name="audit", rich_help_panel=_LOOKING)
app.add_typer(db_app, name="db", rich_help_panel=_STORE)
app.add_typer(environments_app, name="environments", rich_help_panel=_STORE)


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
        int,
        typer.Option(
            "--verbose", "-v", count=True, show_default=False, help="More log lines on standard error; twice for all."
        ),
    ] = 0,
    log_format: Annotated[
        LogFormat,
        typer.Option(
            envvar="BATCHYARD_LOG_FORMAT",
            help="How log lines are written; json makes all of standard error one object a line, from info on.",
        ),
    ] = LogFormat.TEXT,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of whatever goes wrong.")] = False,
) -> None:
    from batchyard.logs import configure

    configure(log_format, 2 if debug else verbose)


# -- run -----------------------------------------------------------------------------------------------------------


@command(
    app,
    "run",
    "batchyard run batchtest.yaml",
    "batchyard run batchtest.yaml --store results.db --output json > result.json",
    "batchyard run batchtest.yaml --report report.html --report junit.xml",
    "batchyard run batchtest.yaml --runner ray",
    "batchyard run batchtest.yaml --amend docs-search",
    "sed 's/parallelism: 2/parallelism: 4/' batchtest.yaml | batchyard run -",
    panel=_RUNNING,
)
def run(
    file: FileArgument,
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
    quiet: QuietOption = False,
    runner: RunnerOption = None,
    ray_address: RayAddressOption = "",
    amend: AmendOption = "",
    reuse: ReuseOption = False,
    report: ReportOption = None,
) -> int:
    """Run a BatchTest on this machine and show which combination did best.

    The exit code tells how it ended: 0 succeeded and the gate passed, 1 verdict Failed or Inconclusive, 2 invalid
    file or usage (nothing was created), 3 the batch's deadline passed or its budget was exceeded, 4 the environment
    or the store failed or the result could not be printed, 130 interrupted: `batchyard resume` goes on, and no
    finished trial runs twice.
    """
    from batchyard.cli.earlier import Earlier
    from batchyard.cli.run import Place, run_file

    if amend and reuse:
        raise typer.BadParameter("give --amend or --reuse, and not both")

    return run_file(
        file, store, output, Place(runner, ray_address), Earlier(amend, reuse), quiet=quiet, reports=report or []
    )


@command(
    app,
    "resume",
    "batchyard resume docs-search-3f9k2x",
    "batchyard resume docs-search",
    panel=_RUNNING,
)
def resume(
    batch: BatchArgument,
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
    quiet: QuietOption = False,
    runner: RunnerOption = None,
    ray_address: RayAddressOption = "",
) -> int:
    """Go on with a batch that was interrupted or killed; its finished trials are not run again.

    The batch is as it was accepted: its deadline goes on, and changes to the file make no difference. For a batch
    that is finished, its result is shown. The exit codes are those of `batchyard run`.
    """
    from batchyard.cli.run import Place, resume_batch

    return resume_batch(batch, store, output, Place(runner, ray_address), quiet=quiet)


parity_command.register(app, _RUNNING)


# -- files -----------------------------------------------------------------------------------------------------------


@command(
    app,
    "validate",
    "batchyard validate batchtest.yaml",
    "batchyard validate batchtest.yaml --no-workflow",
    "batchyard validate - --output json < batchtest.yaml",
    panel=_FILES,
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


@command(
    app,
    "expand",
    "batchyard expand batchtest.yaml",
    "batchyard expand batchtest.yaml | wc -l",
    "batchyard expand batchtest.yaml --limit 3 --output json",
    panel=_FILES,
)
def expand(
    file: FileArgument,
    limit: Annotated[int | None, typer.Option(min=0, help="List only the first ones.")] = None,
    output: OutputOption = Output.TEXT,
) -> int:
    """List the trials that a BatchTest describes, in the order in which they would begin."""
    from batchyard.cli.files import expand_file

    return expand_file(file, output, limit=limit)


bundle_command.register(app, _FILES)
import_command.register(app, _FILES)


# -- results ---------------------------------------------------------------------------------------------------------


@command(
    app,
    "list",
    "batchyard list",
    "batchyard list --limit 5 --output json",
    "batchyard list --kube --namespace team-a",
    panel=_LOOKING,
)
def list_(
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
    store: StoreOption = "",
    kube: KubeOption = False,
    context: ContextOption = "",
    namespace: NamespaceOption = "",
    operator_namespace: OperatorNamespaceOption = OPERATOR_NAMESPACE,
    output: OutputOption = Output.TEXT,
) -> int:
    """List the batches in the store, newest first."""
    from batchyard.cli.batches import list_batches

    origin = origin_of(store, kube, context, namespace, operator_namespace)
    return list_batches(origin, output, limit=limit)


@command(
    app,
    "show",
    "batchyard show docs-search",
    "batchyard show docs-search --outcome Failed --outcome TimedOut",
    "batchyard show docs-search --trial bm25-first/class-counter/0",
    "batchyard show docs-search --trials --output json",
    "batchyard show docs-search --kube --namespace team-a",
    panel=_LOOKING,
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
    kube: KubeOption = False,
    context: ContextOption = "",
    namespace: NamespaceOption = "",
    operator_namespace: OperatorNamespaceOption = OPERATOR_NAMESPACE,
    output: OutputOption = Output.TEXT,
) -> int:
    """Show how a batch stands or ended: the ranked combinations, the gate and the first failures."""
    origin = origin_of(store, kube, context, namespace, operator_namespace)
    if trial:
        from batchyard.cli.trial import show_trial

        return show_trial(batch, trial, origin, output)
    from batchyard.cli.batches import show_batch

    return show_batch(batch, origin, output, trials=trials, outcomes=outcome or [])


@command(
    app,
    "compare",
    "batchyard compare docs-search",
    "batchyard compare docs-search --limit 0",
    "batchyard compare docs-search --output json",
    "batchyard compare docs-search --kube",
    panel=_LOOKING,
)
def compare(
    batch: BatchArgument,
    limit: Annotated[int, typer.Option(min=0, help="How many cases are shown; 0 is all.")] = 50,
    store: StoreOption = "",
    kube: KubeOption = False,
    context: ContextOption = "",
    namespace: NamespaceOption = "",
    operator_namespace: OperatorNamespaceOption = OPERATOR_NAMESPACE,
    output: OutputOption = Output.TEXT,
) -> int:
    """Compare the combinations of a batch: the ranking, the gate, and case by case who passed what."""
    from batchyard.cli.compare import compare_batch

    origin = origin_of(store, kube, context, namespace, operator_namespace)
    return compare_batch(batch, origin, output, limit=limit)


report_command.register(app, _LOOKING)


services.register(app)
crd.register(app)
