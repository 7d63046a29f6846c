"""Events as log lines: what happened to which batch, trial and attempt. Not the record; that is the audit trail."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import structlog

from batchyard.model.events import EventType, Severity, severity_of

if TYPE_CHECKING:
    from batchyard.model.audit import AuditEntry
    from batchyard.model.events import Event

_log = structlog.get_logger(__name__)

LEVEL_OF = {
    Severity.DEBUG: logging.DEBUG,
    Severity.INFO: logging.INFO,
    Severity.SUCCESS: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
}

_QUOTES = frozenset(
    {EventType.TRIAL_STARTED, EventType.TRIAL_PASSED, EventType.TRIAL_FAILED, EventType.TRIAL_NEEDS_INPUT}
)
"""Their messages may quote what a workflow was given or what it answered, which is not for a log."""


def log_event(event: Event) -> None:
    """Write the event as one line. Subscribe it to a bus whose texts are free of secrets."""
    fields: dict[str, object] = {"type": event.type.value, "batch": event.batch_id, "epoch": event.epoch}
    if event.trial_id:
        fields |= {"trial": event.trial_id, "attempt": event.attempt}
    fields |= {name: event.details[name] for name in ("outcome", "reason", "milliseconds") if name in event.details}
    said = event.type.value if event.type in _QUOTES else event.message or event.type.value
    _log.log(LEVEL_OF[severity_of(event.type)], said, **fields)


def log_entry(entry: AuditEntry, *, namespace: str, name: str) -> None:
    """Write an entry of a batch's trail as one line, with the BatchTest that the batch is of."""
    level = LEVEL_OF[entry.severity]
    _log.log(level, entry.message, type=entry.type.value, batch=entry.batch_id, namespace=namespace, name=name)
