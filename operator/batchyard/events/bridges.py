"""Bridges between the bus and other event systems: what they have in common.

One way each, optional, and never silent: what cannot cross is counted and reported on the bus. No bridge imports the
system at its other end; that comes in as a ``ForeignEmitter`` or a ``send`` function. The bridges themselves are in
``agentgit`` (foreign events in) and ``cloudevents`` (our events out).
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from batchyard.model.events import Event, EventType

if TYPE_CHECKING:
    from datetime import datetime

_log = logging.getLogger(__name__)

ForeignHandler: TypeAlias = Callable[[object], None]
"""Hears a foreign event; never raises."""


class ForeignEmitter(Protocol):
    """Whatever emits another system's events, by the name of their type."""

    def subscribe(self, type_name: str, handler: ForeignHandler) -> None:
        """Call ``handler`` with every event of this type from now on."""
        ...

    def unsubscribe(self, type_name: str, handler: ForeignHandler) -> None:
        """Stop calling it."""
        ...


@dataclass(frozen=True, slots=True)
class BridgeCounts:
    """What became of the events that reached a bridge, by type name: each is in exactly one of the three."""

    crossed: Mapping[str, int]
    skipped: Mapping[str, int]
    failed: Mapping[str, int]


class Bridge(Protocol):
    """Carries events one way between the bus and another system. Safe to call from any thread."""

    name: str

    def enable(self) -> bool:
        """Begin to carry events; return whether the bridge is now enabled. A second call changes nothing.

        False means that the other side is not there. If it is there and refuses, its exception passes on and
        nothing stays subscribed.
        """
        ...

    def disable(self) -> None:
        """Stop; a second call changes nothing."""
        ...

    def counts(self) -> BridgeCounts:
        """Return the totals since the bridge was made."""
        ...


class Tally:
    """A bridge's counts. Safe to call from any thread."""

    def __init__(self) -> None:
        # Guards the three counters; taken by whichever thread carries an event.
        self._lock = threading.Lock()
        self._crossed: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    def crossed(self, type_name: str) -> None:
        """Count one that was carried over."""
        with self._lock:
            self._crossed[type_name] += 1

    def skipped(self, type_name: str) -> None:
        """Count one that was left out on purpose."""
        with self._lock:
            self._skipped[type_name] += 1

    def failed(self, type_name: str) -> None:
        """Count one that could not be carried over."""
        with self._lock:
            self._failed[type_name] += 1

    def counts(self) -> BridgeCounts:
        """Return the totals as they are now."""
        with self._lock:
            return BridgeCounts(dict(self._crossed), dict(self._skipped), dict(self._failed))


def bridge_failed(bridge: str, type_name: str, problem: str, *, batch_id: str, epoch: int, at: datetime) -> Event:
    """Log that an event could not cross and return the event that says so."""
    _log.warning("event could not cross a bridge", extra={"bridge": bridge, "event_type": str(type_name)})
    return Event(
        type=EventType.BRIDGE_FAILED,
        at=at,
        batch_id=batch_id,
        message=f"a {type_name} event could not cross the {bridge} bridge: {problem}",
        epoch=epoch,
        details={"bridge": bridge, "eventType": str(type_name)},
        source=bridge,
    )
