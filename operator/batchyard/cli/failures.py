"""What a user is told when a command fails, and the exit code that goes with it. Not for verdicts (``decide.finish``).

An expected error is a sentence, never a traceback.
"""

from __future__ import annotations

import json
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

from batchyard import logs
from batchyard.cli.terminal import printable, say
from batchyard.decide.finish import EXIT_PLACE_FAILED, EXIT_USAGE
from batchyard.model.errors import (
    BatchAmbiguous,
    BatchNotFound,
    BatchyardError,
    Fault,
    NotComparable,
    NotWritten,
    SpecInvalid,
    WorkflowInvalid,
)
from batchyard.model.execution import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchyard.model.trial import JSON

# A file or a reference that the user wrote wrongly, or a move that is refused; any other error is the place's.
_USAGE = (SpecInvalid, WorkflowInvalid, BatchNotFound, BatchAmbiguous, ExecutionError, NotComparable, NotWritten)


def exit_code_of(error: Exception) -> int:
    """Return the documented exit code of a command that ended with this error."""
    return EXIT_USAGE if isinstance(error, _USAGE) else EXIT_PLACE_FAILED


def invalid(file: Path, faults: Sequence[Fault]) -> SpecInvalid:
    """Return the error that names the file as it was given and all its faults."""
    return SpecInvalid("standard input" if str(file) == "-" else str(file), faults)


def fault_json(fault: Fault) -> dict[str, JSON]:
    """Return a fault as ``--output json`` prints it."""
    return {"path": fault.path, "value": fault.value, "message": fault.message, "remedy": fault.remedy}


def tell(error: Exception, *, as_json: bool, debug: bool) -> int:
    """Tell the user of the error and return the exit code."""
    code = exit_code_of(error)
    expected = isinstance(error, (BatchyardError, OSError))
    message = _message(error) if expected else f"unexpected {type(error).__name__}: {_message(error)}"
    faults = error.faults if isinstance(error, SpecInvalid) else ()
    shown = error if debug or not expected else None
    _write(message, type(error).__name__, code, faults, as_json=as_json, shown=shown)
    if logs.as_json():
        return code
    if debug:
        say("".join(traceback.format_exception(error)).rstrip())
    elif not expected:
        say("this is a fault of batchyard's own; `batchyard --debug ...` shows the traceback; please report it")
    return code


def tell_usage(message: str, usage: str, *, as_json: bool) -> int:
    """Tell the user that the command was not understood and return the exit code."""
    _write(message, "UsageError", EXIT_USAGE, (), as_json=as_json, shown=None)
    say(f"see: {usage} --help")
    return EXIT_USAGE


def _message(error: Exception) -> str:
    # Line by line: the parts may quote a file or a workflow, but the line ends are ours.
    return "\n".join(printable(line) for line in str(error).splitlines()) or type(error).__name__


def _write(
    message: str, kind: str, code: int, faults: Sequence[Fault], *, as_json: bool, shown: Exception | None
) -> None:
    """Write the error; of ``shown`` the traceback goes into a log of JSON, where no other place is for it."""
    if logs.as_json():
        logs.say_failed(message, kind=kind, exit_code=code, error=shown)
    else:
        say(f"error: {message}")
    if as_json:
        told: dict[str, JSON] = {"type": kind, "message": message, "exitCode": code}
        if faults:
            told["faults"] = [fault_json(fault) for fault in faults]
        # What cannot be written has been said, and its exit code stands.
        with suppress(OSError):
            sys.stdout.write(json.dumps({"error": told}) + "\n")
