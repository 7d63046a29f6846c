"""The AuditTrail: what happened to one batch, waiting in bounded memory to be stored.

Not the record itself: entries are sealed into their chain by the store, in the transaction that keeps them.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from batchyard.events.redact import Redactor
from batchyard.model.audit import AuditEntry
from batchyard.model.events import Event, EventType, Severity, severity_of
from batchyard.model.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from batchyard.model.trial import JSON

_DISPLAYABLE = 256
_DROP_ORDER: Sequence[Severity] = sorted(Severity, key=lambda severity: severity.rank)
OUTCOME_OF: Mapping[EventType, Outcome] = {
    EventType.TRIAL_PASSED: Outcome.PASSED,
    EventType.TRIAL_FAILED: Outcome.FAILED,
    EventType.TRIAL_TIMED_OUT: Outcome.TIMED_OUT,
    EventType.TRIAL_NEEDS_INPUT: Outcome.NEEDS_INPUT,
    EventType.TRIAL_CANCELLED: Outcome.CANCELLED,
    EventType.TRIAL_ERRORED: Outcome.ERRORED,
}
"""How the attempt ended that an entry of this type tells of."""


class Drained(NamedTuple):
    """What was taken out of a trail. If ``dropped`` is not 0, the last entry is the AuditDropped that says so."""

    entries: tuple[AuditEntry, ...]
    dropped: int


@dataclass(frozen=True, slots=True)
class AuditSummary:
    """Running totals since the trail began; flushing changes none of them.

    ``entries`` counts what was recorded, dropped entries included and AuditDropped notices not:
    ``entries == dropped + handed over + still buffered``. ``outcomes`` counts how attempts ended,
    retried ones included, and the trials that were never run.
    """

    entries: int
    dropped: int
    errors: int
    by_type: Mapping[EventType, int]
    by_severity: Mapping[Severity, int]
    dropped_by_severity: Mapping[Severity, int]
    outcomes: Mapping[Outcome, int]
    first_at: datetime | None
    last_at: datetime | None


class AuditTrail:
    """Turns one batch's events into entries and holds at most ``max_entries`` until they are drained.

    Subscribe ``on_event`` to a bus. When full, it gives up its oldest entry of the lowest severity there is (an
    error only when nothing lesser is left), counts it, and says so in the next drain.
    """

    def __init__(self, batch_id: str, *, max_entries: int = 10_000, secrets: Collection[str] = ()) -> None:
        """Record for ``batch_id``, with every value in ``secrets`` masked in messages and details."""
        if max_entries < 1:
            raise ValueError(f"an audit trail needs room for at least 1 entry, not {max_entries}")
        self.batch_id = batch_id
        self.max_entries = max_entries
        self._redactor = Redactor(secrets)
        # Guards every field below; taken by every method, never while a sink runs. Re-entrant, like the bus's: a
        # signal handler may publish in the very thread that is recording.
        self._lock = threading.RLock()
        # Lets one flush at a time reach its sink: two at once could store entries out of order.
        self._flushing = threading.RLock()
        self._buffered = _empty_queues()
        self._size = 0
        self._next, self._front = 0, 0
        self._dropped_unsaid = 0
        self._recent: deque[AuditEntry] = deque(maxlen=_DISPLAYABLE)
        self._by_type: Counter[EventType] = Counter()
        self._by_severity: Counter[Severity] = Counter()
        self._dropped: Counter[Severity] = Counter()
        self._outcomes: Counter[Outcome] = Counter()
        self._first_at: datetime | None = None
        self._last_at: datetime | None = None

    def __len__(self) -> int:
        """Return how many entries wait to be drained; never more than ``max_entries``."""
        return self._size

    def on_event(self, event: Event) -> None:
        """Record an event of this batch. TrialStarted is left out: the entry that ends the trial tells both."""
        if event.batch_id != self.batch_id or event.type is EventType.TRIAL_STARTED:
            return
        self.record(
            event.type,
            event.message,
            at=event.at,
            epoch=event.epoch,
            trial_id=event.trial_id,
            attempt=event.attempt,
            source=event.source,
            details=event.details,
        )

    def record(
        self,
        type: EventType,
        message: str,
        *,
        at: datetime,
        severity: Severity | None = None,
        epoch: int = 0,
        trial_id: str = "",
        attempt: int = 0,
        source: str = "batchyard",
        details: Mapping[str, JSON] | None = None,
    ) -> AuditEntry:
        """Add one entry and return it as it will be stored: secrets masked, details plain JSON.

        Args:
            type: What happened.
            message: The same for people; cut if it is very long.
            at: When, with a time zone.
            severity: How severe it is; the type's own unless given.
            epoch: The session it belongs to.
            trial_id: The trial it is about, if it is about one.
            attempt: That trial's attempt.
            source: Who saw it first.
            details: Small facts for programs.
        """
        entry = AuditEntry(
            at=at,
            type=type,
            severity=severity_of(type) if severity is None else severity,
            message=self._redactor.text(message),
            batch_id=self.batch_id,
            epoch=epoch,
            trial_id=trial_id,
            attempt=attempt,
            source=source,
            details=self._redactor.json(details) if details else {},
        )
        with self._lock:
            self._count(entry)
            self._buffered[entry.severity].append((self._next, entry))
            self._next += 1
            self._size += 1
            self._shrink()
        return entry

    def drain(self) -> Drained:
        """Take out all waiting entries, oldest first, and how many were dropped since the last drain.

        If some were, an AuditDropped entry follows the others. Give them back with ``restore`` if they could not be
        stored.
        """
        with self._lock:
            taken, self._buffered, self._size = self._buffered, _empty_queues(), 0
            dropped, self._dropped_unsaid = self._dropped_unsaid, 0
        numbered = sorted(chain.from_iterable(taken.values()), key=lambda pair: pair[0])
        entries = tuple(entry for _, entry in numbered)
        return Drained((*entries, _drop_notice(dropped, entries[-1])) if dropped else entries, dropped)

    def restore(self, drained: Drained) -> None:
        """Put drained entries back in front of what came since; the oldest and least go first if room is short."""
        entries = drained.entries[:-1] if drained.dropped else drained.entries
        with self._lock:
            for entry in reversed(entries):
                self._front -= 1
                self._buffered[entry.severity].appendleft((self._front, entry))
            self._size += len(entries)
            self._dropped_unsaid += drained.dropped
            self._shrink()

    def flush(self, sink: Callable[[tuple[AuditEntry, ...], int], object]) -> int:
        """Hand all waiting entries, and the number dropped, to ``sink``; return how many entries it took.

        It is not called if there is nothing to hand over. If it raises, everything is restored and the exception
        passes on.
        """
        with self._flushing:
            drained = self.drain()
            if not drained.entries:
                return 0
            try:
                sink(drained.entries, drained.dropped)
            except BaseException:
                self.restore(drained)
                raise
            return len(drained.entries)

    def summary(self) -> AuditSummary:
        """Return the totals as they are now."""
        with self._lock:
            return AuditSummary(
                entries=self._next,
                dropped=self._dropped.total(),
                errors=self._by_severity[Severity.ERROR],
                by_type=dict(self._by_type),
                by_severity=dict(self._by_severity),
                dropped_by_severity=dict(self._dropped),
                outcomes=dict(self._outcomes),
                first_at=self._first_at,
                last_at=self._last_at,
            )

    def display(self, limit: int = 30, include_debug: bool = False) -> str:
        """Return the last ``limit`` entries, oldest first, one a line, flushed or not; at most 256 are remembered."""
        with self._lock:
            recent = tuple(self._recent)
        wanted = (entry for entry in reversed(recent) if include_debug or entry.severity is not Severity.DEBUG)
        return "\n".join(reversed([one_line(entry) for entry in islice(wanted, limit)]))

    def _count(self, entry: AuditEntry) -> None:
        self._recent.append(entry)
        self._by_type[entry.type] += 1
        self._by_severity[entry.severity] += 1
        if entry.type in OUTCOME_OF:
            self._outcomes[OUTCOME_OF[entry.type]] += 1
        elif entry.type is EventType.TRIALS_NOT_RUN:
            count = entry.details.get("count")
            self._outcomes[Outcome.NOT_RUN] += count if isinstance(count, int) else 1
        # Threads publish in any order: the first to arrive need not be the first that happened.
        self._first_at = entry.at if self._first_at is None else min(self._first_at, entry.at)
        self._last_at = entry.at if self._last_at is None else max(self._last_at, entry.at)

    def _shrink(self) -> None:
        while self._size > self.max_entries:
            queue = next(queue for level in _DROP_ORDER if (queue := self._buffered[level]))
            _, entry = queue.popleft()
            self._dropped[entry.severity] += 1
            self._dropped_unsaid += 1
            self._size -= 1


def one_line(entry: AuditEntry) -> str:
    """Return an entry for people: time, severity, type, trial and message, safe to print on a terminal."""
    at = entry.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    about = f"{entry.trial_id}#{entry.attempt} " if entry.trial_id else ""
    source = "" if entry.source == "batchyard" else f"[{entry.source}] "
    return f"{at}Z {entry.severity:<7} {entry.type} {_printable(f'{source}{about}{entry.message}')}"


def _printable(text: str) -> str:
    # A message may quote what a workflow printed: no line end, no terminal command of its makes it to the screen.
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _empty_queues() -> dict[Severity, deque[tuple[int, AuditEntry]]]:
    # One queue a severity, so that finding what to drop is no search. The number is the order of recording.
    return {level: deque() for level in _DROP_ORDER}


def _drop_notice(dropped: int, newest: AuditEntry) -> AuditEntry:
    noun = "entry was" if dropped == 1 else "entries were"
    return AuditEntry(
        at=newest.at,
        type=EventType.AUDIT_DROPPED,
        severity=severity_of(EventType.AUDIT_DROPPED),
        message=f"{dropped} audit {noun} dropped unstored; raise spec.audit.maxEntries to keep more",
        batch_id=newest.batch_id,
        epoch=newest.epoch,
        details={"dropped": dropped},
    )
