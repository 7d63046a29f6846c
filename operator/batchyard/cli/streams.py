"""The standard streams as every command can rely on them. Not for what is written there (``terminal``)."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from batchyard.model.errors import BatchyardError


class NotPrinted(BatchyardError):
    """Standard output cannot be written, for another reason than that its reader went away."""

    def __init__(self, cause: OSError) -> None:
        """Say what the system says."""
        super().__init__(f"standard output cannot be written: {cause.strerror or cause}; send it elsewhere")


def prepare() -> None:
    """Have all three streams, and let standard output take every character.

    One that was closed leads nowhere. What the encoding does not have is escaped, as on standard error.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It gets the lowest free number, its own, which otherwise the store would have.
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Print what is still to be printed. Raises ``NotPrinted``; a reader that went away is no reason to."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as err:
        silence(sys.stdout)
        raise NotPrinted(err) from err


def settle() -> None:
    """Leave nothing to be written when Python ends, which would end with 120 if it could not."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            silence(stream)


def silence(stream: TextIO) -> None:
    """Send whatever is still to be written, at the latest when Python ends, nowhere."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
