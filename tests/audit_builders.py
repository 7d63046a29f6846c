"""Fill an audit trail, and take what it gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.model.events import EventType, Severity
from event_builders import NOON

if TYPE_CHECKING:
    from batchyard.events import AuditTrail, Drained
    from batchyard.model.audit import AuditEntry


def record(trail: AuditTrail, severity: Severity, message: str = "something") -> AuditEntry:
    return trail.record(EventType.LATE_RESULT, message, at=NOON, severity=severity)


def messages(drained: Drained) -> list[str]:
    return [entry.message for entry in drained.entries]


class Sink:
    """Keeps what it is handed; refuses the first ``failures`` times."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.entries: list[AuditEntry] = []
        self.dropped = 0

    def __call__(self, entries: tuple[AuditEntry, ...], dropped: int) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("no space left")
        self.entries += entries
        self.dropped += dropped
