"""Gathers small writes into large ones: one thread, one commit for whatever waits.

Not for reading, and not for sessions: whoever opens the session closes it after the writer.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batchyard.model.errors import StoreError
from batchyard.store.faults import StoreBusy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.clock import Clock
    from batchyard.engine.ports import BatchStore, BatchUpdate, Session
    from batchyard.model.audit import AuditEntry
    from batchyard.model.trial import AttemptResult

RETRY_SECONDS = (0.1, 0.5, 2.0, 5.0)
"""How long to wait before each new try of a commit that a busy database refused."""

QUEUE_LIMIT = 5_000
"""How many results or entries may wait before ``submit`` makes its caller wait."""


@dataclass(slots=True)
class _Submission:
    """What one ``submit`` asked for. ``queued_at`` is monotonic."""

    results: tuple[tuple[AttemptResult, bool], ...]
    entries: tuple[AuditEntry, ...]
    dropped: int
    batch: BatchUpdate | None
    queued_at: float
    done: Future[None] = field(default_factory=Future)

    @property
    def size(self) -> int:
        return max(len(self.results), len(self.entries), 1)


class GroupCommitWriter:
    """Writes what is submitted, in order, in as few commits as possible, from one thread of its own.

    A commit that fails for good fails its submissions and all later ones; results are never written behind a gap.
    ``max_delay`` (seconds) is how long a lone submission waits for company, ``max_group`` how many results (or
    entries, whichever are more) make a group full.
    """

    def __init__(
        self,
        store: BatchStore,
        session: Session,
        *,
        clock: Clock,
        max_delay: float = 0.02,
        max_group: int = 200,
        retry_seconds: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        """Start the thread; ``close`` ends it."""
        self._store = store
        self._session = session
        self._clock = clock
        self._max_delay = max_delay
        self._max_group = max_group
        self._retry_seconds = tuple(retry_seconds)
        # Guards everything below; taken by the callers' threads and by the writer's, never during a commit.
        self._changed = threading.Condition()
        self._waiting: deque[_Submission] = deque()
        self._queued = 0
        self._writing = False
        self._hurry = 0
        self._closing = False
        self._failure: StoreError | None = None
        self._thread = threading.Thread(target=self._run, name=f"store-writer-{session.batch_id}", daemon=True)
        self._thread.start()

    def __enter__(self) -> GroupCommitWriter:
        return self

    def __exit__(self, kind: object, *_rest: object) -> None:
        try:
            self.close()
        except StoreError:
            # The exception under way says more; the submissions' futures hold this one.
            if kind is None:
                raise

    def submit(
        self,
        *,
        results: Sequence[tuple[AttemptResult, bool]] = (),
        entries: Sequence[AuditEntry] = (),
        dropped: int = 0,
        batch: BatchUpdate | None = None,
    ) -> Future[None]:
        """Queue a write that is never split; the future is done once it is durable.

        Waits while the queue is full. Raises ``StoreError`` after a failed commit or ``close``. The future's callbacks
        run on the writer's thread and must not wait for the writer.
        """
        item = _Submission(tuple(results), tuple(entries), dropped, batch, self._clock.monotonic())
        # From here on nobody can cancel it: what was submitted is written.
        item.done.set_running_or_notify_cancel()
        with self._changed:
            self._changed.wait_for(lambda: self._failure or self._closing or self._queued < QUEUE_LIMIT)
            if self._failure is not None:
                raise _again(self._failure)
            if self._closing:
                raise StoreError(f"batch {self._session.batch_id}: its writer is closed")
            self._waiting.append(item)
            self._queued += item.size
            if len(self._waiting) == 1 or self._is_full():
                # In between, the writer's thread has nothing to do but wait on for company.
                self._changed.notify_all()
        return item.done

    def flush(self) -> None:
        """Return once everything submitted so far is durable. Raises ``StoreError`` if some of it is not."""
        with self._changed:
            self._hurry += 1
            self._changed.notify_all()
            last = self._waiting[-1].done if self._waiting else None
            try:
                self._changed.wait_for(lambda: self._failure or (not self._writing if last is None else last.done()))
            finally:
                self._hurry -= 1
            if self._failure is not None:
                raise _again(self._failure)

    def close(self) -> None:
        """Write what is queued and end the thread; a second call changes nothing. Raises as ``flush`` does."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if self._failure is not None:
            raise _again(self._failure)

    # -- the writer's thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        while group := self._next_group():
            failure = self._commit(group)
            with self._changed:
                self._failure = failure
                lost = group + list(self._waiting) if failure else []
                if failure:
                    self._waiting.clear()
                    self._queued = 0
            # Outside the lock, because a future's callbacks may submit.
            for item in lost or group:
                if failure:
                    item.done.set_exception(_again(failure))
                else:
                    item.done.set_result(None)
            with self._changed:
                self._writing = False
                self._changed.notify_all()
            if failure:
                return

    def _next_group(self) -> list[_Submission]:
        """Return what to write next; empty once the writer is closed and has nothing left."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if self._waiting:
                # What queued up during the last commit has waited already.
                waited = self._clock.monotonic() - self._waiting[0].queued_at
                self._changed.wait_for(self._is_full, timeout=max(0.0, self._max_delay - waited))
            group: list[_Submission] = []
            size = 0
            while self._waiting and (not group or size + self._waiting[0].size <= self._max_group):
                group.append(self._waiting.popleft())
                size += group[-1].size
            self._queued -= size
            self._writing = bool(group)
            return group

    def _is_full(self) -> bool:
        return bool(self._closing or self._hurry) or self._queued >= self._max_group

    def _commit(self, group: Sequence[_Submission]) -> StoreError | None:
        merged = _merge(group)
        pauses = iter(self._retry_seconds)
        while True:
            try:
                self._store.commit(
                    self._session,
                    results=merged.results,
                    entries=merged.entries,
                    dropped=merged.dropped,
                    batch=merged.batch,
                )
            except StoreBusy as err:
                pause = next(pauses, None)
                if pause is None:
                    return err
                # Nobody sets it: a pause on this thread alone, which holds no lock.
                threading.Event().wait(pause)
            except StoreError as err:
                return err
            except Exception as err:
                # The thread's boundary: whatever it is, those who wait must hear of it.
                return StoreError(f"batch {self._session.batch_id}: results could not be written: {err!r}")
            else:
                return None


def _merge(group: Sequence[_Submission]) -> _Submission:
    batch: BatchUpdate | None = None
    for item in group:
        batch = _later(batch, item.batch)
    return _Submission(
        results=tuple(result for item in group for result in item.results),
        entries=tuple(entry for item in group for entry in item.entries),
        dropped=sum(item.dropped for item in group),
        batch=batch,
        queued_at=group[0].queued_at,
    )


def _later(first: BatchUpdate | None, second: BatchUpdate | None) -> BatchUpdate | None:
    if first is None or second is None:
        return second or first
    return replace(
        second,
        status=first.status if second.status is None else second.status,
        started_at=second.started_at or first.started_at,
        completed_at=second.completed_at or first.completed_at,
    )


def _again(failure: StoreError) -> StoreError:
    """Return a copy to raise: one exception object raised in several threads would mix up their tracebacks."""
    copy = type(failure)(*failure.args)
    copy.__cause__ = failure
    return copy
