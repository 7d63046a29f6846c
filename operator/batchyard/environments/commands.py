"""Runs a command of somebody else's to its end or to a deadline, and quotes what it said.

Not for workers: what runs here is an installer, in the runner's own time.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.model.errors import EnvironmentUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from batchyard.clock import Clock

_LOOK_SECONDS = 0.2
_NOT_RUN = 127
_QUOTED_CHARACTERS = 1500
_OUTPUT_BYTES = 64 * 1024
_CREDENTIALS = re.compile(r"://[^/\s@]+@")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long something may take: to a monotonic instant, and only while it is of use."""

    clock: Clock
    until: float
    is_over: Callable[[], bool] = lambda: False

    def check(self, doing: str) -> None:
        """Raise ``EnvironmentUnavailable`` when there is no more time for it."""
        if self.is_over():
            raise EnvironmentUnavailable(f"{doing}: given up, since the batch is over")
        if self.clock.monotonic() >= self.until:
            raise EnvironmentUnavailable(
                f"{doing}: not done when the environment's deadline passed; raise spec.deadlines.environmentSeconds, "
                "or take packages that need not be compiled"
            )


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, and all that it printed."""

    status: int
    output: str

    @property
    def quoted(self) -> str:
        """Return what was printed on one line, without credentials, cut in its middle if it is long."""
        return quote(self.output)


def run(command: Sequence[str | Path], *, folder: Path, env: Mapping[str, str], patience: Patience, doing: str) -> Said:
    """Run the command in ``folder`` to its end; whatever it started is killed if it takes too long.

    Raises ``EnvironmentUnavailable``, which says what was being done (``doing``).
    """
    ours, theirs = socket.socketpair()
    tether = [sys.executable, "-P", "-m", "batchyard.environments.tethered", str(theirs.fileno())]
    # A file, since a pipe would have to be read, and may be held by what the command leaves behind.
    with ours, tempfile.TemporaryFile() as output:
        with theirs:
            process = subprocess.Popen(  # noqa: S603
                [*tether, *map(str, command)],
                cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        try:
            status = _await(ours, patience, doing)
        finally:
            ours.close()
            process.wait()  # not for its status, which Ray may have this process not know
        output.seek(max(0, output.seek(0, os.SEEK_END) - _OUTPUT_BYTES))
        said = Said(status, output.read().decode(errors="replace"))
    if status == _NOT_RUN:
        raise EnvironmentUnavailable(f"{doing}: {said.quoted}")
    return said


def quote(text: str) -> str:
    """Return a text on one line, without the credentials of its URLs, cut in its middle if it is long."""
    line = _CREDENTIALS.sub("://[redacted]@", " ".join(text.split()))
    if len(line) <= _QUOTED_CHARACTERS:
        return line
    half = _QUOTED_CHARACTERS // 2
    return f"{line[:half]} ... {line[-half:]}"


def _await(lifeline: socket.socket, patience: Patience, doing: str) -> int:
    lifeline.settimeout(_LOOK_SECONDS)
    while True:
        try:
            return int(lifeline.recv(64) or _NOT_RUN)
        except TimeoutError:
            patience.check(doing)
