"""A worker that is a thread of this process: isolation ``Thread``, cooperative only.

It can be asked to stop at a node boundary, never ended: past the grace the thread is abandoned, counted, and what it
returns later is told as late. Environment values and the current directory are the whole process's and are left alone.
"""

from __future__ import annotations

import os
import queue
import select
import threading
from typing import TYPE_CHECKING, Any

import structlog

from batchyard.model.usage import Usage
from batchyard.runners.frames import NotAFrame, as_received
from batchyard.runners.worker import Parts, Worker, tellable
from batchyard.runners.workers import Gone, Message, Woken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from batchyard.clock import Clock
    from batchyard.engine.attempts import Order

_log = structlog.get_logger(__name__)


class _MemorySlot:
    """The slot of a worker in the same process."""

    def __init__(self) -> None:
        self._node: tuple[str, int] = ("", 0)
        self._usage: tuple[Usage, float] = (Usage(), 0.0)
        self.stop_asked = False

    def set_node(self, node: str, since_ns: int) -> None:
        self._node = (node, since_ns)

    def node(self) -> tuple[str, float] | None:
        node, since = self._node
        return (node, since / 1e9) if since else None

    def set_usage(self, used: Usage, at_ns: int) -> None:
        self._usage = (used, at_ns / 1e9)

    def usage(self) -> tuple[Usage, float]:
        return self._usage


class ThreadWorker:
    """One daemon thread that answers messages. ``late`` hears how an attempt ended that was abandoned."""

    def __init__(self, parts: Parts, late: Callable[[Order, str], None], clock: Clock) -> None:
        """Start the thread."""
        self._slot = _MemorySlot()
        self._worker = Worker(self._slot, parts, owns_process=False)
        self._late = late
        self._clock = clock
        self._inbox: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[Message | Gone] = queue.SimpleQueue()
        self._unanswered = 0
        self._last_words = ""
        self._lock = threading.Lock()  # guards _abandoned against a reply that comes at the same moment
        self._abandoned = False
        self._wake: int | None = None
        self._thread = threading.Thread(target=self._serve, name="batchyard-thread-worker", daemon=True)
        self._thread.start()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message."""
        if message["op"] == "run":
            self._slot.stop_asked = "stop" in message
            self._slot.set_usage(Usage(), 0)
        self._unanswered += 1
        self._inbox.put(message)

    def wait(self, until: float | None, wake: int) -> Message | Gone | Woken | None:
        """Wait for a reply, a wake-up or the instant ``until``."""
        self._wake = wake
        reply = self._reply()
        if reply is not None:
            return reply
        if self._abandoned:
            return Gone(None, confirmed=False)
        milliseconds = None if until is None else max(0.0, (until - self._clock.monotonic()) * 1000)
        if not _readable(wake, milliseconds):
            return None
        os.eventfd_read(wake)
        return self._reply() or Woken()

    def is_fit(self) -> bool:
        """Return whether the thread waits for orders."""
        return self._thread.is_alive() and not self._abandoned

    def node(self) -> tuple[str, float] | None:
        """Return the node that runs and when it began."""
        return self._slot.node()

    def usage(self) -> tuple[Usage, float] | None:
        """Return what the trial has used and when it last moved."""
        return self._slot.usage()

    def ask_to_stop(self) -> None:
        """Ask the trial to stop at its next node boundary."""
        self._slot.stop_asked = True

    def terminate(self) -> bool:
        """Do nothing: a thread hears no signal."""
        return False

    def kill(self) -> bool:
        """Abandon the thread: it runs on, unheard."""
        with self._lock:
            self._abandoned = True
        return False

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
        """Return the error that ended the thread, or "": what a thread printed is not kept."""
        return self._last_words

    def close(self) -> None:
        """Let an idle thread end and wait for it; abandon one that has not answered."""
        self._inbox.put(None)
        if self._unanswered and self._thread.is_alive():
            self.kill()
        if not self._abandoned:
            self._thread.join()

    def _reply(self) -> Message | Gone | None:
        try:
            reply = self._replies.get_nowait()
        except queue.Empty:
            return None
        self._unanswered -= 1
        return reply

    def _serve(self) -> None:
        try:
            while (message := self._inbox.get()) is not None:
                reply = self._answer(message)
                if not self._hand_over(Message(reply)):
                    if reply["op"] == "ended":
                        self._late(message["order"], reply["executed"]["outcome"])
                    break
            self._worker.close()
        except Exception as err:
            # The thread's boundary: whoever waits for an answer must hear that none will come.
            _log.exception("a worker thread broke")
            self._last_words = f"{type(err).__name__}: {err}"
            self._hand_over(Gone(1, confirmed=True))

    def _answer(self, message: Mapping[str, Any]) -> Any:
        """Answer by way of JSON, as between processes, so that both isolations hand the workflow the same values."""
        answer = self._worker.answer(as_received(message))
        try:
            return as_received(answer)
        except NotAFrame as err:
            return as_received(tellable(answer, err))

    def _hand_over(self, reply: Message | Gone) -> bool:
        """Give the leader the reply; return False if it does not listen any more."""
        with self._lock:
            if self._abandoned:
                return False
            self._replies.put(reply)
            if self._wake is not None:
                os.eventfd_write(self._wake, 1)
        return True


def _readable(fd: int, milliseconds: float | None) -> bool:
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return bool(waiting.poll(milliseconds))
