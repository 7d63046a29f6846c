"""Posts the Kubernetes events whose audit entries are stored: the outbox's other end.

At least once: a crash between posting and noting it down posts again, under the same name, which the API server
refuses as already there. Not for which entries become events (``decide.publish``).
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from batchyard.apiserver.errors import ApiError
from batchyard.decide.delivery import Fate, fate_of, pause_seconds
from batchyard.decide.publish import event_object
from batchyard.engine.cluster_ports import Mirrored
from batchyard.kube.health import Health, Part
from batchyard.kube.token_bucket import TokenBucket
from batchyard.metrics import Told
from batchyard.model.audit import AuditEntry
from batchyard.model.errors import RecordDamaged, StaleLeader, StoreError
from batchyard.model.events import EventType, severity_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from batchyard.clock import Clock
    from batchyard.engine.cluster_ports import OutboxItem
    from batchyard.metrics import Metrics
    from batchyard.model.trial import JSON

_log = structlog.get_logger(__name__)

GROUP_VERSION = "events.k8s.io/v1"
PLURAL = "events"
IDLE_SECONDS = 5.0

# With many to post, they are read from the store in groups, not one by one as tokens come.
_ROUND_SECONDS = 0.5
_ALL_RATE, _ALL_BURST = 20.0, 50
# A batch has up to 20 events about trials and about a dozen about itself.
_BATCH_RATE, _BATCH_BURST = 1.0, 40
_WINDOW, _WIDEST_WINDOW = 200, 6400
_LONGEST_ERROR = 500

T = TypeVar("T")


class Poster(Protocol):
    """The part of the API client that is needed here."""

    async def create(self, group_version: str, plural: str, namespace: str, body: Mapping[str, JSON]) -> object:
        """Create an object. Raises ``ApiError``."""
        ...


class Outbox(Protocol):
    """The part of ``ClusterStore`` that is needed here."""

    def outbox_due(self, now: datetime, limit: int, damaged: list[RecordDamaged] | None = None) -> Sequence[OutboxItem]:
        """Return what is to be posted now; of a batch nothing overtakes what is older."""
        ...

    def outbox_posted(self, items: Sequence[OutboxItem]) -> None:
        """Forget items that were posted."""
        ...

    def outbox_failed(self, item: OutboxItem, error: str, next_at: datetime, *, parked: bool) -> None:
        """Note a failure and when to try again."""
        ...

    def mirror(self, rows: Sequence[Mirrored], kind: str, position: str) -> int:
        """Append entries that are not there yet."""
        ...


class InThread(Protocol):
    """Runs a call that waits for a disk or a database away from the event loop."""

    async def __call__(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns, once it has."""
        ...


class OutboxPublisher:
    """Posts what is due, in each batch's order, as fast as is polite. All methods belong to the event loop."""

    def __init__(
        self,
        store: Outbox,
        api: Poster,
        clock: Clock,
        metrics: Metrics,
        *,
        in_thread: InThread,
        instance: str = "operator",
        health: Health | None = None,
    ) -> None:
        """``store`` is fenced by this operator's leadership; ``instance`` names this process: its pod or host."""
        self._store, self._api, self._clock = store, api, clock
        self._metrics, self._instance, self._in_thread = metrics, instance, in_thread
        self._health = health or Health(clock)
        self._woken = asyncio.Event()
        self._all = TokenBucket(_ALL_RATE, _ALL_BURST, clock.monotonic())
        self._buckets: dict[str, TokenBucket] = {}
        self._away, self._paused_until = 0, 0.0
        self._window = _WINDOW

    def wake(self) -> None:
        """Hear that there may be something to post."""
        self._woken.set()

    async def run(self) -> None:
        """Post until cancelled. Raises ``StaleLeader`` if another operator took over."""
        while True:
            self._woken.clear()
            wait = await self.post_due()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._woken.wait()

    async def post_due(self) -> float:
        """Post what may be posted now; return in how many seconds to come back, if nothing wakes it before.

        Never waits for a time to come. Raises ``StaleLeader``.
        """
        now = self._clock.monotonic()
        if now < self._paused_until:
            return self._paused_until - now
        self._buckets = {batch_id: bucket for batch_id, bucket in self._buckets.items() if not bucket.is_full(now)}
        try:
            damaged: list[RecordDamaged] = []
            items = await self._in_thread(lambda: self._store.outbox_due(self._clock.now(), self._window, damaged))
            for fault in damaged:
                self._metrics.kubernetes_event(EventType.EVENT_UNDELIVERABLE, Told.PARKED)
                _log.warning("an event cannot be read, and is given up", why=str(fault))
            wait = await self._post_all(items)
        except StaleLeader:
            raise
        except StoreError as err:
            self._metrics.store_failed()
            return self._pause(f"the store cannot be used: {err}")
        if wait is None:
            return self._paused_until - self._clock.monotonic()
        self._away = 0
        self._health.beat(Part.OUTBOX)
        return wait

    # -- one round ---------------------------------------------------------------------------------------------

    async def _post_all(self, items: Sequence[OutboxItem]) -> float | None:
        """Post what may be; return when to come back, None if the API server takes nothing now."""
        told: list[OutboxItem] = []
        # Batches whose next event has to wait: nothing of theirs may overtake it.
        waiting: set[str] = set()
        wait, passed_over = IDLE_SECONDS, 0
        try:
            for item in items:
                now = self._clock.monotonic()
                if (all_wait := self._all.wait(now)) > 0:
                    return max(all_wait, _ROUND_SECONDS)
                bucket = self._buckets.setdefault(item.batch_id, TokenBucket(_BATCH_RATE, _BATCH_BURST, now))
                if (batch_wait := bucket.wait(now)) > 0:
                    wait = min(wait, batch_wait)
                    waiting.add(item.batch_id)
                if item.batch_id in waiting:
                    passed_over += 1
                    continue
                bucket.take(now)
                self._all.take(now)
                match await self._post(item):
                    case Fate.AWAY:
                        return None
                    case Fate.RETRIED:
                        waiting.add(item.batch_id)
                    case Fate.POSTED | Fate.ALREADY_THERE | Fate.NOBODY_TO_TELL:
                        told.append(item)
        finally:
            # Also when cancelled: what was posted and is not noted is only posted once more.
            if told:
                await self._in_thread(lambda: self._store.outbox_posted(told))
        full = len(items) >= self._window
        # If batches that have to wait fill the window, it is widened so that they hold up no others.
        self._window = min(_WIDEST_WINDOW, self._window * 2) if full and passed_over == len(items) else _WINDOW
        return 0.0 if full and passed_over < len(items) else wait

    async def _post(self, item: OutboxItem) -> Fate:
        body = event_object(item.ref, item.entry, self._instance)
        try:
            await self._api.create(GROUP_VERSION, PLURAL, item.ref.namespace, body)
        except ApiError as err:
            return await self._refused(item, err)
        return self._told(item, Fate.POSTED)

    async def _refused(self, item: OutboxItem, err: ApiError) -> Fate:
        answer = str(err)[:_LONGEST_ERROR]
        fate = fate_of(err.status or None, f"{err.reason} {answer}", item.tries)
        if fate is Fate.AWAY:
            self._pause(f"the API server takes no events: {answer}")
            return fate
        if fate is Fate.RETRIED:
            # Spread by the entry's hash: the same each time, and different for each event.
            pause = pause_seconds(item.tries, int(item.entry.hash[:8], 16) / 0xFFFFFFFF)
            next_at = self._clock.now() + timedelta(seconds=pause)
            await self._in_thread(lambda: self._store.outbox_failed(item, answer, next_at, parked=False))
        elif fate is Fate.PARKED:
            await self._in_thread(lambda: self._park(item, answer))
        return self._told(item, fate)

    def _park(self, item: OutboxItem, answer: str) -> None:
        """Give the event up, and say so in the trail; the entry that it was to tell of is there as ever."""
        now = self._clock.now()
        sealed, kind = item.entry, EventType.EVENT_UNDELIVERABLE
        entry = AuditEntry(
            at=now,
            type=kind,
            severity=severity_of(kind),
            message=f"the event of entry {sealed.seq} ({sealed.entry.type}) could not be posted: {answer}",
            batch_id=item.batch_id,
            source="operator",
            details={"seq": sealed.seq, "reason": str(sealed.entry.type), "tries": item.tries + 1},
        )
        if self._store.mirror([Mirrored(f"undeliverable/{sealed.hash}", entry)], "undeliverable", sealed.hash):
            self._metrics.audit_entry_stored(kind, entry.severity)
        self._store.outbox_failed(item, answer, now, parked=True)

    def _told(self, item: OutboxItem, fate: Fate) -> Fate:
        self._metrics.kubernetes_event(item.entry.entry.type, Told(fate.value))
        if fate is not Fate.POSTED:
            _log.info("an event was not posted", batch=item.batch_id, seq=item.seq, fate=fate.value)
        return fate

    # -- waiting -----------------------------------------------------------------------------------------------

    def _pause(self, why: str) -> float:
        """Let everything wait, longer each time in a row; return how long."""
        pause = min(30.0, pause_seconds(self._away, 0.5) / 4)
        self._away += 1
        self._paused_until = self._clock.monotonic() + pause
        self._health.failed(Part.OUTBOX, why)
        _log.warning("no events can be posted", why=why, seconds=pause)
        return pause
