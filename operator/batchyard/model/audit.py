"""Audit entries and their hash chain: pure, so that any copy of a trail can be verified anywhere.

The chain: ``hash_n = SHA-256(hash_(n-1) || canonical JSON of entry n without its hash)``; the first entry follows
64 zeros. It makes a change, a gap or a new order visible to whoever kept a head; it does not prevent them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from batchyard.model.errors import BatchyardError
from batchyard.model.events import EventType, Severity
from batchyard.model.plain_json import plain_json, plain_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from batchyard.model.trial import JSON

GENESIS = "0" * 64

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class AuditUnreadable(BatchyardError):
    """A line that should be an exported audit entry is not one."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One fact, before it has a place in the chain."""

    at: datetime
    type: EventType
    severity: Severity
    message: str
    batch_id: str
    epoch: int = 0
    trial_id: str = ""
    attempt: int = 0
    source: str = "batchyard"
    details: Mapping[str, JSON] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Give every entry one spelling from its birth, so that no database can change its hash."""
        if self.at.tzinfo is None:
            raise ValueError(f"an audit entry needs a time with a time zone, not {self.at.isoformat()}")
        object.__setattr__(self, "message", plain_text(self.message))
        object.__setattr__(self, "batch_id", plain_text(self.batch_id))
        object.__setattr__(self, "trial_id", plain_text(self.trial_id))
        object.__setattr__(self, "source", plain_text(self.source))
        object.__setattr__(self, "details", plain_json(self.details))


@dataclass(frozen=True, slots=True)
class SealedEntry:
    """An entry in its place: ``seq`` counts from 1 within the batch."""

    seq: int
    entry: AuditEntry
    previous: str
    hash: str


def seal(entry: AuditEntry, seq: int, previous: str) -> SealedEntry:
    """Return ``entry`` as number ``seq`` after the entry whose hash is ``previous``."""
    return SealedEntry(seq=seq, entry=entry, previous=previous, hash=_digest(entry, seq, previous))


def verify_chain(entries: Iterable[SealedEntry], head: str) -> str:
    """Return "" if the entries, oldest first, are whole, in order and end at ``head``; else what is wrong.

    The first fault is named by its sequence number. A trail with entries cut off at its end is caught by ``head``.
    """
    last, previous = 0, GENESIS
    for sealed in entries:
        fault = _fault(sealed, last, previous)
        if fault:
            return fault
        last, previous = sealed.seq, sealed.hash
    if previous != head:
        return f"the trail ends at entry {last}, but the recorded head is another: entries are missing"
    return ""


def export_jsonl(entries: Iterable[SealedEntry]) -> Iterator[str]:
    """Yield one line an entry and a closing line with their number and the last hash, without line ends.

    The lines are plain ASCII in one spelling, so that any change to any of them shows.
    """
    count, head = 0, GENESIS
    for sealed in entries:
        count, head = count + 1, sealed.hash
        yield _line_of(sealed)
    yield _json_line({"entries": count, "head": head})


def parse_jsonl(lines: Iterable[str]) -> Iterator[SealedEntry]:
    """Yield the entries of an export as they stand, unverified; the closing line is left out.

    Raises:
        AuditUnreadable: A line is neither an entry nor a closing line.
    """
    for number, line in enumerate(lines, start=1):
        parsed = _parse(line, f"line {number}")
        if isinstance(parsed, SealedEntry):
            yield parsed


def verify_exported(lines: Iterable[str], head: str | None = None) -> str:
    """Return "" if an export is whole and unchanged; else what is wrong, named by the first bad entry.

    Without ``head``, kept elsewhere (``.status.audit.head``), an export that was rewritten as a whole, closing line
    included, passes.
    """
    last, previous, closing = 0, GENESIS, None
    for line in lines:
        if closing is not None:
            return f"something follows the closing line after entry {last}"
        try:
            parsed = _parse(line, f"entry {last + 1}")
        except AuditUnreadable as err:
            return str(err)
        if isinstance(parsed, _Closing):
            closing = parsed
            continue
        fault = _fault(parsed, last, previous)
        if fault:
            return fault
        if _line_of(parsed) != line.rstrip("\r\n"):
            return f"entry {last + 1} was rewritten: same content, another spelling"
        last, previous = parsed.seq, parsed.hash
    return _end_fault(closing, last, previous, head)


@dataclass(frozen=True, slots=True)
class _Closing:
    entries: int
    head: str


def _end_fault(closing: _Closing | None, last: int, previous: str, head: str | None) -> str:
    if closing is None:
        return f"entry {last + 1} is missing: the export breaks off after entry {last}, before its closing line"
    if closing.entries > last:
        return f"entry {last + 1} is missing: the closing line counts {closing.entries} entries"
    if closing != _Closing(last, previous):
        return f"the closing line does not fit entry {last}, the last one"
    if head is not None and head != previous:
        return f"the export ends at entry {last}, but the recorded head is another: entries are missing"
    return ""


def _fault(sealed: SealedEntry, last: int, previous: str) -> str:
    if sealed.seq != last + 1:
        return f"entry {last + 1} is missing (found {sealed.seq} in its place)"
    if sealed.previous != previous:
        return f"entry {sealed.seq} does not follow entry {last}"
    if sealed.hash != _digest(sealed.entry, sealed.seq, previous):
        return f"entry {sealed.seq} was changed"
    return ""


def _line_of(sealed: SealedEntry) -> str:
    entry = sealed.entry
    return _json_line(
        {
            "seq": sealed.seq,
            "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "type": entry.type,
            "severity": entry.severity,
            "message": entry.message,
            "batch": entry.batch_id,
            "epoch": entry.epoch,
            "trial": entry.trial_id,
            "attempt": entry.attempt,
            "source": entry.source,
            "details": entry.details,
            "previous": sealed.previous,
            "hash": sealed.hash,
        }
    )


def _json_line(value: JSON) -> str:
    # ASCII: some readers take U+2028 or U+0085 inside a message for the end of the line.
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


_ENTRY_FIELDS: Mapping[str, type] = {
    "seq": int,
    "at": str,
    "type": str,
    "severity": str,
    "message": str,
    "batch": str,
    "epoch": int,
    "trial": str,
    "attempt": int,
    "source": str,
    "details": dict,
    "previous": str,
    "hash": str,
}
_CLOSING_FIELDS: Mapping[str, type] = {"entries": int, "head": str}


def _parse(line: str, where: str) -> SealedEntry | _Closing:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as err:
        raise AuditUnreadable(f"{where} cannot be read: it is no JSON ({err})") from err
    if _has(value, _CLOSING_FIELDS):
        return _Closing(value["entries"], value["head"])
    if not _has(value, _ENTRY_FIELDS):
        raise AuditUnreadable(f"{where} cannot be read: its fields are not those of an audit entry")
    try:
        entry = AuditEntry(
            at=datetime.fromisoformat(value["at"]),
            type=EventType(value["type"]),
            severity=Severity(value["severity"]),
            message=value["message"],
            batch_id=value["batch"],
            epoch=value["epoch"],
            trial_id=value["trial"],
            attempt=value["attempt"],
            source=value["source"],
            details=value["details"],
        )
    except ValueError as err:
        raise AuditUnreadable(f"{where} cannot be read: {err}") from err
    return SealedEntry(seq=value["seq"], entry=entry, previous=value["previous"], hash=value["hash"])


def _has(value: JSON, fields: Mapping[str, type]) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == fields.keys()
        and all(type(value[name]) is kind for name, kind in fields.items())
    )


def _digest(entry: AuditEntry, seq: int, previous: str) -> str:
    body = json.dumps(
        [
            seq,
            # Microseconds since the epoch: an integer has one spelling in every database and time zone.
            (entry.at - _UNIX_EPOCH) // timedelta(microseconds=1),
            entry.type,
            entry.severity,
            entry.message,
            entry.batch_id,
            entry.epoch,
            entry.trial_id,
            entry.attempt,
            entry.source,
            entry.details,
        ],
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
    return hashlib.sha256(previous.encode() + body.encode()).hexdigest()
