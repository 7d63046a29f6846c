"""Whether the operator lives and whether it can do its work, from what its parts last said of themselves.

Alive means that a restart would not help: only a part that ended or stands still takes that away, never an API server
or store that is away. Ready means that a BatchTest applied now would be taken in. Not for HTTP; ``kube.http`` asks.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchyard.clock import Clock


class Part(StrEnum):
    """What has to work."""

    RECONCILER = "reconciler"
    WATCH = "watch"
    STORE = "store"
    LEASE = "lease"
    OUTBOX = "outbox"
    MIRROR = "mirror"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a part may be silent, in seconds; None: for ever.

    ``needed``: without a first word and, after a failure, a good one, the operator is not ready.
    """

    dead_after: float | None = None
    unready_after: float | None = None
    needed: bool = True


LIMITS: Mapping[Part, Limits] = {
    # Its loop says so each time round, and goes round when there is nothing to do too.
    Part.RECONCILER: Limits(dead_after=120.0, unready_after=30.0),
    # An idle cluster sends nothing at all, so silence means nothing; the list that begins a watch does.
    Part.WATCH: Limits(),
    Part.STORE: Limits(),
    # Two leases' time: the holder, whoever it is, renews it at least this often.
    Part.LEASE: Limits(unready_after=40.0),
    # Batches run without them; their queues are kept. They go round at least every few seconds.
    Part.OUTBOX: Limits(dead_after=300.0, needed=False),
    Part.MIRROR: Limits(dead_after=900.0, needed=False),
}


@dataclass(slots=True)
class _Known:
    """What is known of one part. ``worked`` is when it last said that it works, ``spoke`` when it said anything."""

    worked: float | None = None
    spoke: float | None = None
    trouble: str = ""
    ended: str = ""
    excused: bool = False


class Health:
    """Collects what the parts say. Safe to call from any thread."""

    def __init__(self, clock: Clock, limits: Mapping[Part, Limits] = LIMITS) -> None:
        """Watch over the parts in ``limits``; none has said anything yet."""
        self._clock = clock
        self._limits = limits
        # Guards what _parts holds: store calls speak from their own threads.
        self._lock = threading.Lock()
        self._parts = {part: _Known() for part in limits}
        self._shut_out: Mapping[str, str] = {}

    def beat(self, part: Part) -> None:
        """Hear that the part works, now."""
        with self._lock:
            known = self._parts[part]
            known.worked = known.spoke = self._clock.monotonic()
            known.trouble, known.excused = "", False

    def failed(self, part: Part, why: str) -> None:
        """Hear that the part could not do its work just now; the next ``beat`` makes up for it."""
        with self._lock:
            known = self._parts[part]
            # Who says that it failed does not stand still.
            known.spoke, known.trouble = self._clock.monotonic(), why or "failed"

    def ended(self, part: Part, why: str) -> None:
        """Hear that the part's loop or thread is over although it should run; nothing makes up for that."""
        with self._lock:
            self._parts[part].ended = why or "ended"

    def excuse(self, part: Part) -> None:
        """Hear that the part does not work on purpose, until its next ``beat``: a standby does not reconcile."""
        with self._lock:
            self._parts[part].excused = True

    def shut_out(self, namespaces: Mapping[str, str]) -> None:
        """Hear which of the watched namespaces may not be looked into now, and why."""
        with self._lock:
            self._shut_out = dict(namespaces)

    def unserved(self) -> Sequence[str]:
        """Return which namespaces are not served, a sentence each.

        They make nobody unready: the workers of all other namespaces would be cut off from the operator.
        """
        with self._lock:
            return [
                f"namespace {name} is not served, for it may not be looked into: {why}; if it is there, its Role is "
                "missing: apply the chart or manifest again"
                for name, why in sorted(self._shut_out.items())
            ]

    def age(self, part: Part) -> float | None:
        """Return how many seconds ago the part last said that it works; None if it never did."""
        with self._lock:
            worked = self._parts[part].worked
        return None if worked is None else self._clock.monotonic() - worked

    def live(self) -> Sequence[str]:
        """Return what only a restart can mend, a sentence each."""
        return self._faults(self._deadly)

    def ready(self) -> Sequence[str]:
        """Return what keeps the operator from its work now, a sentence each; what is deadly does."""
        return self._faults(
            lambda part, known, now: self._deadly(part, known, now) or self._hindering(part, known, now)
        )

    def _faults(self, fault: Callable[[Part, _Known, float], str]) -> Sequence[str]:
        now = self._clock.monotonic()
        with self._lock:
            return [f"{part}: {why}" for part, known in self._parts.items() if (why := fault(part, known, now))]

    def _deadly(self, part: Part, known: _Known, now: float) -> str:
        if known.ended:
            return f"has ended: {known.ended}"
        # What has not begun may wait for something outside, for as long as it likes: a standby waits for its lease.
        if known.excused or known.spoke is None:
            return ""
        return _silence(now - known.spoke, self._limits[part].dead_after)

    def _hindering(self, part: Part, known: _Known, now: float) -> str:
        limits = self._limits[part]
        if known.excused or not limits.needed:
            return ""
        if known.trouble:
            return known.trouble
        if known.worked is None:
            return "has not begun yet"
        return _silence(now - known.worked, limits.unready_after)


def _silence(seconds: float, limit: float | None) -> str:
    if limit is None or seconds <= limit:
        return ""
    return f"has said nothing for {seconds:.0f} s (at most {limit:g} s)"
