"""A worker process as its leader sees it, and the zygote that makes one in milliseconds."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchyard.model.errors import EnvironmentUnavailable
from batchyard.runners.frames import FrameBroken, receive_frame, send_frame
from batchyard.runners.linux import descendants, resident_bytes
from batchyard.runners.slot import Slot
from batchyard.runners.workers import Gone, Message, Woken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.clock import Clock

_START_SECONDS = 60.0


class ProcessWorker:
    """One worker in its own session, watched over by its keeper. Used by one leader thread."""

    def __init__(self, keeper: int, sock: socket.socket, control: socket.socket, slot: Slot, clock: Clock) -> None:
        """Wait until the keeper tells the worker's pid. Raises ``EnvironmentUnavailable``."""
        self._keeper = keeper
        self._sock = sock
        self._control = control
        self._slot = slot
        self._clock = clock
        self._buffer = b""
        self._gone: Gone | None = None
        self._control.settimeout(_START_SECONDS)
        line = self._read_line()
        if not line.startswith("pid "):
            raise EnvironmentUnavailable(f"a worker process did not start (its keeper said {line!r})")
        self.pid = int(line.split()[1])
        self._poll = select.poll()
        for fd in (self._sock.fileno(), self._control.fileno()):
            self._poll.register(fd, select.POLLIN)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; a worker that is gone shows in the next ``wait``."""
        if message["op"] == "run":
            self._slot.ask_to_stop(False)
        with contextlib.suppress(OSError):
            send_frame(self._sock, message)

    def wait(self, until: float | None, wake: int) -> Message | Gone | Woken | None:
        """Wait for a reply, the worker's end, a wake-up or the monotonic instant ``until`` (None)."""
        self._poll.register(wake, select.POLLIN)
        try:
            while self._gone is None:
                milliseconds = None if until is None else max(0.0, (until - self._clock.monotonic()) * 1000)
                # poll() rounds up, so that a wait never ends before its instant.
                ready = {fd for fd, _ in self._poll.poll(milliseconds)}
                if not ready:
                    return None
                heard = self._hear(ready, wake)
                if heard is not None:
                    return heard
            return self._gone
        finally:
            self._poll.unregister(wake)

    def _hear(self, ready: set[int], wake: int) -> Message | Gone | Woken | None:
        if self._sock.fileno() in ready:
            try:
                message = receive_frame(self._sock)
            except (OSError, FrameBroken):
                message = None
            if message is not None:
                return Message(message)
            self._poll.unregister(self._sock.fileno())  # its keeper will say how it ended
        if self._control.fileno() in ready:
            return self._hear_keeper()
        if wake in ready:
            os.eventfd_read(wake)
            return Woken()
        return None

    def node(self) -> tuple[str, float] | None:
        """Return the node that runs and when it began."""
        return self._slot.node()

    def ask_to_stop(self) -> None:
        """Ask the trial to stop at its next node boundary."""
        self._slot.ask_to_stop(True)

    def terminate(self) -> None:
        """Send TERM to the worker's whole process group."""
        self._tell("T")

    def kill(self) -> None:
        """Kill the worker and every process it started, whatever their session; ``wait`` then says ``Gone``."""
        self._tell("K")

    def force_gone(self) -> Gone:
        """Kill worker and keeper directly: the way out when the keeper itself does not answer."""
        for pid in [self.pid, *descendants(self._keeper), self._keeper]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._gone = Gone(None, confirmed=False)
        return self._gone

    def memory(self) -> int:
        """Return the bytes that the worker and all its processes hold."""
        return resident_bytes([self.pid, *descendants(self.pid)])

    def save_output(self, path: Path) -> None:
        """Write what the last trial printed (its end, if it was long) to ``path``, if it printed anything."""
        self._tell(f"O {path}")
        while (line := self._read_line()) not in {"ok", ""}:
            self._note(line)

    def last_words(self) -> str:
        """Return the last line the worker printed, such as the error that ended it, or ""."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "output"
            self.save_output(file)
            text = file.read_text(errors="replace") if file.exists() else ""
        return text.strip().rpartition("\n")[2][:500]

    def close(self) -> None:
        """End the worker and wait until nothing of it is left."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        if self._gone is None:
            self.kill()
            while self._gone is None and (line := self._read_line()):
                self._note(line)
        for closing in (self._sock, self._control, self._slot):
            closing.close()

    def _hear_keeper(self) -> Gone | None:
        line = self._read_line()
        if not line:
            return self.force_gone()  # the keeper was killed: the zygote kills what it left
        self._note(line)
        return self._gone

    def _note(self, line: str) -> None:
        if line.startswith("gone "):
            _, status, confirmed = line.split()
            self._gone = Gone(None if status == "None" else int(status), confirmed == "1")

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self._control.sendall(line.encode() + b"\n")

    def _read_line(self) -> str:
        while b"\n" not in self._buffer:
            try:
                data = self._control.recv(4096)
            except OSError:
                data = b""
            if not data:
                return ""
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()


class Zygote:
    """Owns the zygote process. ``spawn`` may be called from any thread; a zygote that died is started again."""

    def __init__(self, clock: Clock, parts: str) -> None:
        """Start the process and return at once; the first ``spawn`` waits until it is warm.

        ``parts`` names, as ``module:class``, what makes a worker's parts.
        """
        self._clock = clock
        self._parts = parts
        self._lock = threading.Lock()  # guards the socket's request and answer, and a restart
        self._warm = False
        self._start()

    def spawn(self) -> ProcessWorker:
        """Fork a worker. Raises ``EnvironmentUnavailable``."""
        with self._lock:
            try:
                return self._fork()
            except OSError:
                self._stop()
                self._start()
            try:
                return self._fork()
            except OSError as err:
                raise EnvironmentUnavailable(f"worker processes cannot be started on this machine: {err}") from err

    def close(self) -> None:
        """End the zygote; workers must have been closed before."""
        with self._lock:
            self._stop()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "batchyard.runners.zygote", str(theirs.fileno()), self._parts],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        ours.settimeout(_START_SECONDS)
        self._control = ours
        self._warm = False

    def _fork(self) -> ProcessWorker:
        if not self._warm:
            if self._control.recv(64) != b"ready\n":
                raise OSError(
                    "the process that forks workers did not start; run `batchyard` with the same Python again"
                )
            self._warm = True
        ours, theirs = socket.socketpair()
        control, keeper = socket.socketpair()
        page = Slot.create()
        try:
            socket.send_fds(self._control, [b"spawn"], [theirs.fileno(), keeper.fileno(), page])
            answer = self._control.recv(64)
            if not answer:
                raise OSError("the process that forks workers is gone")
            return ProcessWorker(int(answer), ours, control, Slot(page), self._clock)
        except OSError:
            ours.close()
            control.close()
            raise
        finally:
            theirs.close()
            keeper.close()
            os.close(page)

    def _stop(self) -> None:
        self._control.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
