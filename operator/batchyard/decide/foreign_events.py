"""What others say about our objects: a Kubernetes event as it was read, and the audit entry that it becomes. Pure.

Events come from anybody who may write them: nothing in them is trusted to be there, of its type, or short. Not for
knowing whose objects are ours, nor for watching.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from batchyard.model.audit import AuditEntry
from batchyard.model.events import EventType, Severity, severity_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchyard.model.trial import JSON

SOURCE = "kubernetes"
MOST_MIRRORED = 500
"""So many events of others a batch's trail takes; one more entry then says that the rest is left out."""

_ALL_COUNTS_UP_TO = 10
_LONGEST_WORD = 253
_LONGEST_MESSAGE = 1024


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """The object that an event is about. A field that the event lacks is empty."""

    kind: str
    namespace: str
    name: str
    uid: str
    api_version: str = ""


@dataclass(frozen=True, slots=True)
class ForeignEvent:
    """One event as it was read. ``count`` is how often it has happened so far."""

    uid: str
    about: ObjectReference
    reason: str
    message: str
    warning: bool
    count: int
    component: str
    at: datetime

    @property
    def key(self) -> str:
        """Return what tells this evidence from any other: the same event with a higher count is new evidence."""
        return f"{self.uid}/{self.count}"

    @property
    def counts(self) -> bool:
        """Return whether it is worth an entry: a repeat is up to its tenth time, then each time its number doubles.

        A container that crashes for an hour must not use up the room of what explains it.
        """
        return self.count <= _ALL_COUNTS_UP_TO or self.count & (self.count - 1) == 0


def read_event(body: JSON, now: datetime) -> ForeignEvent | None:
    """Return a ``v1`` Event of an API server, None if it is not one that can be told apart from others.

    ``now`` stands in for a time that is missing or cannot be read.
    """
    event = _object(body)
    metadata, about, series = (_object(event.get(name)) for name in ("metadata", "involvedObject", "series"))
    uid = _word(metadata.get("uid"))
    if not uid:
        return None
    return ForeignEvent(
        uid=uid,
        about=ObjectReference(
            kind=_word(about.get("kind")),
            namespace=_word(about.get("namespace")) or _word(metadata.get("namespace")),
            name=_word(about.get("name")),
            uid=_word(about.get("uid")),
            api_version=_word(about.get("apiVersion")),
        ),
        reason=_word(event.get("reason")) or "Unknown",
        message=_cut(event.get("message"), _LONGEST_MESSAGE),
        warning=event.get("type") == "Warning",
        count=max(_number(event.get("count")), _number(series.get("count")), 1),
        component=_word(event.get("reportingComponent")) or _word(_object(event.get("source")).get("component")),
        at=_time_of(event, series, metadata, now),
    )


def mirrored_entry(event: ForeignEvent, batch_id: str) -> AuditEntry:
    """Return the entry that keeps the event in the batch's trail."""
    about, times = event.about, f" ({event.count} times)" if event.count > 1 else ""
    return AuditEntry(
        at=event.at,
        type=EventType.KUBERNETES_EVENT,
        severity=Severity.WARNING if event.warning else severity_of(EventType.KUBERNETES_EVENT),
        message=f"{about.kind} {about.name}: {event.reason}{times}: {event.message}",
        batch_id=batch_id,
        source=SOURCE,
        details={
            "reason": event.reason,
            "type": "Warning" if event.warning else "Normal",
            "count": event.count,
            "component": event.component,
            "kind": about.kind,
            "name": about.name,
            "uid": about.uid,
            "eventUid": event.uid,
        },
    )


def omitted_entry(batch_id: str, at: datetime) -> AuditEntry:
    """Return the entry that says that the batch has had its fill of others' events."""
    return AuditEntry(
        at=at,
        type=EventType.KUBERNETES_EVENTS_OMITTED,
        severity=severity_of(EventType.KUBERNETES_EVENTS_OMITTED),
        message=f"{MOST_MIRRORED} events of others were recorded; from here on they are left out",
        batch_id=batch_id,
        source=SOURCE,
        details={"limit": MOST_MIRRORED},
    )


def gap_entry(batch_id: str, *, old: str, new: str, since: datetime | None, until: datetime) -> AuditEntry:
    """Return the entry that says that events may have been missed between two resource versions of the watch."""
    began = f"since {since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if since else "before this operator began"
    return AuditEntry(
        at=until,
        type=EventType.MIRROR_GAP,
        severity=severity_of(EventType.MIRROR_GAP),
        message=f"events of others that came and went {began} may be missing here: the API server kept no record",
        batch_id=batch_id,
        source=SOURCE,
        details={
            "fromResourceVersion": old,
            "toResourceVersion": new,
            "since": since.astimezone(UTC).isoformat() if since else "",
            "until": until.astimezone(UTC).isoformat(),
        },
    )


def _object(value: JSON) -> Mapping[str, JSON]:
    return value if isinstance(value, dict) else {}


def _word(value: JSON) -> str:
    return _cut(value, _LONGEST_WORD)


def _cut(value: JSON, longest: int) -> str:
    if not isinstance(value, str):
        return ""
    return value if len(value) <= longest else value[: longest - 1] + "…"


def _number(value: JSON) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else 0


def _time_of(
    event: Mapping[str, JSON], series: Mapping[str, JSON], metadata: Mapping[str, JSON], now: datetime
) -> datetime:
    """Return when it last happened; what says that it will happen is taken to have happened now."""
    candidates: Sequence[JSON] = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event.get("firstTimestamp"),
        metadata.get("creationTimestamp"),
    )
    return min(now, next((time for value in candidates if (time := _time(value)) is not None), now))


def _time(value: JSON) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.astimezone(UTC) if time.tzinfo else None
    except (ValueError, OverflowError):
        return None
