"""The thread that sends: segments in order, one at a time, until the operator has taken them; heartbeats in between."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Protocol

import orjson
import structlog

from batchyard.worker.client import OutOfOrder, Refused, Superseded, TooLarge, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchyard.clock import Clock
    from batchyard.model.wire import Directive, Receipt
    from batchyard.worker.settings import Pace
    from batchyard.worker.spool import Spool

_log = structlog.get_logger(__name__)

_REMINDER_SECONDS = 60.0
_GOODBYE_SECONDS = 1.0


class Recipient(Protocol):
    """Takes segments and heartbeats; raises the errors of ``worker.client``, whose ``ResultsClient`` is one."""

    def segment(self, number: int, body: bytes) -> Receipt:
        """Take segment ``number``."""
        ...

    def heartbeat(self, running: int) -> Directive:
        """Hear that the worker lives and runs so many trials."""
        ...


class Poster(threading.Thread):
    """Sends what is in the spool. ``on_directive`` and ``on_end`` are called in this thread.

    ``on_end`` hears, once, that nothing can be sent any more: None if another attempt took over, else the error.
    """

    def __init__(
        self,
        recipient: Recipient,
        spool: Spool,
        clock: Clock,
        pace: Pace,
        *,
        running: Callable[[], int],
        on_directive: Callable[[Directive], None],
        on_end: Callable[[Exception | None], None],
    ) -> None:
        """``running`` says how many trials run now."""
        super().__init__(name="batchyard-poster", daemon=True)
        self._recipient, self._spool, self._clock, self._pace = recipient, spool, clock, pace
        self._running, self._on_directive, self._on_end = running, on_directive, on_end
        # Guards all below; its waiters are this thread and whoever waits for the end or for room.
        self.changed = threading.Condition()
        self._next, self._last = 1, 0
        self._closed = False
        self.over = False

    def queued(self, number: int) -> None:
        """Hear that segment ``number`` is in the spool."""
        with self.changed:
            self._last = number
            self.changed.notify_all()

    def wait_sent(self, seconds: float) -> bool:
        """Wait until everything queued was taken, or nothing can be sent any more; return whether it was taken."""
        with self.changed:
            self.changed.wait_for(lambda: self.over or self._next > self._last, timeout=seconds)
            return self._next > self._last

    def close(self) -> None:
        """End the thread, whatever is still unsent; a request that gets no answer is not waited for."""
        with self.changed:
            self._closed = True
            self.changed.notify_all()
        self.join(_GOODBYE_SECONDS)

    def run(self) -> None:
        """Send until closed, superseded or refused."""
        try:
            self._send_all()
        except Superseded as err:
            _log.info("this attempt is superseded", reason=str(err))
            self._end(None)
        except Exception as err:  # the thread's boundary: whoever waits for it must hear of it
            _log.error("results cannot be sent any more", error=str(err))
            self._end(err)

    def _end(self, err: Exception | None) -> None:
        with self.changed:
            self.over = True
            self.changed.notify_all()
        self._on_end(err)

    def _send_all(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self._closed or self._next <= self._last, timeout=self._pace.heartbeat)
                if self._closed:
                    return
                number = self._next if self._next <= self._last else None
            if number is None:
                self._beat()
            else:
                self._send(number)

    def _beat(self) -> None:
        try:
            self._on_directive(self._recipient.heartbeat(self._running()))
        except Unavailable as err:
            _log.info("the operator did not hear this heartbeat", error=str(err))

    def _send(self, number: int) -> None:
        body = self._spool.get(number)
        if body is None:
            raise Refused(f"the operator wants segment {number}, which it had taken and which is gone")
        failures, reminded = 0, self._clock.monotonic()
        while not self._closed:
            try:
                receipt = self._recipient.segment(number, body)
            except OutOfOrder as err:
                if err.next != number:
                    self._go_on_from(err.next)
                    return
                asked = None
            except TooLarge:
                body = _smaller(body, number)
                continue
            except Unavailable as err:
                asked = err.retry_after
                if not failures or self._clock.monotonic() - reminded > _REMINDER_SECONDS:
                    reminded = self._clock.monotonic()
                    _log.warning("results wait to be sent", error=str(err), waiting=self._spool.size)
            else:
                if receipt.next <= number:
                    raise Refused(f"the operator took segment {number} and wants segment {receipt.next} next")
                self._go_on_from(receipt.next)
                self._on_directive(receipt.directive)
                return
            self._pause(asked, failures)
            failures += 1

    def _go_on_from(self, wanted: int) -> None:
        with self.changed:
            if wanted > self._last + 1:
                raise Refused(
                    f"the operator has segments of this place up to {wanted - 1}, and this worker made {self._last}: "
                    "another worker sends for the same place"
                )
            for number in range(self._next, wanted):
                self._spool.drop(number)
            self._next = wanted
            self.changed.notify_all()

    def _pause(self, asked: float | None, failures: int) -> None:
        until = self._clock.monotonic() + self._pace.pause(failures, random.random(), asked)  # noqa: S311
        while not self._closed and (left := until - self._clock.monotonic()) > 0:
            with self.changed:
                self.changed.wait_for(lambda: self._closed, timeout=min(left, self._pace.heartbeat))
            if asked is not None and left > self._pace.heartbeat and not self._closed:
                # It is there, and takes nothing now: it must not take this worker for dead.
                self._beat()


def _smaller(body: bytes, number: int) -> bytes:
    """Return the segment without final states, then without boundaries; results themselves are never given up."""
    document = orjson.loads(body)
    for field, empty in (("output", {"truncated": True}), ("boundaries", [])):
        there = [result for result, _ in document["results"] if result[field] and result[field] != empty]
        if there:
            for result in there:
                result[field] = empty
            return orjson.dumps(document)
    raise Refused(f"segment {number} is larger than the operator takes, even without final states")
