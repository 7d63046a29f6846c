"""Writing to the terminal or the pipe: consoles, plain lines and text that cannot command the terminal.

Not for what is written: tables, progress and documents have their own modules.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from batchyard import logs
from batchyard.cli import streams

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIPE_WIDTH = 10_000
"""What goes into a file or a pipe is never cut to the width of a screen."""


class _PipeSafeConsole(Console):
    """A console that leaves it to the caller what a reader that went away means; rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def out() -> Console:
    """Return a console on standard output."""
    return _console(sys.stdout)


def err() -> Console:
    """Return a console on standard error."""
    return _console(sys.stderr)


def _console(file: TextIO) -> Console:
    width = None if file.isatty() else _PIPE_WIDTH
    # Markup and highlighting are off: names and messages are the user's and may hold brackets.
    return _PipeSafeConsole(file=file, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


def draws(console: Console) -> bool:
    """Return whether the console is a terminal on which a line can be drawn again."""
    return console.is_terminal and not console.is_dumb_terminal


def say(text: str) -> None:
    """Write a line to standard error. That nobody can read it is no reason to stop a run."""
    if logs.as_json():
        logs.say(text)
        return
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def say_at_once(text: str) -> None:
    """Write a line to standard error from within a signal handler, where the stream itself may be in use."""
    written = logs.line(text) if logs.as_json() else text
    with suppress(OSError):
        os.write(sys.stderr.fileno(), f"{written}\n".encode())


def printable(text: str) -> str:
    """Return the text on one line, with nothing in it that a terminal would take for a command."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " if char.isspace() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Let whoever reads standard output go away early, as ``head`` does, without a word about it.

    Raises ``NotPrinted`` if it cannot be written for another reason.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        streams.silence(sys.stdout)
    except OSError as err:
        if err.filename is not None:  # a file that was to be read
            raise
        streams.silence(sys.stdout)
        raise streams.NotPrinted(err) from err
