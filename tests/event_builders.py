"""Build events, with only the facts that a test is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from batchyard.model.events import Event, EventType

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def an_event(kind: EventType = EventType.TRIAL_PASSED, *, second: int = 0, **fields: Any) -> Event:
    at = NOON + timedelta(seconds=second)
    return Event(**{"type": kind, "at": at, "batch_id": "batch", "message": f"{kind} happened", **fields})
