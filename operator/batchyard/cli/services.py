"""``operator`` and ``worker`` as they are typed: every option has an environment variable, for pods.

No ``from __future__ import annotations`` here: Typer reads the annotations when a command is run.
"""

from pathlib import Path
from typing import Annotated

import typer

from batchyard.cli.options import StoreOption
from batchyard.cli.registry import command

PANEL = "Run in a cluster"


def register(app: typer.Typer) -> None:
    """Add both commands to ``app``."""
    command(
        app,
        "operator",
        "batchyard operator --results-url http://batchyard.batchyard-system:8787",
        "batchyard operator --watch-namespace team-a --watch-namespace team-b --results-url http://10.0.0.5:8787",
        panel=PANEL,
    )(operator)
    command(app, "worker", "batchyard worker", panel=PANEL)(worker)


def operator(
    results_url: Annotated[
        str,
        typer.Option(
            envvar="BATCHYARD_RESULTS_URL", metavar="URL", help="How worker pods reach this operator's results port."
        ),
    ],
    runner_image: Annotated[
        str,
        typer.Option(
            envvar="BATCHYARD_RUNNER_IMAGE", metavar="IMAGE", help="Image of runner pods that name none of their own."
        ),
    ] = "batchyard/runner:latest",
    ray_version: Annotated[
        str,
        typer.Option(envvar="BATCHYARD_RAY_VERSION", metavar="VERSION", help="Version of Ray in the runner image."),
    ] = "2.60.0",
    image_pull_policy: Annotated[
        str,
        typer.Option(envvar="BATCHYARD_IMAGE_PULL_POLICY", help="Always, IfNotPresent or Never.", show_default=False),
    ] = "",
    watch_namespace: Annotated[
        list[str] | None,
        typer.Option(envvar="BATCHYARD_WATCH_NAMESPACES", metavar="NAMESPACE", help="Watch only this one; repeatable."),
    ] = None,
    namespace: Annotated[
        str,
        typer.Option(
            envvar="BATCHYARD_NAMESPACE", help="Where the Lease is; the pod's own by default.", show_default=False
        ),
    ] = "",
    identity: Annotated[
        str,
        typer.Option(envvar="BATCHYARD_IDENTITY", help="This process's name, unlike any other's.", show_default=False),
    ] = "",
    results_port: Annotated[
        int, typer.Option(envvar="BATCHYARD_RESULTS_PORT", min=0, max=65535, help="Port that workers send to.")
    ] = 8787,
    metrics_port: Annotated[
        int,
        typer.Option(envvar="BATCHYARD_METRICS_PORT", min=0, max=65535, help="Port of /metrics, /healthz and /readyz."),
    ] = 9090,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(envvar="BATCHYARD_TLS_CERTIFICATE", metavar="FILE", help="PEM file for the results port."),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(envvar="BATCHYARD_TLS_KEY", metavar="FILE", help="PEM file with its key.")
    ] = None,
    lease_seconds: Annotated[
        float,
        typer.Option(envvar="BATCHYARD_LEASE_SECONDS", min=2, help="How long a silent leader is waited for."),
    ] = 15.0,
    context: Annotated[
        str, typer.Option(help="Context of the kubeconfig, outside a cluster.", show_default=False)
    ] = "",
    store: StoreOption = "",
) -> int:
    """Watch BatchTests and run them in this cluster.

    The store's schema is brought up to date first. Any number of operators may run: one leads, the others wait.

    Exit codes: 0 ended by SIGTERM, 2 wrong usage, 4 no cluster, no store, or leadership lost.
    """
    from batchyard.cli.operator import pod_env, run_operator
    from batchyard.kube.settings import OperatorSettings

    settings = OperatorSettings(
        store=store,
        namespace=namespace,
        identity=identity,
        results_url=results_url,
        namespaces=tuple(watch_namespace or ()),
        results_port=results_port,
        metrics_port=metrics_port,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        runner_image=runner_image,
        ray_version=ray_version,
        image_pull_policy=image_pull_policy,
        lease_seconds=lease_seconds,
        context=context or None,
        pod_env=pod_env(),
    )
    return run_operator(settings)


def worker(
    results_url: Annotated[
        str, typer.Option(envvar="BATCHYARD_RESULTS_URL", metavar="URL", help="The operator's results port.")
    ],
    batch: Annotated[str, typer.Option(envvar="BATCHYARD_BATCH", metavar="ID", help="The batch to work on.")],
    attempt: Annotated[int, typer.Option(envvar="BATCHYARD_ATTEMPT", min=1, help="Number of this place.")],
    token_file: Annotated[
        Path, typer.Option(envvar="BATCHYARD_TOKEN_FILE", metavar="FILE", help="File with the bearer token.")
    ] = Path("/var/run/batchyard/token/token"),
    spool: Annotated[
        Path, typer.Option(envvar="BATCHYARD_SPOOL", metavar="FOLDER", help="Where results wait to be sent.")
    ] = Path("/var/lib/batchyard"),
    source: Annotated[
        str,
        typer.Option(
            envvar="BATCHYARD_SOURCE", metavar="FOLDER", help="Folder with the workflow's code.", show_default=False
        ),
    ] = "",
    ca_file: Annotated[
        Path | None,
        typer.Option(envvar="BATCHYARD_CA_FILE", metavar="FILE", help="PEM file to check the operator with."),
    ] = None,
    spool_limit: Annotated[
        int,
        typer.Option(
            envvar="BATCHYARD_SPOOL_LIMIT",
            metavar="BYTES",
            min=1024**2,
            help="From when on trials wait.",
        ),
    ] = 1024**3,
    patience: Annotated[
        float,
        typer.Option(
            envvar="BATCHYARD_PATIENCE",
            metavar="SECONDS",
            min=0,
            help="How long an operator that is away is waited for when nothing else is left to do.",
        ),
    ] = 900.0,
    pod: Annotated[
        str, typer.Option(envvar="BATCHYARD_POD_UID", metavar="UID", help="This pod's uid.", show_default=False)
    ] = "",
) -> int:
    """Run the trials of one batch in a cluster; the operator starts this in its pods.

    Exit codes: 0 done, or another worker took over; 2 wrong usage; 4 it could not be done.
    """
    from batchyard.clock import SystemClock
    from batchyard.worker import WorkerSettings, run_worker

    settings = WorkerSettings(
        results_url=results_url,
        batch_id=batch,
        attempt=attempt,
        token_file=token_file,
        spool=spool,
        source=source,
        ca_file=ca_file if ca_file != Path() else None,
        spool_bytes=spool_limit,
        patience_seconds=patience,
        pod=pod,
    )
    return run_worker(settings, SystemClock())
