"""Keeps what others say about our objects: their Kubernetes events become entries of the batch's audit trail.

Where the watch is, is stored in the transaction that stores what it brought, so that a restart goes on where it was;
what the API server has forgotten meanwhile is an entry of its own. Not for watching (``event_feed``) nor for what is
recorded of which event (``event_sorter``).
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from batchyard.decide.foreign_events import gap_entry
from batchyard.engine.cluster_ports import Mirrored
from batchyard.kube.event_feed import EventFeed, EventSource, Gap, Piece, Sleep, Told
from batchyard.kube.event_sorter import Sorter
from batchyard.kube.health import Health, Part
from batchyard.model.errors import StaleLeader, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchyard.clock import Clock
    from batchyard.engine.cluster_ports import ClusterRef
    from batchyard.kube.recorder import InThread
    from batchyard.metrics import Metrics

_log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 200
_MOST_QUEUED = 1000
_MOST_GAPS = 2000
_TICK_SECONDS = 1.0
_PLACE_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 30.0

T = TypeVar("T")


class MirrorStore(Protocol):
    """The part of ``ClusterStore`` that is needed here."""

    def mirror(self, rows: Sequence[Mirrored], kind: str, position: str) -> int:
        """Append entries that are not there yet and keep the watch's place, all or nothing."""
        ...

    def watch_position(self, kind: str) -> str | None:
        """Return the place of the watch."""
        ...

    def open_batches(self) -> Sequence[tuple[str, ClusterRef]]:
        """Return every batch that is not over, or whose newest place is not released."""
        ...


class EventMirror:
    """Mirrors the events of some namespaces or of all. All methods belong to the event loop."""

    def __init__(
        self,
        store: MirrorStore,
        api: EventSource,
        clock: Clock,
        metrics: Metrics,
        *,
        owner_of: Callable[[str, str], str | None],
        woken: Callable[[str], None],
        in_thread: InThread,
        namespaces: Sequence[str] = (),
        health: Health | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``store`` is fenced by this operator's leadership; no ``namespaces`` means all.

        ``owner_of`` returns the batch to whose trail events about the object with this namespace and name belong;
        ``woken`` is told of a batch whose trail has something new.
        """
        keeper = _Keeper(store, metrics, health or Health(clock), in_thread, woken, sleep)
        self._watches = [
            _Watch(keeper, api, clock, Sorter(owner_of, clock, metrics), namespace)
            for namespace in namespaces or (None,)
        ]

    async def run(self) -> None:
        """Mirror until cancelled. Raises an exception group with ``StaleLeader`` if another operator took over."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(watch.run())


class _Keeper:
    """Writes to the store, however long it takes, and tells of it."""

    def __init__(
        self,
        store: MirrorStore,
        metrics: Metrics,
        health: Health,
        in_thread: InThread,
        woken: Callable[[str], None],
        sleep: Sleep,
    ) -> None:
        self.store, self.health, self.sleep = store, health, sleep
        self._metrics, self._in_thread, self._woken = metrics, in_thread, woken

    async def keep(self, rows: Sequence[Mirrored], kind: str, place: str) -> None:
        """Write the rows and the watch's place together; wake the batches that they are about."""
        added = await self.ask(lambda: self.store.mirror(rows, kind, place))
        # If some were there already, it is those of an earlier list, which come first.
        for row in rows[len(rows) - added :]:
            self._metrics.audit_entry_stored(row.entry.type, row.entry.severity)
        for batch_id in {row.entry.batch_id for row in rows}:
            self._woken(batch_id)

    async def ask(self, call: Callable[[], T]) -> T:
        """Return what a call of the store returns, once it does. Raises ``StaleLeader``."""
        pause = 0.5
        while True:
            try:
                answer = await self._in_thread(call)
            except StaleLeader:
                raise
            except StoreError as err:
                self._metrics.store_failed()
                self.health.failed(Part.MIRROR, f"the store cannot be used: {err}")
                _log.warning("events of others cannot be kept now", error=str(err), seconds=pause)
                await self.sleep(pause)
                pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)
            else:
                self.health.beat(Part.MIRROR)
                return answer


class _Watch:
    """Mirrors what one watch brings."""

    def __init__(self, keeper: _Keeper, api: EventSource, clock: Clock, sorter: Sorter, namespace: str | None) -> None:
        self._keeper, self._clock, self._sorter, self._namespace = keeper, clock, sorter, namespace
        self._kind = f"events/{namespace}" if namespace else "events"
        self._feed = EventFeed(
            api,
            namespace,
            heard=lambda: keeper.health.beat(Part.MIRROR),
            trouble=lambda why: keeper.health.failed(Part.MIRROR, why),
            sleep=keeper.sleep,
        )
        # The place that the store knows, and when it was last told.
        self._stored, self._stored_at = "", clock.monotonic()
        self._since: datetime | None = None

    async def run(self) -> None:
        place = await self._keeper.ask(lambda: self._keeper.store.watch_position(self._kind))
        self._stored, self._since = _read_place(place or "")
        self._sorter.begin(self._stored)
        pieces: asyncio.Queue[Piece] = asyncio.Queue(_MOST_QUEUED)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(pieces))
            group.create_task(self._write(pieces))

    async def _read(self, pieces: asyncio.Queue[Piece]) -> None:
        async with contextlib.aclosing(self._feed.follow(self._stored)) as followed:
            async for piece in followed:
                # A full queue stops the reading: a flood waits at the API server, not in this process.
                await pieces.put(piece)

    async def _write(self, pieces: asyncio.Queue[Piece]) -> None:
        while True:
            rows: list[Mirrored] = []
            for piece in await _some(pieces):
                match piece:
                    case Told(body, version):
                        rows += self._sorter.hear(body, version)
                    case Gap(old, new):
                        self._sorter.begin_again()
                        rows += await self._gaps(old, new)
                    case _:
                        self._sorter.pass_by(piece.version)
            await self._store([*rows, *self._sorter.due()])

    async def _store(self, rows: Sequence[Mirrored]) -> None:
        version, now = self._sorter.place, self._clock.monotonic()
        news = version != self._stored and now - self._stored_at >= _PLACE_SECONDS
        first = version != self._stored and not self._stored
        if rows or news or first:
            self._since = self._clock.now()
            await self._keeper.keep(rows, self._kind, _place(version, self._since))
            self._stored, self._stored_at = version, now

    async def _gaps(self, old: str, new: str) -> Sequence[Mirrored]:
        """Return an entry for every open batch that the gap may concern; the newest ones if there are very many."""
        now = self._clock.now()
        found = await self._keeper.ask(self._keeper.store.open_batches)
        batches = [batch_id for batch_id, ref in found if self._namespace in {None, ref.namespace}][-_MOST_GAPS:]
        return [
            Mirrored(
                f"gap/{self._kind}/{old}/{batch_id}",
                gap_entry(batch_id, old=old, new=new, since=self._since, until=now),
            )
            for batch_id in batches
        ]


async def _some(pieces: asyncio.Queue[Piece]) -> Sequence[Piece]:
    """Return what is there, at most so many, or nothing after a tick."""
    found: list[Piece] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_TICK_SECONDS):
            found.append(await pieces.get())
    while found and len(found) < _MOST_AT_ONCE and not pieces.empty():
        found.append(pieces.get_nowait())
    return found


def _place(version: str, at: datetime) -> str:
    return f"{version}@{at.isoformat(timespec='seconds')}"


def _read_place(place: str) -> tuple[str, datetime | None]:
    """Return a watch's version and when it was there; one that cannot be read begins anew."""
    version, _, at = place.partition("@")
    try:
        return version, datetime.fromisoformat(at)
    except ValueError:
        return "", None
