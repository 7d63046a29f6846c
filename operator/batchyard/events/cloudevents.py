"""The bridge out: our events as CloudEvents 1.0, for whatever receiver speaks it.

It makes the messages; it does not send them. Transport, batching and retries belong to the ``send`` it is given.
"""

from __future__ import annotations

import hashlib
import json
import threading
from datetime import UTC
from typing import TYPE_CHECKING

from batchyard.events.bridges import BridgeCounts, Tally, bridge_failed
from batchyard.events.redact import Redactor
from batchyard.model.events import Event, EventType, severity_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from batchyard.events.bus import EventBus, Subscription
    from batchyard.model.trial import JSON


class CloudEventsBridge:
    """Hands every event on the bus to ``send`` as a CloudEvents 1.0 message, ready for ``json.dumps``.

    ``send`` runs in the publisher's thread: let it only queue. If it raises, the event is counted as failed and not
    sent again. The first failure after a success is published as BridgeFailed; more in a row are only counted, so
    that a dead receiver does not fill the audit trail.
    """

    name = "cloudevents"

    def __init__(
        self,
        bus: EventBus,
        send: Callable[[dict[str, JSON]], object],
        source: str,
        *,
        types: Collection[EventType] | None = None,
        secrets: Collection[str] = (),
    ) -> None:
        """Send events of ``types``, or all, under the CloudEvents source ``source``, a URI or a path.

        Raises:
            ValueError: ``source`` is empty or has white space in it, so it is no URI reference.
        """
        if not source or any(char.isspace() for char in source):
            raise ValueError(f"a CloudEvents source must be a URI or a path without spaces, not {source!r}")
        self._bus = bus
        self._send = send
        self._source = source
        self._types = types
        self._redactor = Redactor(secrets)
        self._tally = Tally()
        # Guards _subscription and _broken.
        self._lock = threading.Lock()
        self._subscription: Subscription | None = None
        self._broken = False

    def enable(self) -> bool:
        """Subscribe to the bus."""
        with self._lock:
            if self._subscription is None:
                self._subscription = self._bus.subscribe(self._carry, self._types)
            return True

    def disable(self) -> None:
        """Unsubscribe from the bus."""
        with self._lock:
            if self._subscription is not None:
                self._bus.unsubscribe(self._subscription)
                self._subscription = None

    def counts(self) -> BridgeCounts:
        """Return the totals by event type."""
        return self._tally.counts()

    def _carry(self, event: Event) -> None:
        if event.type is EventType.BRIDGE_FAILED and event.source == self.name:
            # Sending word of our own failure would fail in the same way.
            self._tally.skipped(event.type)
            return
        try:
            self._send(cloud_event(event, self._source, self._redactor))
        except Exception as err:  # the receiver's trouble is not the publisher's
            self._tally.failed(event.type)
            if self._turned(broken=True):
                self._bus.publish(
                    bridge_failed(
                        self.name,
                        event.type,
                        self._redactor.text(str(err)),
                        batch_id=event.batch_id,
                        epoch=event.epoch,
                        at=event.at,
                    )
                )
            return
        self._tally.crossed(event.type)
        self._turned(broken=False)

    def _turned(self, *, broken: bool) -> bool:
        with self._lock:
            before, self._broken = self._broken, broken
        return before != broken


def cloud_event(event: Event, source: str, redactor: Redactor | None = None) -> dict[str, JSON]:
    """Return ``event`` as a CloudEvents 1.0 message in the JSON format.

    The id follows from the event alone, so one that is sent twice, by this process or a later one, can be
    recognised; two different events never share one.
    """
    redactor = redactor or Redactor()
    time = event.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    data: dict[str, JSON] = {
        "batch": event.batch_id,
        "epoch": event.epoch,
        "trial": event.trial_id,
        "attempt": event.attempt,
        "severity": str(severity_of(event.type)),
        "source": event.source,
        "message": redactor.text(event.message),
        "details": redactor.json(event.details),
    }
    content = json.dumps([event.type, time, data], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(content.encode()).hexdigest()[:24]
    message: dict[str, JSON] = {
        "specversion": "1.0",
        "id": f"{event.batch_id}.{event.epoch}.{event.type}.{digest}",
        "source": source,
        "type": f"dev.batchyard.{event.type}",
        "time": time,
        "datacontenttype": "application/json",
        "data": data,
    }
    subject = event.trial_id or event.batch_id
    # The format allows no empty subject.
    return {**message, "subject": subject} if subject else message
