"""How commands are registered with Typer: their help from the docstring, their examples, their way to end.

Not for any single command.
"""

import inspect
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from batchyard.cli import streams

_INTERRUPTED = 130


class Commands(TyperGroup):
    """All commands, with the ways to end that Typer has other ideas of."""

    def invoke(self, ctx: Any) -> Any:
        """Let a reader go away early or a user interrupt; Typer would end with 1, as if a batch had failed."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            streams.silence(sys.stdout)
            return 0
        except KeyboardInterrupt:
            from batchyard.cli.terminal import say

            say("interrupted")
            return _INTERRUPTED


def group(text: str) -> typer.Typer:
    """Return a new group of commands."""
    return typer.Typer(help=text, rich_markup_mode="rich", pretty_exceptions_enable=False)


def examples(*lines: str) -> str:
    """Return the epilog that shows these command lines."""
    return "\n".join(["[bold]Examples[/bold]", *(f"  {line}" for line in lines)])


def command(
    parent: typer.Typer, name: str, *lines: str, panel: str | None = None
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register a function as a command whose help is its docstring, paragraph by paragraph."""

    def register(function: Callable[..., int]) -> Callable[..., int]:
        paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
        text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        return parent.command(name, help=text, epilog=examples(*lines), rich_help_panel=panel)(function)

    return register
