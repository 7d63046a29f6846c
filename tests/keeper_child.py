"""A keeper over a worker that is a shell command, run as a process: ``python keeper_child.py FD COMMAND [FILE]``.

With a file, that is what the worker seems to print.
"""

from __future__ import annotations

import os
import socket
import sys

from batchyard.runners.keeper import Keeper


def main(control_fd: int, command: str, printed: str = "") -> None:
    """Fork the worker, which prints to the keeper, and watch over it."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.execvp("sh", ["sh", "-c", command])  # noqa: S606
    os.close(writing)
    output = os.open(printed, os.O_RDONLY) if printed else reading
    Keeper(pid, socket.socket(fileno=control_fd), output).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
