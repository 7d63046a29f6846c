"""The commands under ``environments`` as they are typed. Not for what they do (``virtual_list``).

No ``from __future__ import annotations`` here: Typer reads the annotations when a command is run.
"""

from typing import Annotated

import typer

from batchyard.cli.options import Output, OutputOption
from batchyard.cli.registry import command, group

environments_app = group("List and remove the virtual environments of variants with packages of their own.")


@command(environments_app, "list", "batchyard environments list", "batchyard environments list --output json")
def list_(output: OutputOption = Output.TEXT) -> int:
    """List what is kept on this machine, what was used last first."""
    from batchyard.cli.virtual_list import list_environments

    return list_environments(output)


@command(
    environments_app,
    "prune",
    "batchyard environments prune",
    "batchyard environments prune --gib 2 --days 7",
    "batchyard environments prune --gib 0",
)
def prune(
    gib: Annotated[float, typer.Option(min=0, max=1_000_000, help="How much is kept, in GiB.")] = 10,
    days: Annotated[float, typer.Option(min=0, max=36_500, help="How long one is kept that nobody uses.")] = 30,
    output: OutputOption = Output.TEXT,
) -> int:
    """Remove environments, what was used longest ago first, until the rest is within the bounds.

    One that is in use is never removed, and one that was removed is made again when it is needed.
    """
    from batchyard.cli.virtual_list import prune_environments

    return prune_environments(output, gib, days)
