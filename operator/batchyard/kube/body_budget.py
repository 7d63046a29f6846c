"""How much the bodies of all requests under way may take together, and how much of that may be one batch's.

Not for how much of one request is read (``limits``).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias

from batchyard.kube.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from batchyard.kube.limits import Limits

Shares: TypeAlias = tuple[tuple[str, int], ...]
"""On whose accounts a body is read, and the part of all that one with more than a little leaves: 4 for a quarter."""

LATE: Shares = (("late", 2),)
"""What came too late, of whichever batch."""

# Of 96 MiB 2 MiB are a little, and of 16 places one.
_LITTLE = 48


def shares_of(namespace: str, batch_id: str) -> Shares:
    """Return on whose accounts a body of a batch is read."""
    return ((f"batch {batch_id}", 4), (f"namespace {namespace}", 8))


class _Stock:
    """So much of something, for all accounts together."""

    def __init__(self, whole: int) -> None:
        self._whole = self._free = whole
        self._held: Counter[str] = Counter()

    def has(self, size: int, shares: Shares) -> bool:
        little, left = max(1, self._whole // _LITTLE), self._free - size
        return left >= 0 and all(
            self._held[who] + size <= little or left >= self._whole // part for who, part in shares
        )

    def take(self, size: int, shares: Shares) -> None:
        self._free -= size
        for who, _ in shares:
            self._held[who] += size

    def give(self, size: int, shares: Shares) -> None:
        self._free += size
        for who, _ in shares:
            self._held[who] -= size
            if not self._held[who]:
                del self._held[who]


class Hold:
    """One request's share of the memory."""

    def __init__(self, memory: _Stock, shares: Shares) -> None:
        """Begin with nothing; ``BodyBudget.hold`` gives it back."""
        self._memory, self._shares = memory, shares
        self.size = 0

    def grow(self, size: int) -> None:
        """Take more. Raises ``Refused`` (503) if that is more than there is: waiting for others could last for ever."""
        if not self._memory.has(size, self._shares):
            raise _full("the requests under way hold all the memory there is for them")
        self._memory.take(size, self._shares)
        self.size += size


class BodyBudget:
    """Counts what bodies hold. Every method belongs to the event loop's thread."""

    def __init__(self, limits: Limits, *, bodies: int) -> None:
        """Begin with nothing held; ``bodies`` is how many there may be at once."""
        self._memory, self._places = _Stock(limits.memory_bytes), _Stock(bodies)
        self._patience = limits.patience_seconds
        self._waiting: dict[asyncio.Future[None], Shares] = {}

    @asynccontextmanager
    async def hold(self, shares: Shares = ()) -> AsyncIterator[Hold]:
        """Hold a place for one body, after a while in the queue. Raises ``Refused`` (503) if none gets free."""
        # Nothing is held while waiting here, so that the others will end.
        await self._take_place(shares)
        hold = Hold(self._memory, shares)
        try:
            yield hold
        finally:
            self._memory.give(hold.size, shares)
            self._give_place(shares)

    async def _take_place(self, shares: Shares) -> None:
        if self._places.has(1, shares):
            self._places.take(1, shares)
            return
        let_in = asyncio.get_running_loop().create_future()
        self._waiting[let_in] = shares
        try:
            async with asyncio.timeout(self._patience):
                await let_in
        except BaseException as err:
            if let_in.done() and not let_in.cancelled():  # let in at the very moment that it gave up
                self._give_place(shares)
            if isinstance(err, TimeoutError):
                raise _full("too many requests with a body are under way") from err
            raise
        finally:
            self._waiting.pop(let_in, None)

    def _give_place(self, shares: Shares) -> None:
        self._places.give(1, shares)
        for waiting, theirs in [*self._waiting.items()]:
            if not waiting.done() and self._places.has(1, theirs):
                self._places.take(1, theirs)
                del self._waiting[waiting]
                waiting.set_result(None)


def _full(why: str) -> Refused:
    return Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"{why}; send this again in a second", retry_after=1)
