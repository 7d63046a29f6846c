"""Options and arguments that several commands share. Not for what only one command has."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Output(StrEnum):
    """What standard output is for: people, or a program."""

    TEXT = "text"
    JSON = "json"


class TrailFormat(StrEnum):
    """What an exported audit trail is made of."""

    JSONL = "jsonl"
    CLOUDEVENTS = "cloudevents"


class Preset(StrEnum):
    """How strictly two runs are compared."""

    STRICT = "strict"
    LENIENT = "lenient"


class Runner(StrEnum):
    """What runs the trials."""

    THREADS = "threads"
    RAY = "ray"


@dataclass(frozen=True, slots=True)
class KubeOrigin:
    """A cluster whose operator keeps the results. ``context`` and ``namespace`` "" are those of the kubeconfig."""

    context: str
    namespace: str
    operator_namespace: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where results are read from: a store by path or URL ("" is the usual one), or a cluster."""

    store: str = ""
    kube: KubeOrigin | None = None

    @property
    def options(self) -> str:
        """Return the options that name this cluster, with a blank before each, for a line that a user may type."""
        if self.kube is None:
            return ""
        operator = self.kube.operator_namespace
        given = (
            ("--context", self.kube.context),
            ("--namespace", self.kube.namespace),
            ("--operator-namespace", "" if operator == OPERATOR_NAMESPACE else operator),
        )
        return " --kube" + "".join(f" {option} {value}" for option, value in given if value)


def origin_of(store: str, kube: bool, context: str, namespace: str, operator_namespace: str) -> Origin:
    """Return where to read from. Raises ``typer.BadParameter`` if the options contradict each other."""
    if kube and store:
        raise typer.BadParameter("give --store or --kube, and not both")
    if not kube and (context or namespace):
        raise typer.BadParameter("--context and --namespace need --kube")
    return Origin(store, KubeOrigin(context, namespace, operator_namespace) if kube else None)


def _known_batches(ctx: typer.Context, incomplete: str) -> list[str]:
    if ctx.params.get("kube"):
        # A shell must not wait for a cluster.
        return []
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
KubeOption = Annotated[
    bool, typer.Option("--kube", help="Ask the operator in the cluster of your kubeconfig, not a store here.")
]
ContextOption = Annotated[
    str,
    typer.Option(
        "--context", metavar="NAME", help="Context of the kubeconfig; default: its current one.", show_default=False
    ),
]
NamespaceOption = Annotated[
    str,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAME",
        help="Namespace of the BatchTest; default: the context's.",
        show_default=False,
    ),
]
OperatorNamespaceOption = Annotated[
    str, typer.Option("--operator-namespace", metavar="NAME", help="Namespace that the operator runs in.")
]
OPERATOR_NAMESPACE = "batchyard-system"
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
AmendOption = Annotated[
    str,
    typer.Option(
        "--amend",
        metavar="BATCH",
        help="Finished batch (id or name) whose results stand for trials that would run the same again; only the "
        "others run.",
        show_default=False,
    ),
]
ReuseOption = Annotated[
    bool,
    typer.Option(
        "--reuse", help="As --amend, with every earlier batch of this name that ran with the same code and settings."
    ),
]
