"""The thread that sends: segments in order, one at a time, until the operator has taken them; heartbeats in between."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import orjson
import structlog

from batchyard.worker.client import OutOfOrder, Refused, Superseded, TooLarge, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchyard.clock import Clock
    from batchyard.model.wire import Directive
    from batchyard.worker.client import ResultsClient
    from batchyard.worker.spool import Spool

_log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 3.0
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_REMINDER_SECONDS = 60.0


class Poster(threading.Thread):
    """Sends what is in the spool. ``on_directive`` and ``on_end`` are called in this thread.

    ``on_end`` hears, once, that nothing can be sent any more: None if another attempt took over, else the error.
    """

    def __init__(
        self,
        client: ResultsClient,
        spool: Spool,
        clock: Clock,
        *,
        running: Callable[[], int],
        on_directive: Callable[[Directive], None],
        on_end: Callable[[Exception | None], None],
    ) -> None:
        """``running`` says how many trials run now."""
        super().__init__(name="batchyard-poster", daemon=True)
        self._client, self._spool, self._clock = client, spool, clock
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
        """End the thread, whatever is still unsent."""
        with self.changed:
            self._closed = True
            self.changed.notify_all()
        self.join()

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
                self.changed.wait_for(lambda: self._closed or self._next <= self._last, timeout=HEARTBEAT_SECONDS)
                if self._closed:
                    return
                number = self._next if self._next <= self._last else None
            if number is None:
                self._beat()
            else:
                self._send(number)

    def _beat(self) -> None:
        try:
            self._on_directive(self._client.heartbeat(self._running()))
        except Unavailable as err:
            _log.info("the operator did not hear this heartbeat", error=str(err))

    def _send(self, number: int) -> None:
        body = self._spool.get(number)
        if body is None:
            raise Refused(f"the operator wants segment {number}, which is gone")
        failures, reminded = 0, self._clock.monotonic()
        while not self._closed:
            try:
                receipt = self._client.segment(number, body)
            except OutOfOrder as err:
                self._go_on_from(err.next)
                return
            except TooLarge:
                body = _smaller(body, number)
            except Unavailable as err:
                if not failures or self._clock.monotonic() - reminded > _REMINDER_SECONDS:
                    reminded = self._clock.monotonic()
                    _log.warning("results wait to be sent", error=str(err), waiting=self._spool.size)
                self._pause(err.retry_after, failures)
                failures += 1
            else:
                self._go_on_from(receipt.next)
                self._on_directive(receipt.directive)
                return

    def _go_on_from(self, wanted: int) -> None:
        with self.changed:
            for number in range(self._next, wanted):
                self._spool.drop(number)
            self._next = wanted
            self.changed.notify_all()

    def _pause(self, asked: float | None, failures: int) -> None:
        longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0**failures)
        # Half of it by chance: the workers of a whole cluster must not all come back at once.
        seconds = asked if asked is not None else longest * (0.5 + random.random() / 2)  # noqa: S311
        with self.changed:
            self.changed.wait_for(lambda: self._closed, timeout=seconds)


def _smaller(body: bytes, number: int) -> bytes:
    """Return the segment without final states, then without boundaries; results themselves are never given up."""
    document = orjson.loads(body)
    for field, empty in (("output", {"truncated": True}), ("boundaries", [])):
        if any(result[field] != empty and result[field] is not None for result, _ in document["results"]):
            for result, _ in document["results"]:
                result[field] = empty
            return orjson.dumps(document)
    raise Refused(f"segment {number} is larger than the operator takes, even without final states")
