"""Which audit entries become Kubernetes events, and what such an event says. Pure.

Everything about a batch as a whole is published; what happens to single trials only up to a limit, counted over the
batch's life, and then one event says how many more there were. Not for posting; the outbox's publisher does that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Protocol

from batchyard.model.audit import AuditEntry
from batchyard.model.events import EventType, Severity, severity_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from batchyard.model.audit import SealedEntry
    from batchyard.model.trial import JSON

REPORTER = "batchyard.dev/operator"
"""Who posts our events, as ``reportingController``."""

GENERATION_MARK = "#"
"""Parts the uid of a rejected BatchTest from the generation that was rejected."""

MOST_TRIAL_EVENTS = 20
LONGEST_NOTE_BYTES = 1024
BATCH_LABEL = "batchyard.dev/batch"
SEQ_LABEL = "batchyard.dev/audit-seq"
HASH_ANNOTATION = "batchyard.dev/audit-hash"

LIMITED = frozenset(
    {
        EventType.TRIAL_TIMED_OUT,
        EventType.TRIAL_ERRORED,
        EventType.TRIAL_RETRIED,
        EventType.LATE_RESULT,
        # As many as a hostile workload likes: each flood of entries is followed by one.
        EventType.AUDIT_DROPPED,
    }
)
"""Types of which a batch may have any number; the first ``MOST_TRIAL_EVENTS`` of all of them together are published."""

# What the operator did, in one word: the event's ``action``.
_ACTIONS: Mapping[EventType, str] = {
    EventType.BATCH_ACCEPTED: "Accept",
    EventType.SPEC_INVALID: "Accept",
    EventType.ENVIRONMENT_PROVISIONING: "Provision",
    EventType.ENVIRONMENT_QUEUED: "Queue",
    EventType.ENVIRONMENT_ADMITTED: "Queue",
    EventType.ENVIRONMENT_READY: "Provision",
    EventType.ENVIRONMENT_PREEMPTED: "Queue",
    EventType.ENVIRONMENT_FAILED: "Provision",
    EventType.ENVIRONMENT_RELEASED: "Release",
    EventType.BATCH_AMENDED: "CarryOver",
    EventType.BATCH_STARTED: "Run",
    EventType.BATCH_SUSPENDED: "Suspend",
    EventType.BATCH_RESUMED: "Resume",
    EventType.BATCH_CANCELLED: "Cancel",
    EventType.BATCH_FINISHED: "Finish",
    EventType.DEADLINE_EXCEEDED: "EndAtDeadline",
    EventType.BUDGET_EXCEEDED: "EndAtBudget",
    EventType.DECIDED_EARLY: "Evaluate",
    EventType.GATE_PASSED: "Evaluate",
    EventType.GATE_FAILED: "Evaluate",
    EventType.GATE_INCONCLUSIVE: "Evaluate",
    EventType.PARITY_MISMATCH: "Evaluate",
    EventType.ORPHAN_REMOVED: "Sweep",
    EventType.TRIAL_TIMED_OUT: "EndAtDeadline",
    EventType.TRIAL_ERRORED: "Run",
    EventType.TRIAL_RETRIED: "Retry",
    EventType.LATE_RESULT: "Record",
    EventType.AUDIT_DROPPED: "Record",
    EventType.TRIAL_EVENTS_OMITTED: "Record",
}

PUBLISHED = frozenset(_ACTIONS)
"""Every type that a Kubernetes event can have as its reason."""


class Subject(Protocol):
    """The BatchTest that an event is about."""

    @property
    def namespace(self) -> str:
        """Return its namespace."""
        ...

    @property
    def name(self) -> str:
        """Return its name."""
        ...

    @property
    def uid(self) -> str:
        """Return its uid."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of some entries are published, by index, and how many limited ones the batch has had after them."""

    indexes: tuple[int, ...]
    limited: int


def publishable(entry: AuditEntry, limited: int) -> bool:
    """Return whether the entry becomes a Kubernetes event.

    ``limited`` is how many entries of the ``LIMITED`` types the batch's trail has before this one.
    """
    if entry.type not in PUBLISHED:
        return False
    return entry.type not in LIMITED or limited < MOST_TRIAL_EVENTS


def choose(entries: Sequence[AuditEntry], limited: int) -> Choice:
    """Return which of the next entries of a batch are published, after ``limited`` limited ones before them."""
    indexes: list[int] = []
    for index, entry in enumerate(entries):
        if publishable(entry, limited):
            indexes.append(index)
        limited += entry.type in LIMITED
    return Choice(tuple(indexes), limited)


def omitted_notice(batch_id: str, limited: int, *, at: datetime, epoch: int = 0) -> AuditEntry | None:
    """Return the entry, itself published, that says how many limited ones were not; None if all were.

    For the end of a batch: ``limited`` counts its whole trail.
    """
    count = limited - MOST_TRIAL_EVENTS
    if count <= 0:
        return None
    return AuditEntry(
        at=at,
        type=EventType.TRIAL_EVENTS_OMITTED,
        severity=severity_of(EventType.TRIAL_EVENTS_OMITTED),
        message=f"{count} more entries about single trials have no Kubernetes event; the audit trail has them all",
        batch_id=batch_id,
        epoch=epoch,
        details={"count": count},
    )


def event_name(subject: Subject, sealed: SealedEntry) -> str:
    """Return the name of the entry's event: always the same, and no other entry's, not even of a later store."""
    # The longest name of an object is 253 characters; what is cut must end in a letter or digit.
    return f"{subject.name[:230].rstrip('-.')}.{sealed.hash[:16]}"


def event_object(subject: Subject, sealed: SealedEntry, instance: str) -> dict[str, JSON]:
    """Return the entry's ``events.k8s.io/v1`` Event. ``instance`` names the posting process: its pod, or its host."""
    entry = sealed.entry
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": event_name(subject, sealed),
            "namespace": subject.namespace,
            "labels": {BATCH_LABEL: entry.batch_id, SEQ_LABEL: str(sealed.seq)},
            "annotations": {HASH_ANNOTATION: sealed.hash},
        },
        "eventTime": entry.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "type": "Warning" if entry.severity.rank >= Severity.WARNING.rank else "Normal",
        "reason": str(entry.type),
        "action": _ACTIONS.get(entry.type, "Record"),
        "note": note_of(entry),
        "reportingController": REPORTER,
        "reportingInstance": instance[:128] or "operator",
        "regarding": {
            "apiVersion": "batchyard.dev/v1alpha1",
            "kind": "BatchTest",
            "namespace": subject.namespace,
            "name": subject.name,
            # A rejected generation is a batch of its own, told apart by what follows the uid.
            "uid": subject.uid.partition("#")[0],
        },
    }


def note_of(entry: AuditEntry) -> str:
    """Return what the event says: the entry's message after its trial, cut to what the API server takes."""
    note = f"{entry.trial_id}#{entry.attempt}: {entry.message}" if entry.trial_id else entry.message
    written = note.encode()
    if len(written) <= LONGEST_NOTE_BYTES:
        return note
    end = "…"
    return written[: LONGEST_NOTE_BYTES - len(end.encode())].decode(errors="ignore") + end
