"""Audit entries and their hash chain: pure, so that any copy of a trail can be verified anywhere.

The chain: ``hash_n = SHA-256(hash_(n-1) || canonical JSON of entry n without its hash)``; the first entry follows
64 zeros. It makes a change, a gap or a new order visible to whoever kept a head; it does not prevent them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from batchyard.model.events import EventType, Severity
from batchyard.model.trial import JSON

GENESIS = "0" * 64

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    expected_seq, previous = 1, GENESIS
    for sealed in entries:
        if sealed.seq != expected_seq:
            return f"entry {expected_seq} is missing (found {sealed.seq} in its place)"
        if sealed.previous != previous:
            return f"entry {sealed.seq} does not follow entry {sealed.seq - 1}"
        if sealed.hash != _digest(sealed.entry, sealed.seq, previous):
            return f"entry {sealed.seq} was changed"
        expected_seq, previous = sealed.seq + 1, sealed.hash
    if previous != head:
        return f"the trail ends at entry {expected_seq - 1}, but the recorded head is another: entries are missing"
    return ""


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
    )
    return hashlib.sha256(previous.encode() + body.encode()).hexdigest()
