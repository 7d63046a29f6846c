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

from batchyard import config
from batchyard.linux import descendants, resident_bytes
from batchyard.model.errors import EnvironmentUnavailable
from batchyard.runners.frames import FrameBroken, FrameStream
from batchyard.runners.slot import Slot
from batchyard.runners.workers import Gone, Message, Woken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.clock import Clock
    from batchyard.model.usage import Usage

_START_SECONDS = 60.0
_GOOD_ORDER_SECONDS = 2.0
_CONFIRM_SECONDS = 15.0
_LAST_WORDS_CHARACTERS = 500
_OUTPUT_SECONDS = 5.0


class ProcessWorker:
    """One worker in its own session, watched over by its keeper. Used by one leader thread.

    Nothing here waits for the worker but ``wait``, and nothing waits for the keeper without an end: code under test may
    stop either in the middle of anything.
    """

    def __init__(self, keeper: int, sock: socket.socket, control: socket.socket, slot: Slot, clock: Clock) -> None:
        """Take over sockets and page, and wait until the keeper tells the worker's pid.

        Raises ``EnvironmentUnavailable``, with everything closed.
        """
        self._keeper = keeper
        self._sock = sock
        self._frames = FrameStream(sock)
        self._control = control
        self._slot = slot
        self._clock = clock
        self._heard = b""
        self._hung_up = False
        self._unanswered = 0
        self._gone: Gone | None = None
        self.closed = False
        line = self._await_line(_START_SECONDS)
        if not line.startswith("pid "):
            self._close_all()
            raise EnvironmentUnavailable(f"a worker process did not start (its keeper said {line!r})")
        self.pid = int(line.split()[1])
        self._poll = select.poll()
        for fd in (self._sock.fileno(), self._control.fileno()):
            self._poll.register(fd, select.POLLIN)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; ``wait`` sends on what did not go at once, and tells if the worker is gone."""
        if message["op"] == "run":
            self._slot.ask_to_stop("stop" in message)
            self._slot.clear_usage()
        self._unanswered += 1
        with contextlib.suppress(OSError):
            self._frames.send(message)

    def wait(self, until: float | None, wake: int) -> Message | Gone | Woken | None:
        """Wait for a reply, the worker's end, a wake-up or the monotonic instant ``until`` (None)."""
        self._poll.register(wake, select.POLLIN)
        try:
            while self._gone is None:
                if b"\n" in self._heard:
                    self._note(self._await_line(0))  # it came together with an earlier line
                    continue
                milliseconds = None if until is None else max(0.0, (until - self._clock.monotonic()) * 1000)
                self._watch_for_room()
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

    def is_fit(self) -> bool:
        """Return whether the worker still waits for orders, having said nothing unasked."""
        silent = not self._heard and not self._frames.has_received and not self._poll.poll(0)
        return self._gone is None and not self._hung_up and silent

    def node(self) -> tuple[str, float] | None:
        """Return the node that runs and when it began."""
        return self._slot.node()

    def usage(self) -> tuple[Usage, float] | None:
        """Return what the trial has used and when it last moved."""
        return self._slot.usage()

    def ask_to_stop(self) -> None:
        """Ask the trial to stop at its next node boundary."""
        self._slot.ask_to_stop(True)

    def terminate(self) -> bool:
        """Send TERM to the worker's whole process group."""
        self._tell("T")
        return True

    def kill(self) -> bool:
        """Kill the worker and every process it started, whatever their session; ``wait`` then says ``Gone``."""
        self._tell("K")
        return True

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
        while (line := self._await_line(_OUTPUT_SECONDS)) not in {"ok", ""}:
            self._note(line)

    def last_words(self) -> str:
        """Return the last line the worker printed, such as the error that ended it, or ""."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "output"
            self.save_output(file)
            text = file.read_text(errors="replace") if file.exists() else ""
        last = text.strip().rpartition("\n")[2]
        return last if len(last) <= _LAST_WORDS_CHARACTERS else f"{last[:_LAST_WORDS_CHARACTERS]}…"

    def close(self) -> None:
        """End the worker and wait until nothing of it is left."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        if self._gone is None and not self._unanswered:
            # An idle worker ends by itself when its socket does, and closes its checkpoint file in good order.
            self._await_end(_GOOD_ORDER_SECONDS)
        if self._gone is None:
            self.kill()
            self._await_end(_CONFIRM_SECONDS)
        if self._gone is None:
            self.force_gone()
        self._close_all()

    def _await_end(self, seconds: float) -> None:
        while self._gone is None and (line := self._await_line(seconds)):
            self._note(line)

    # -- hearing ---------------------------------------------------------------------------------------------

    def _watch_for_room(self) -> None:
        if not self._hung_up:
            room = select.POLLOUT if self._frames.has_unsent else 0
            self._poll.modify(self._sock.fileno(), select.POLLIN | room)

    def _hear(self, ready: set[int], wake: int) -> Message | Gone | Woken | None:
        if self._sock.fileno() in ready:
            message = self._hear_worker()
            if message is not None:
                return message
        if self._control.fileno() in ready:
            return self._hear_keeper()
        if wake in ready:
            os.eventfd_read(wake)
            return Woken()
        return None

    def _hear_worker(self) -> Message | None:
        try:
            self._frames.send_more()
            message = self._frames.receive()
        except (OSError, EOFError):
            self._hang_up()  # its keeper will say how it ended
        except FrameBroken:
            # Whatever runs there does not keep to the protocol: nothing it says can be used any more.
            self._hang_up()
            self.kill()
        else:
            if message is not None:
                self._unanswered -= 1
                return Message(message)
        return None

    def _hang_up(self) -> None:
        self._poll.unregister(self._sock.fileno())
        self._hung_up = True

    def _hear_keeper(self) -> Gone | None:
        # At least a line has begun to come, and a keeper writes whole lines.
        line = self._await_line(_OUTPUT_SECONDS)
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
            # Code under test may have stopped its keeper.
            os.kill(self._keeper, signal.SIGCONT)
            self._control.sendall(line.encode() + b"\n")

    def _await_line(self, seconds: float) -> str:
        """Return the keeper's next line, or "" if it hung up or none came within ``seconds``."""
        until = self._clock.monotonic() + seconds
        while b"\n" not in self._heard:
            # 0 would mean not to wait at all.
            self._control.settimeout(max(0.001, until - self._clock.monotonic()))
            try:
                data = self._control.recv(4096)
            except OSError:
                data = b""
            if not data:
                return ""
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def _close_all(self) -> None:
        for closing in (self._sock, self._control, self._slot):
            closing.close()
        self.closed = True


class Zygote:
    """Owns the zygote process. ``spawn`` may be called from any thread; a zygote that died is started again."""

    def __init__(self, clock: Clock, parts: str, python: Path | None = None) -> None:
        """Start the process and return at once; the first ``spawn`` waits until it is warm.

        ``parts`` names, as ``module:class``, what makes a worker's parts; ``python`` is the interpreter of a virtual
        environment that has this package too, else this process's own.
        """
        self._clock = clock
        self._parts = parts
        self._python = python
        self._lock = threading.Lock()  # guards the socket's request and answer, and a restart
        self._warm = False
        self._start()

    @property
    def pid(self) -> int:
        """Return the pid of the process that serves now."""
        return self._process.pid

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
            # -P: a types.py in the user's current folder must not stand in for the standard library's.
            [
                *(self._python or sys.executable, "-P", "-m", "batchyard.runners.zygote"),
                *(str(theirs.fileno()), self._parts),
            ],
            env=config.environment_of(self._python) if self._python else None,
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
            slot = Slot(page)
        except OSError:
            ours.close()
            control.close()
            raise
        finally:
            theirs.close()
            keeper.close()
            os.close(page)
        return ProcessWorker(int(answer), ours, control, slot, self._clock)

    def _stop(self) -> None:
        self._control.close()
        if not self._warm:
            self._process.kill()  # it may be importing for seconds yet, and no worker hangs on it
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
