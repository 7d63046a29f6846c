"""The EventBus: whoever wants to know hears what happens, and cannot disturb it.

Synchronous and in this process. Not a queue and not the record: what must survive goes through the audit trail.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from batchyard.model.events import Event, EventType

if TYPE_CHECKING:
    from datetime import datetime

Handler: TypeAlias = Callable[[Event], object]
"""Hears an event, quickly, in the publisher's thread. What it returns is ignored; what it raises is counted."""

_log = logging.getLogger(__name__)


class Subscription:
    """One handler's standing wish to hear events of some types, or of all (``types`` is None)."""

    __slots__ = ("_active", "handler", "types")

    def __init__(self, handler: Handler, types: frozenset[EventType] | None) -> None:
        self.handler = handler
        self.types = types
        self._active = True

    @property
    def active(self) -> bool:
        """Return whether the handler still hears events."""
        return self._active

    def hears(self, kind: EventType) -> bool:
        """Return whether events of this type are wanted."""
        return self.types is None or kind in self.types


class EventBus:
    """Delivers each event to every subscription that wants its type, once, in the order they were made.

    Handlers run in the publisher's thread and outside the lock: one may publish, subscribe or unsubscribe, and a
    slow one holds up nobody but its own publisher. A nested event is delivered to all before the outer one reaches
    the next handler. A handler that raises is logged and counted; the others still hear the event.
    """

    def __init__(self, history: int = 1000) -> None:
        """Keep the last ``history`` events for ``history()``; 0 keeps none."""
        if history < 0:
            raise ValueError(f"an event bus keeps 0 or more events, not {history}")
        # Guards all fields below; taken by every method, for a few instructions. Re-entrant because a signal
        # handler may publish in the very thread that holds it.
        self._lock = threading.RLock()
        self._history: deque[Event] = deque(maxlen=history)
        self._subscriptions: tuple[Subscription, ...] = ()
        # Who hears what, worked out at subscribe time: publish only looks it up. The tuples are never changed.
        self._hearers: dict[EventType, tuple[Subscription, ...]] = dict.fromkeys(EventType, ())
        self._errors: Counter[EventType] = Counter()

    def subscribe(self, handler: Handler, types: Collection[EventType] | None = None) -> Subscription:
        """Let ``handler`` hear events of these types, or of all; asking again for the same returns the same.

        One handler with two different ``types`` has two subscriptions and hears an event that is in both twice.

        Raises:
            ValueError: ``types`` is empty, so nothing would ever be heard.
        """
        wanted = None if types is None else frozenset(types)
        if wanted is not None and not wanted:
            raise ValueError("subscribing to no event type hears nothing; leave types out to hear all")
        with self._lock:
            for known in self._subscriptions:
                if known.types == wanted and known.handler == handler:
                    return known
            subscription = Subscription(handler, wanted)
            self._route((*self._subscriptions, subscription))
            return subscription

    def unsubscribe(self, subscription: Subscription) -> bool:
        """End a subscription; return whether it was one of this bus and still stood.

        No later event reaches the handler; one that another thread is publishing right now still may.
        """
        with self._lock:
            remaining = tuple(known for known in self._subscriptions if known is not subscription)
            if len(remaining) == len(self._subscriptions):
                return False
            subscription._active = False
            self._route(remaining)
            return True

    def publish(self, event: Event) -> None:
        """Deliver ``event`` to all who want its type; return when the last of them has heard it."""
        with self._lock:
            self._history.append(event)
            hearers = self._hearers[event.type]
        for subscription in hearers:
            if subscription._active:
                try:
                    subscription.handler(event)
                except Exception as err:  # a subscriber's fault must not reach what it observes
                    self._failed(event, subscription, err)

    def publish_all(self, events: Iterable[Event]) -> None:
        """Publish the events in order; other threads' events may come in between."""
        for event in events:
            self.publish(event)

    def history(self, type: EventType | None = None, since: datetime | None = None, limit: int = 100) -> list[Event]:
        """Return the last ``limit`` events kept, newest first.

        Args:
            type: Only events of this type.
            since: Only events that happened at this time or later.
            limit: How many at most.
        """
        with self._lock:
            kept = tuple(self._history)
        found: list[Event] = []
        for event in reversed(kept):
            if len(found) >= limit:
                break
            if (type is None or event.type is type) and (since is None or event.at >= since):
                found.append(event)
        return found

    def subscriber_count(self, type: EventType | None = None) -> int:
        """Return how many subscriptions stand, or how many of them hear this type."""
        with self._lock:
            return len(self._subscriptions if type is None else self._hearers[type])

    @property
    def handler_errors(self) -> Mapping[EventType, int]:
        """Return how often a handler raised, by the type of the event it was handed."""
        with self._lock:
            return dict(self._errors)

    def _route(self, subscriptions: tuple[Subscription, ...]) -> None:
        self._subscriptions = subscriptions
        self._hearers = {kind: tuple(s for s in subscriptions if s.hears(kind)) for kind in EventType}

    def _failed(self, event: Event, subscription: Subscription, error: Exception) -> None:
        with self._lock:
            self._errors[event.type] += 1
        _log.error(
            "event handler failed",
            exc_info=error,
            extra={
                "event_type": str(event.type),
                "batch_id": event.batch_id,
                "trial_id": event.trial_id,
                "handler": getattr(subscription.handler, "__qualname__", type(subscription.handler).__name__),
            },
        )
