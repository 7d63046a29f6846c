"""Fakes of both ends of Kubernetes events: an outbox, a mirror's store and an API server, each strict about its use."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from batchyard.apiserver.errors import ApiError
from batchyard.engine.cluster_ports import ClusterRef, Mirrored, OutboxItem
from batchyard.model.audit import GENESIS, AuditEntry, seal
from batchyard.model.events import EventType, severity_of
from batchyard.testing.fake_clock import T0

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from datetime import datetime

    from batchyard.model.errors import RecordDamaged, StoreError

T = TypeVar("T")


async def in_this_thread(call: Callable[[], T]) -> T:
    """Stand in for a thread: run the call at once, after others had their turn."""
    await asyncio.sleep(0)
    return call()


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait, in real time, for what other tasks bring about."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while loop.time() < deadline:
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("what was waited for did not happen")


def an_item(batch: str = "batch", seq: int = 1, kind: EventType = EventType.BATCH_STARTED) -> OutboxItem:
    entry = AuditEntry(
        at=T0, type=kind, severity=severity_of(kind), message=f"entry {seq}", batch_id=batch, source="operator"
    )
    ref = ClusterRef("team", batch, f"uid-of-{batch}")
    return OutboxItem(batch, seq, ref, seal(entry, seq, GENESIS), 0, T0)


class FakeMirrorStore:
    """Keeps mirrored rows by key and the watches' places. ``failures`` calls raise first."""

    def __init__(self) -> None:
        self.rows: dict[str, AuditEntry] = {}
        self.places: dict[str, str] = {}
        self.open: list[tuple[str, ClusterRef]] = [("batch", ClusterRef("team", "docs-search", "uid"))]
        self.failures: list[StoreError] = []
        self.writes = 0

    def _check(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    def mirror(self, rows: Sequence[Mirrored], kind: str, position: str) -> int:
        self._check()
        self.writes += 1
        new = {row.key: row.entry for row in rows if row.key not in self.rows}
        self.rows.update(new)
        self.places[kind] = position
        return len(new)

    def watch_position(self, kind: str) -> str | None:
        self._check()
        return self.places.get(kind)

    def open_batches(self) -> Sequence[tuple[str, ClusterRef]]:
        self._check()
        return list(self.open)


@dataclass
class Row:
    item: OutboxItem
    next_at: datetime
    parked: bool = False
    error: str = ""


class FakeOutbox(FakeMirrorStore):
    """Keeps items in order; hands out only what nothing older of its batch holds up."""

    def __init__(self, items: Sequence[OutboxItem] = ()) -> None:
        super().__init__()
        self.waiting = [Row(item, T0) for item in items]
        self.unreadable: list[RecordDamaged] = []

    def outbox_due(self, now: datetime, limit: int, damaged: list[RecordDamaged] | None = None) -> Sequence[OutboxItem]:
        self._check()
        if damaged is not None:
            damaged.extend(self.unreadable)
        self.unreadable = []
        held: set[str] = set()
        due: list[OutboxItem] = []
        for row in self.waiting:
            if row.parked or row.item.batch_id in held:
                continue
            if row.next_at > now:
                held.add(row.item.batch_id)
            else:
                due.append(row.item)
        return due[:limit]

    def outbox_posted(self, items: Sequence[OutboxItem]) -> None:
        self._check()
        gone = {(item.batch_id, item.seq) for item in items}
        self.waiting = [row for row in self.waiting if (row.item.batch_id, row.item.seq) not in gone]

    def outbox_failed(self, item: OutboxItem, error: str, next_at: datetime, *, parked: bool) -> None:
        self._check()
        row = next(row for row in self.waiting if (row.item.batch_id, row.item.seq) == (item.batch_id, item.seq))
        row.item = replace(row.item, tries=row.item.tries + 1)
        row.error, row.next_at, row.parked = error, next_at, parked

    @property
    def left(self) -> list[tuple[str, int]]:
        return [(row.item.batch_id, row.item.seq) for row in self.waiting if not row.parked]


class FakePoster:
    """Takes events like an API server: a name is taken once. ``answers`` are raised first, None lets one through."""

    def __init__(self) -> None:
        self.events: dict[str, Mapping[str, Any]] = {}
        self.asked = 0
        self.answers: list[ApiError | None] = []
        self.refuse: Callable[[Mapping[str, Any]], ApiError | None] = lambda _: None

    async def create(
        self, group_version: str, plural: str, namespace: str | None, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        assert (group_version, plural, namespace) == ("events.k8s.io/v1", "events", body["metadata"]["namespace"])
        self.asked += 1
        await asyncio.sleep(0)
        error = (self.answers.pop(0) if self.answers else None) or self.refuse(body)
        if error is not None:
            raise error
        name = body["metadata"]["name"]
        if name in self.events:
            raise ApiError(409, "AlreadyExists", f'events.events.k8s.io "{name}" already exists')
        self.events[name] = body
        return body

    @property
    def told(self) -> list[tuple[str, int]]:
        """Return batch and number of every event, in the order in which they were taken."""
        labels = [event["metadata"]["labels"] for event in self.events.values()]
        return [(label["batchyard.dev/batch"], int(label["batchyard.dev/audit-seq"])) for label in labels]


@dataclass
class FakeEventServer:
    """Serves events to one watcher: a list, then what is put into ``changes`` until it is told to end the watch.

    ``refusals`` are raised by the next calls. What was asked is kept.
    """

    listed: list[Mapping[str, Any]] = field(default_factory=list)
    version: str = "10"
    page_size: int = 2
    refusals: list[ApiError] = field(default_factory=list)
    asked: list[tuple[str, str | None, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.changes: asyncio.Queue[Mapping[str, Any] | ApiError | None] = asyncio.Queue()

    def tell(self, kind: str, body: Mapping[str, Any]) -> None:
        self.changes.put_nowait({"type": kind, "object": body})

    def bookmark(self, version: str) -> None:
        self.tell("BOOKMARK", {"kind": "Event", "metadata": {"resourceVersion": version}})

    def end_watch(self, error: ApiError | None = None) -> None:
        self.changes.put_nowait(error)

    async def list_page(
        self, group_version: str, plural: str, namespace: str | None, *, field_selector: str, limit: int, continue_: str
    ) -> Mapping[str, Any]:
        assert (group_version, plural) == ("v1", "events")
        assert field_selector == "reportingComponent!=batchyard.dev/operator"
        self.asked.append(("check" if limit == 1 else "list", namespace, continue_))
        if self.refusals:
            raise self.refusals.pop(0)
        start = int(continue_ or 0)
        end = start + min(limit, self.page_size)
        more = str(end) if end < len(self.listed) else ""
        return {"items": self.listed[start:end], "metadata": {"resourceVersion": self.version, "continue": more}}

    async def watch(
        self, group_version: str, plural: str, namespace: str | None, *, field_selector: str, resource_version: str
    ) -> AsyncIterator[Mapping[str, Any]]:
        assert (group_version, plural) == ("v1", "events")
        self.asked.append(("watch", namespace, resource_version))
        if self.refusals:
            raise self.refusals.pop(0)
        while (change := await self.changes.get()) is not None:
            if isinstance(change, ApiError):
                raise change
            yield change
