"""The standard streams as every command can rely on them. Not for what is written there (``terminal``)."""

from __future__ import annotations

import io
import sys


def prepare() -> None:
    """Have standard output take every character: what its encoding does not have is escaped, as on standard error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
