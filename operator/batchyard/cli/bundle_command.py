"""``bundle`` as it is typed: its options and help.

No ``from __future__ import annotations`` here: Typer reads the annotations when a command is run.
"""

from enum import StrEnum
from typing import Annotated

import typer

from batchyard.cli.options import FileArgument, Output, OutputOption
from batchyard.cli.registry import command


class ClusterProvider(StrEnum):
    """Who makes the place in a cluster."""

    IN_PROCESS = "InProcess"
    KUBE_RAY = "KubeRay"


def register(app: typer.Typer, panel: str) -> None:
    """Add the command to ``app``."""
    command(
        app,
        "bundle",
        "batchyard bundle batchtest.yaml | kubectl apply -f -",
        "batchyard bundle batchtest.yaml --provider KubeRay --workers 4 | kubectl apply -n team-a -f -",
        "batchyard bundle batchtest.yaml --image registry.example/search:1.4 > deploy/batchtest.yaml",
        panel=panel,
    )(bundle)


def bundle(
    file: FileArgument,
    provider: Annotated[
        ClusterProvider | None,
        typer.Option(help="Who makes the place where trials run; default: as the file says.", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, max=1000, metavar="N", help="Worker pods; for KubeRay only.", show_default=False),
    ] = None,
    image: Annotated[
        str,
        typer.Option(
            metavar="IMAGE",
            help="Runner image that has the code in it, instead of a ConfigMap with it.",
            show_default=False,
        ),
    ] = "",
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the BatchTest; default: the file's.", show_default=False)
    ] = "",
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace",
            "-n",
            metavar="NAME",
            help="Namespace to write into every object; default: the file's, or none.",
            show_default=False,
        ),
    ] = "",
    output: OutputOption = Output.TEXT,
) -> int:
    """Print what a cluster needs to run a BatchTest: ConfigMaps with its code and its case files, then the BatchTest.

    Everything is read and checked first, and nothing is printed if anything is wrong. The same files give the same
    bytes. Left out of the code are hidden files, caches, virtual environments, *.db, the file itself, its case files
    and what .batchyardignore in the source folder names.

    The exit code is 0, or 2 for a file that is invalid or cannot be bundled.
    """
    from batchyard.cli.bundle import print_bundle
    from batchyard.engine.bundling import Wanted
    from batchyard.model.spec_environment import Provider

    wanted = Wanted(Provider(provider) if provider else None, workers, image, name, namespace)
    return print_bundle(file, wanted, output)
