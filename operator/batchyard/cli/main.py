"""The entry point: runs a command and turns whatever it raises into a sentence and an exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from batchyard.cli import streams
from batchyard.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; nothing it raises gets out."""
    streams.prepare()
    code = _carried_out(arguments)
    streams.settle()
    return code


def _carried_out(arguments: Sequence[str]) -> int:
    command = typer.main.get_command(app)
    try:
        code = command.main(args=list(arguments) or ["--help"], prog_name="batchyard", standalone_mode=False)
        streams.flush()
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    except typer.Abort:
        return _INTERRUPTED
    except BrokenPipeError:
        streams.silence(sys.stdout)
        return 0
    except typer.TyperException as err:
        from batchyard.cli.failures import tell_usage

        context = getattr(err, "ctx", None)
        usage = context.command_path if context is not None else "batchyard"
        return tell_usage(err.format_message().replace("Value error, ", ""), usage, as_json=_wants_json(arguments))
    except Exception as err:  # the boundary: a user is never shown a traceback that was not asked for
        from batchyard.cli.failures import tell

        return tell(_cause(err), as_json=_wants_json(arguments), debug="--debug" in arguments)


def _cause(error: Exception) -> Exception:
    """Return the error itself, or that standard output cannot be written if that was it."""
    if isinstance(error, OSError):
        try:
            streams.flush()
        except streams.NotPrinted as lost:
            return lost
    return error


def _wants_json(arguments: Sequence[str]) -> bool:
    """Return whether JSON was asked for, also on a line that could not be understood as a whole."""
    for here, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if here in {"--output=json", "-ojson"} or (here in {"--output", "-o"} and following == "json"):
            return True
    return False
