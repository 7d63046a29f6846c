"""Turns what a session writes into numbered segments. Implements ``engine.ports.ResultWriter``."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Self

import orjson

from batchyard.model.errors import StoreError
from batchyard.model.wire import MAX_ENTRIES, MAX_RESULTS, Segment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.engine.attempts import Ended
    from batchyard.engine.ports import BatchUpdate
    from batchyard.model.audit import AuditEntry
    from batchyard.model.trial import AttemptResult
    from batchyard.model.wire import Done, Hello
    from batchyard.worker.poster import Poster
    from batchyard.worker.spool import Spool

_CLOSE_SECONDS = 0.2
_MOST_RESULTS = 500
_MOST_BYTES = 1024 * 1024


class SegmentWriter:
    """Collects steps into segments, a few a second, and hands them to the poster. ``submit`` may be held up.

    One thread submits; another closes segments that have waited long enough.
    """

    def __init__(self, spool: Spool, poster: Poster, hello: Hello, *, spool_bytes: int) -> None:
        """``hello`` goes into the first segment."""
        self._spool, self._poster, self._spool_bytes = spool, poster, spool_bytes
        self._hello: Hello | None = hello
        # Guards the open segment below.
        self._lock = threading.Lock()
        self._results: list[tuple[AttemptResult, bool]] = []
        self._entries: list[AuditEntry] = []
        self._dropped = self._retried = self._abandoned = self._bytes = 0
        self._kills: Counter[str] = Counter()
        self._overruns: list[tuple[str, float]] = []
        self._number = 0
        self._broken: Exception | None = None
        self.running = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._close_in_time, name="batchyard-segments", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    def submit(
        self,
        *,
        results: Sequence[tuple[AttemptResult, bool]] = (),
        entries: Sequence[AuditEntry] = (),
        dropped: int = 0,
        batch: BatchUpdate | None = None,
    ) -> None:
        """Add one step to the open segment; ``batch`` is the operator's business. Raises ``StoreError``."""
        del batch
        self._wait_for_room()
        with self._lock:
            if self._broken is not None:
                raise StoreError(f"results cannot be spooled: {self._broken}") from self._broken
            self._results += results
            self._entries += entries
            self._dropped += dropped
            self._bytes += sum(_size(result) for result, _ in results) + 200 * len(entries)
            if len(self._results) >= _MOST_RESULTS or self._bytes >= _MOST_BYTES:
                self._close_segment()

    def note(self, event: Ended) -> None:
        """Count what it took to end an attempt, with the step that follows."""
        with self._lock:
            self._kills.update(event.signals)
            self._abandoned += not event.confirmed
            if event.overrun_seconds is not None:
                scope = "node" if event.result.reason.startswith("Node") else "trial"
                self._overruns.append((scope, event.overrun_seconds))

    def note_retry(self) -> None:
        """Count an attempt that is made again."""
        with self._lock:
            self._retried += 1

    def flush(self) -> None:
        """Close the open segment; whether it was sent is the poster's to say."""
        with self._lock:
            self._close_segment()

    def finish(self, done: Done) -> None:
        """Close the last segment, with the worker's last word."""
        with self._lock:
            self._close_segment(done)

    def _wait_for_room(self) -> None:
        changed = self._poster.changed
        with changed:
            changed.wait_for(lambda: self._poster.over or self._spool.size < self._spool_bytes)

    def _close_in_time(self) -> None:
        while not self._closing.wait(_CLOSE_SECONDS):
            try:
                self.flush()
            except Exception as err:  # the thread's boundary: the session hears of it at its next step
                self._broken = err
                return

    def _close_segment(self, done: Done | None = None) -> None:
        if not (self._results or self._entries or self._dropped or self._hello or done):
            return
        # All but the last result go in pieces that the protocol allows.
        results, self._results = self._results, []
        entries, self._entries = self._entries, []
        while len(results) > MAX_RESULTS or len(entries) > MAX_ENTRIES:
            self._put(Segment(tuple(results[:MAX_RESULTS]), tuple(entries[:MAX_ENTRIES]), hello=self._said_hello()))
            results, entries = results[MAX_RESULTS:], entries[MAX_ENTRIES:]
        self._put(
            Segment(
                results=tuple(results),
                entries=tuple(entries),
                dropped=self._dropped,
                running=self.running,
                retried=self._retried,
                abandoned=self._abandoned,
                hello=self._said_hello(),
                done=done,
                kills=dict(self._kills),
                overruns=tuple(self._overruns[:MAX_RESULTS]),
            )
        )
        self._dropped = self._retried = self._abandoned = self._bytes = 0
        self._kills.clear()
        self._overruns.clear()

    def _said_hello(self) -> Hello | None:
        hello, self._hello = self._hello, None
        return hello

    def _put(self, segment: Segment) -> None:
        self._number += 1
        self._spool.put(self._number, orjson.dumps(segment.to_json(), option=orjson.OPT_NON_STR_KEYS))
        self._poster.queued(self._number)


def _size(result: AttemptResult) -> int:
    output = len(orjson.dumps(result.output, option=orjson.OPT_NON_STR_KEYS)) if result.output is not None else 0
    return 600 + len(result.message) + 200 * len(result.boundaries) + output
