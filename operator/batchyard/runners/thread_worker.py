"""A worker that is a thread of this process: isolation ``Thread``, cooperative only.

It can be asked to stop at a node boundary, never ended: past the grace the thread is abandoned, counted, and what it
returns later is told as late. Environment values and the current directory are the whole process's and are left alone.
"""

from __future__ import annotations

import os
import queue
import threading
from typing import TYPE_CHECKING, Any

import orjson

from batchyard.runners.worker import Parts, Worker
from batchyard.runners.workers import Gone, Message, Woken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from batchyard.clock import Clock


class _MemorySlot:
    """The slot of a worker in the same process."""

    def __init__(self) -> None:
        self._node: tuple[str, int] = ("", 0)
        self.stop_asked = False

    def set_node(self, node: str, since_ns: int) -> None:
        self._node = (node, since_ns)

    def node(self) -> tuple[str, float] | None:
        node, since = self._node
        return (node, since / 1e9) if since else None


class ThreadWorker:
    """One daemon thread that answers messages. ``late`` hears the outcome of an attempt that was abandoned."""

    def __init__(self, parts: Parts, late: Callable[[str], None], clock: Clock) -> None:
        """Start the thread."""
        self._slot = _MemorySlot()
        self._worker = Worker(self._slot, parts, owns_process=False)
        self._late = late
        self._clock = clock
        self._inbox: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards _abandoned against a reply that comes at the same moment
        self._abandoned = False
        self._wake: int | None = None
        self._thread = threading.Thread(target=self._serve, name="batchyard-thread-worker", daemon=True)
        self._thread.start()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message."""
        if message["op"] == "run":
            self._slot.stop_asked = False
        self._inbox.put(message)

    def wait(self, until: float | None, wake: int) -> Message | Gone | Woken | None:
        """Wait for a reply, a wake-up or the instant ``until``."""
        if self._abandoned:
            return Gone(None, confirmed=False)
        self._wake = wake
        try:
            return Message(self._replies.get_nowait())
        except queue.Empty:
            pass
        seconds = None if until is None else max(0.0, until - self._clock.monotonic())
        if not _readable(wake, seconds):
            return None
        os.eventfd_read(wake)
        try:
            return Message(self._replies.get_nowait())
        except queue.Empty:
            return Woken()

    def node(self) -> tuple[str, float] | None:
        """Return the node that runs and when it began."""
        return self._slot.node()

    def ask_to_stop(self) -> None:
        """Ask the trial to stop at its next node boundary."""
        self._slot.stop_asked = True

    def terminate(self) -> None:
        """Do nothing: a thread hears no signal."""

    def kill(self) -> None:
        """Abandon the thread: it runs on, unheard."""
        with self._lock:
            self._abandoned = True

    def force_gone(self) -> Gone:
        """Abandon the thread."""
        self.kill()
        return Gone(None, confirmed=False)

    def memory(self) -> int:
        """Return 0: a thread's memory is the process's."""
        return 0

    def save_output(self, path: Path) -> None:
        """Do nothing: what a thread prints goes where this process prints."""

    def last_words(self) -> str:
        """Return "": what a thread printed is not kept."""
        return ""

    def close(self) -> None:
        """Let the thread end after what it does now; wait for it unless it was abandoned."""
        self._inbox.put(None)
        if not self._abandoned:
            self._thread.join()

    def _serve(self) -> None:
        while (message := self._inbox.get()) is not None:
            # Through JSON, as between processes, so that both isolations hand the workflow the same values.
            reply = orjson.loads(orjson.dumps(self._worker.answer(orjson.loads(orjson.dumps(message)))))
            with self._lock:
                if self._abandoned:
                    if reply["op"] == "ended":
                        self._late(reply["executed"]["outcome"])
                    break
                self._replies.put(reply)
                if self._wake is not None:
                    os.eventfd_write(self._wake, 1)
        self._worker.close()


def _readable(fd: int, seconds: float | None) -> bool:
    import select

    return bool(select.select([fd], [], [], seconds)[0])
