"""Run as ``python -P -m batchyard.environments.tethered FD COMMAND...``: runs the command, and ends it when asked to.

FD is a socket. The exit code goes there when the command has ended. When the other side closes it, or is killed, the
command and everything it started is killed: an installer does not go on alone, and leaves nobody behind.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress

from batchyard.linux import adopt_orphans, children, descendants


def main(lifeline: socket.socket, command: list[str]) -> None:
    """Run the command until it ends or nobody wants it any more."""
    # Whoever started this process may have ignored it: Ray does, and then no exit code is to be had.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    adopt_orphans()
    try:
        process = subprocess.Popen(command, start_new_session=True)  # noqa: S603
    except OSError as err:
        sys.stderr.write(f"{command[0]} cannot be run: {err.strerror}\n")
        lifeline.sendall(b"127\n")
        return
    watched = select.poll()
    for fd in (lifeline.fileno(), os.pidfd_open(process.pid)):
        watched.register(fd, select.POLLIN)
    ready = {fd for fd, _ in watched.poll()}
    if lifeline.fileno() not in ready:
        lifeline.sendall(f"{process.wait()}\n".encode())
    _kill_all()


def _kill_all() -> None:
    """Kill every descendant until none is left; those of the dead come to this process in turn."""
    own = os.getpid()
    while children(own):
        for pid in descendants(own):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
