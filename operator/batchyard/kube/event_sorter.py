"""Sorts the events that a watch brings: whose they are, which are worth an entry, and which have to wait.

Bounded whatever comes: what waits, what is remembered and what one batch may record. Not for reading or writing.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.decide.foreign_events import (
    MOST_MIRRORED,
    ForeignEvent,
    mirrored_entry,
    omitted_entry,
    read_event,
)
from batchyard.decide.publish import REPORTER
from batchyard.engine.cluster_ports import Mirrored
from batchyard.metrics import Told

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchyard.clock import Clock
    from batchyard.metrics import Metrics
    from batchyard.model.trial import JSON

HOLD_SECONDS = 60.0
"""How long an event waits for its object to become known: a pod may be quicker than our own notes."""

_MOST_HELD = 1000
_MOST_BATCHES = 10_000
# A place's name ends in six hex digits and the attempt's number; what is made for it is named after it.
_COULD_BE_OURS = re.compile(r"-[0-9a-f]{6}-[0-9]+(-|$)")


@dataclass(frozen=True, slots=True)
class _Held:
    """An event whose object is not known yet, and where the watch was before it came."""

    event: ForeignEvent
    before: str
    until: float


class Sorter:
    """Turns events into rows for the store. ``place`` is up to where nothing waits any more."""

    def __init__(self, owner_of: Callable[[str, str], str | None], clock: Clock, metrics: Metrics) -> None:
        """``owner_of`` returns the batch of the object with this namespace and name."""
        self._owner_of, self._clock, self._metrics = owner_of, clock, metrics
        self._held: deque[_Held] = deque()
        # How many events each of the batches heard of last has recorded.
        self._recorded: OrderedDict[str, int] = OrderedDict()
        self._version = ""

    @property
    def place(self) -> str:
        """Return the version after which a watch has to go on, so that nothing is lost with this process."""
        return self._held[0].before if self._held else self._version

    def begin(self, version: str) -> None:
        """Begin at the place where an earlier watch was, "" if there was none."""
        self._version = version

    def begin_again(self) -> None:
        """Hear that all there is was just told again: what is recorded already must not count twice."""
        self._recorded.clear()

    def pass_by(self, version: str) -> None:
        """Hear that the watch got so far."""
        self._version = version

    def hear(self, body: JSON, version: str) -> Sequence[Mirrored]:
        """Return the rows of an event; none if it is not about us, or may be and has to wait.

        ``version`` is the watch's place after it, "" within a list.
        """
        before = self._version
        if version:
            self._version = version
        event = read_event(body, self._clock.now())
        if event is None or event.component == REPORTER:
            return ()
        batch_id = self._owner_of(event.about.namespace, event.about.name)
        if batch_id is not None:
            return self._rows(event, batch_id)
        if _COULD_BE_OURS.search(event.about.name):
            self._hold(_Held(event, before, self._clock.monotonic() + HOLD_SECONDS))
        return ()

    def due(self) -> Sequence[Mirrored]:
        """Return the rows of events that waited for an object that is known by now; give up what waited too long."""
        rows: list[Mirrored] = []
        waiting: deque[_Held] = deque()
        now = self._clock.monotonic()
        for held in self._held:
            about = held.event.about
            batch_id = self._owner_of(about.namespace, about.name)
            if batch_id is not None:
                rows += self._rows(held.event, batch_id)
            elif held.until > now:
                waiting.append(held)
            else:
                self._metrics.kubernetes_event(held.event.reason, Told.UNKNOWN_OBJECT)
        self._held = waiting
        return rows

    def _hold(self, held: _Held) -> None:
        self._held.append(held)
        if len(self._held) > _MOST_HELD:
            dropped = self._held.popleft()
            self._metrics.kubernetes_event(dropped.event.reason, Told.UNKNOWN_OBJECT)

    def _rows(self, event: ForeignEvent, batch_id: str) -> Sequence[Mirrored]:
        if not event.counts:
            return ()
        count = self._recorded[batch_id] = self._recorded.pop(batch_id, 0) + 1
        if len(self._recorded) > _MOST_BATCHES:
            self._recorded.popitem(last=False)
        if count <= MOST_MIRRORED:
            self._metrics.kubernetes_event(event.reason, Told.MIRRORED)
            return (Mirrored(event.key, mirrored_entry(event, batch_id)),)
        self._metrics.kubernetes_event(event.reason, Told.OMITTED)
        if count > MOST_MIRRORED + 1:
            return ()
        # Its key is the batch's, so that one is enough for all of the batch's life.
        return (Mirrored(f"omitted/{batch_id}", omitted_entry(batch_id, self._clock.now())),)
