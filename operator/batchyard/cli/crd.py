"""``crd`` as it is typed, and what it prints.

No ``from __future__ import annotations`` here: Typer reads the annotations when a command is run.
"""

import typer

from batchyard.cli.options import Output, OutputOption
from batchyard.cli.registry import command
from batchyard.cli.services import PANEL


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(
        app,
        "crd",
        "batchyard crd | kubectl apply -f -",
        "batchyard crd > batchyard.dev_batchtests.yaml",
        "batchyard crd --output json",
        panel=PANEL,
    )(crd)


def crd(output: OutputOption = Output.TEXT) -> int:
    """Print the CustomResourceDefinition of BatchTest as YAML, for `kubectl apply`.

    It is the definition that this version of Batchyard was made with. Applying it again changes nothing, and applying
    a newer one keeps the BatchTests that there are.
    """
    import sys

    from batchyard.model.crd import crd_document, crd_yaml

    if output is Output.JSON:
        from batchyard.cli.document import print_json

        print_json(crd_document())
    else:
        sys.stdout.write(crd_yaml())
    return 0
