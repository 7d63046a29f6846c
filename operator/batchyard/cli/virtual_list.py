"""``environments list | prune``. Not for what they do (``environments.virtual_upkeep``)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from batchyard import config
from batchyard.cli import document, tables, terminal
from batchyard.cli.options import Output
from batchyard.clock import SystemClock
from batchyard.decide.finish import EXIT_SUCCEEDED
from batchyard.environments.virtual_upkeep import GIB, Bounds, Kept, kept, prune

if TYPE_CHECKING:
    from collections.abc import Sequence


def list_environments(output: Output) -> int:
    """Print every environment that is kept."""
    return _print(output, kept(config.environments_folder()), "kept")


def prune_environments(output: Output, gib: float, days: float) -> int:
    """Remove environments beyond the bounds, and print which."""
    bounds = replace(Bounds(), bytes=round(gib * GIB), unused=timedelta(days=days))
    return _print(output, prune(config.environments_folder(), bounds, SystemClock().now()), "removed")


def _print(output: Output, found: Sequence[Kept], what: str) -> int:
    folder = str(config.environments_folder())
    if output is Output.JSON:
        document.print_json({"folder": folder, what: [_json(one) for one in found]})
        return EXIT_SUCCEEDED
    console = terminal.out()
    for one in found:
        used = "in use" if one.in_use else f"used {one.used_at:%Y-%m-%d %H:%M}"
        size = f"{one.bytes / 1024**2:,.1f} MiB"
        tables.line(console, f"{one.key[:12]}  {size:>12}  {used:<21}  {', '.join(one.packages)}")
    total = sum(one.bytes for one in found) / 1024**2
    count = f"{len(found)} environment{'' if len(found) == 1 else 's'}"
    tables.line(console, f"{folder}: {count} {what}, {total:,.1f} MiB")
    return EXIT_SUCCEEDED


def _json(one: Kept) -> dict[str, object]:
    return {
        "key": one.key,
        "packages": list(one.packages),
        "python": one.python,
        "bytes": one.bytes,
        "usedAt": f"{one.used_at:%Y-%m-%dT%H:%M:%SZ}",
        "inUse": one.in_use,
    }
