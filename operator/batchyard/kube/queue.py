"""The queue of BatchTests to look at: each key at most once, each worked on by one task at a time.

Not for what is done with a key; the caller passes that in.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from batchyard import logs
from batchyard.model.errors import BatchyardError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from batchyard.clock import Clock

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_SECONDS = 0.5
# So that a batch whose deadline passed meanwhile is ended soon after whatever failed works again.
_LONGEST_PAUSE_SECONDS = 20.0
_MOST_DOUBLINGS = 10


def pause_after(failures: int) -> float:
    """Return how many seconds a key waits that failed so many times in a row."""
    return min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))


class WorkQueue:
    """Hands keys to ``work``, which returns after how many seconds to look again, or None for not at all.

    A key that fails is tried again after a pause that doubles. All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        work: Callable[[str], Awaitable[float | None]],
        clock: Clock,
        *,
        workers: int = 8,
        fatal: type[Exception] | tuple[type[Exception], ...] = (),
        about: Callable[[str], Mapping[str, str]] = lambda _key: {},
    ) -> None:
        """Nothing happens before ``run``. An exception of a ``fatal`` type ends ``run`` with an exception group.

        What ``about`` returns of a key is on every log line that is written while the key is worked on.
        """
        self._about = about
        self._fatal = fatal
        self._work = work
        self._clock = clock
        self._workers = workers
        self._ready: asyncio.Queue[str] = asyncio.Queue()
        self._waiting: set[str] = set()
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._timers: dict[str, tuple[float, asyncio.TimerHandle]] = {}
        self._failures: dict[str, int] = {}
        self._tick = clock.monotonic()

    @property
    def depth(self) -> int:
        """Return how many keys wait to be looked at now."""
        return len(self._waiting) + len(self._again)

    @property
    def last_tick(self) -> float:
        """Return when a key was last taken or the queue was last found empty, by the monotonic clock."""
        return self._clock.monotonic() if not self._waiting else self._tick

    def add(self, key: str) -> None:
        """Have the key looked at soon; asking twice is asking once."""
        self._cancel_timer(key)
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Have the key looked at in ``seconds`` at the latest."""
        due = self._clock.monotonic() + seconds
        known = self._timers.get(key)
        if key in self._waiting or key in self._again or (known is not None and known[0] <= due):
            return
        self._cancel_timer(key)
        handle = asyncio.get_running_loop().call_later(seconds, self.add, key)
        self._timers[key] = (due, handle)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._workers):
                    group.create_task(self._serve())
        finally:
            for _, handle in self._timers.values():
                handle.cancel()
            self._timers.clear()

    async def _serve(self) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._busy.add(key)
            self._tick = self._clock.monotonic()
            again = await self._look_at(key)
            self._busy.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            elif again is not None:
                self.add_after(key, again)

    async def _look_at(self, key: str) -> float | None:
        with logs.about(**self._about(key)):
            return await self._try(key)

    async def _try(self, key: str) -> float | None:
        try:
            again = await self._work(key)
        except self._fatal:
            raise
        except Exception as err:  # one BatchTest that cannot be handled must not stop the others
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            with logs.about(**self._about(key)):  # it may have been accepted meanwhile
                if isinstance(err, BatchyardError):  # its text says it all
                    _log.warning("a BatchTest could not be reconciled", key=key, failures=failures, error=str(err))
                else:
                    _log.exception("a BatchTest could not be reconciled", key=key, failures=failures)
            return pause_after(failures)
        self._failures.pop(key, None)
        return again

    def _cancel_timer(self, key: str) -> None:
        known = self._timers.pop(key, None)
        if known is not None:
            known[1].cancel()
