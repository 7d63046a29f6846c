"""Turns what a session writes into numbered segments. Implements ``engine.ports.ResultWriter``."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Self

import orjson

from batchyard.model.errors import StoreError
from batchyard.model.outcome import Reason
from batchyard.model.wire import Segment
from batchyard.model.wire_checks import MAX_ENTRIES, MAX_RESULTS
from batchyard.worker.fitting import fitted, fitted_end

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchyard.engine.attempts import Ended
    from batchyard.engine.ports import BatchUpdate
    from batchyard.model.audit import AuditEntry
    from batchyard.model.trial import AttemptResult
    from batchyard.model.wire import Done, Hello
    from batchyard.worker.poster import Poster
    from batchyard.worker.spool import Spool

_CLOSE_SECONDS = 0.2
_LOOK_SECONDS = 0.2
_MOST_RESULTS = 500
_MOST_BYTES = 1024 * 1024
_SCOPE_OF: Mapping[str, str] = {
    Reason.BATCH_DEADLINE_EXCEEDED: "batch",
    Reason.NODE_DEADLINE_EXCEEDED: "node",
    Reason.IDLE_DEADLINE_EXCEEDED: "idle",
}


class SegmentWriter:
    """Collects steps into segments, a few a second, and hands them to the poster. ``submit`` may be held up.

    One thread submits; another closes segments that have waited long enough.
    """

    def __init__(
        self, spool: Spool, poster: Poster, hello: Hello, *, spool_bytes: int, may_hold_up: Callable[[], bool]
    ) -> None:
        """``hello`` goes into the first segment. ``may_hold_up`` says whether trials may be made to wait for room."""
        self._spool, self._poster, self._spool_bytes = spool, poster, spool_bytes
        self._may_hold_up = may_hold_up
        # Guards all below; the disk is written under it, so that segments are numbered in the order they are made.
        self._lock = threading.Lock()
        self._hello: Hello | None = hello
        self._results: list[tuple[AttemptResult, bool]] = []
        self._entries: list[AuditEntry] = []
        self._dropped = self._retried = self._abandoned = self._bytes = 0
        self._kills: Counter[str] = Counter()
        self._overruns: list[tuple[str, float]] = []
        self._number = 0
        self._broken: StoreError | None = None
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
        fitting = [(fitted(result), final) for result, final in results]
        with self._lock:
            self._results += fitting
            self._entries += entries
            self._dropped += dropped
            self._bytes += sum(_size(result) for result, _ in fitting)
            self._bytes += sum(200 + len(entry.message) for entry in entries)
            if len(self._results) >= _MOST_RESULTS or self._bytes >= _MOST_BYTES:
                self._try_to_close()

    @property
    def is_broken(self) -> bool:
        """Return whether the disk did not take the last segment."""
        return self._broken is not None

    def note(self, event: Ended) -> None:
        """Count what it took to end an attempt, with the step that follows."""
        with self._lock:
            self._kills.update(event.signals)
            self._abandoned += not event.confirmed
            if event.overrun_seconds is not None:
                self._overruns.append((_scope(event.result.reason), event.overrun_seconds))

    def note_retry(self) -> None:
        """Count an attempt that is made again."""
        with self._lock:
            self._retried += 1

    def flush(self) -> None:
        """Close the open segment; whether it was sent is the poster's to say. Raises ``StoreError``."""
        with self._lock:
            self._close_segment()

    def finish(self, done: Done) -> None:
        """Close the last segment, with the worker's last word. Raises ``StoreError``; it may be called again then."""
        with self._lock:
            self._close_segment(fitted_end(done))

    def _wait_for_room(self) -> None:
        """Wait while too much waits to be sent, or the disk is full. Raises ``StoreError`` if that is of no use."""
        changed = self._poster.changed
        with changed:
            while not self._poster.over and self._may_hold_up():
                waiting, broken = self._spool.size, self._broken
                if waiting < self._spool_bytes and broken is None:
                    return
                if broken is not None and not waiting:
                    raise broken
                changed.wait(_LOOK_SECONDS)

    def _close_in_time(self) -> None:
        while not self._closing.wait(_CLOSE_SECONDS):
            with self._lock:
                self._try_to_close()

    def _try_to_close(self) -> None:
        try:
            self._close_segment()
        except StoreError as err:
            # Nothing is lost: what is open stays open, and the trials are held up until there is room.
            self._broken = err
        else:
            self._broken = None

    def _close_segment(self, done: Done | None = None) -> None:
        """Make segments, none larger than the protocol allows, of all that is open."""
        while self._results or self._entries or self._dropped or self._hello or done:
            last = len(self._results) <= MAX_RESULTS and len(self._entries) <= MAX_ENTRIES
            self._put(
                Segment(
                    results=tuple(self._results[:MAX_RESULTS]),
                    entries=tuple(self._entries[:MAX_ENTRIES]),
                    dropped=self._dropped,
                    running=self.running,
                    retried=self._retried,
                    abandoned=self._abandoned,
                    hello=self._hello,
                    done=done if last else None,
                    kills=dict(self._kills),
                    overruns=tuple(self._overruns[:MAX_RESULTS]),
                )
            )
            del self._results[:MAX_RESULTS], self._entries[:MAX_ENTRIES]
            self._dropped = self._retried = self._abandoned = self._bytes = 0
            self._kills.clear()
            self._overruns.clear()
            self._hello = None
            if last:
                return

    def _put(self, segment: Segment) -> None:
        body = orjson.dumps(segment.to_json(), option=orjson.OPT_NON_STR_KEYS)
        self._spool.put(self._number + 1, body)
        self._number += 1
        self._poster.queued(self._number)


def _scope(reason: str) -> str:
    """Return which deadline it was that passed."""
    return _SCOPE_OF.get(reason, "trial")


def _size(result: AttemptResult) -> int:
    output = len(orjson.dumps(result.output, option=orjson.OPT_NON_STR_KEYS)) if result.output is not None else 0
    return 600 + len(result.message) + 200 * len(result.boundaries) + output
