"""The keeper: a small process between a runner and one worker, so that nothing of the worker outlives its end.

It adopts whatever the worker's processes leave behind, drains what they print, and when told, or when the worker or the
runner is gone, kills all of them, waits until not one is left and says so. It runs none of the user's code.

Spoken on its control socket, one line each: to it ``T`` (TERM to the worker's group), ``K`` (kill all), ``O <path>``
(write the last output to a file); from it ``pid <n>`` first, ``ok`` after ``O``, and ``gone <status> <confirmed>`` once
all are dead. It ends when the runner closes the socket.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from batchyard.linux import adopt_orphans, descendants

if TYPE_CHECKING:
    import socket

OUTPUT_MARK = b"\x00batchyard-trial\x00"
"""The worker writes it before each trial, so that one trial's output can be told from the last one's."""

_OUTPUT_TAIL_BYTES = 256 * 1024
_SWEEP_SECONDS = 10.0
# No pipe holds more unless root says so: after so much, what was printed before is here, whoever goes on printing.
_MOST_IN_A_PIPE = 1024 * 1024


class Keeper:
    """Watches over one worker process that ``start`` has just forked."""

    def __init__(self, worker: int, control: socket.socket, output: int) -> None:
        """Take over the worker's pid, the runner's socket and the reading end of the worker's output."""
        self._worker = worker
        self._control = control
        self._output: int | None = output
        self._tail = bytearray()
        self._status: int | None = None
        self._commands = b""

    def run(self) -> NoReturn:
        """Serve until the worker is gone and everything it left is dead; never returns."""
        adopt_orphans()
        wake = _wake_on_child()
        self._say(f"pid {self._worker}")
        watched = select.poll()
        for fd in (self._control.fileno(), wake):
            watched.register(fd, select.POLLIN)
        if self._output is not None:
            watched.register(self._output, select.POLLIN)
        while self._status is None:
            for fd, _ in watched.poll():
                if fd == wake:
                    os.read(wake, 4096)
                elif fd == self._output:
                    if not self._drain():
                        watched.unregister(fd)
                elif not self._obey():
                    self._kill_all()  # the runner is gone: nothing may outlive it
            self._reap()
        confirmed = self._kill_all()
        self._drain_rest()
        self._say(f"gone {self._status} {int(confirmed)}")
        self._control.settimeout(None)
        while self._obey():  # the runner may still ask for the output
            pass
        os._exit(0 if confirmed else 3)

    def _obey(self) -> bool:
        try:
            data = self._control.recv(4096)
        except OSError:
            return False
        if not data:
            return False
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            if line == b"T":
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._worker, signal.SIGTERM)
                # A stopped process acts on TERM only once it goes on.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._worker, signal.SIGCONT)
            elif line == b"K":
                self._kill_all()
            elif line.startswith(b"O "):
                self._write_output(Path(os.fsdecode(line[2:])))
        return True

    def _kill_all(self) -> bool:
        """Kill every descendant until none is left; return whether that was reached in time."""
        until = time.monotonic() + _SWEEP_SECONDS
        while time.monotonic() < until:
            for pid in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if self._reap():
                return True
            self._drain_rest()
            select.select([], [], [], 0.002)
        return False

    def _reap(self) -> bool:
        """Collect the dead; return whether no child is left at all."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._worker:
                self._status = os.waitstatus_to_exitcode(status)

    def _drain(self) -> int:
        """Read some output and return how many bytes; 0 at its end."""
        if self._output is None:
            return 0
        try:
            data = os.read(self._output, 1 << 16)
        except OSError:
            data = b""
        if not data:
            os.close(self._output)
            self._output = None
        self._tail += data
        if len(self._tail) > 2 * _OUTPUT_TAIL_BYTES:
            del self._tail[:-_OUTPUT_TAIL_BYTES]
        return len(data)

    def _drain_rest(self) -> None:
        """Read what was printed until now, but not for as long as somebody prints."""
        left = _MOST_IN_A_PIPE
        while left > 0 and self._output is not None and select.select([self._output], [], [], 0)[0]:
            left -= self._drain()

    def _write_output(self, path: Path) -> None:
        self._drain_rest()
        last = self._tail.rfind(OUTPUT_MARK)
        text = bytes(self._tail[last + len(OUTPUT_MARK) :] if last >= 0 else self._tail)[-_OUTPUT_TAIL_BYTES:]
        if text.strip():
            with contextlib.suppress(OSError):
                _write_plain_file(path, text)
        self._say("ok")

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self._control.sendall(line.encode() + b"\n")


def _write_plain_file(path: Path, content: bytes) -> None:
    """Write a file in a folder that code under test may have filled with links and pipes."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    with os.fdopen(fd, "wb") as file:
        file.write(content)


def _wake_on_child() -> int:
    """Return a descriptor that becomes readable when a child ends."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    return reading
