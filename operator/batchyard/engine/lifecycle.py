"""SessionLifecycleManager: which sessions live, and the end of those whose process died without closing them.

A session is one process's right to run a batch. A process that is killed leaves it open, and leaves folders of attempts
that nobody will finish. Not for going on with the batch: ``resume`` does.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from batchyard.decide.sessions import Liveness, liveness
from batchyard.engine.ports import BatchUpdate
from batchyard.model.audit import AuditEntry
from batchyard.model.errors import RecordDamaged, StaleSession
from batchyard.model.events import EventType, severity_of
from batchyard.model.outcome import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime

    from batchyard.clock import Clock
    from batchyard.engine.ports import BatchRecord, BatchStore, OpenSession, Owner

_log = structlog.get_logger(__name__)

SILENT_SECONDS = 30.0
"""A session of another machine that has not been heard of for this long is conspicuous."""


class Leftovers(Protocol):
    """What dead sessions leave on this machine."""

    def release(self, batch_id: str, finished: Collection[tuple[str, int]]) -> int:
        """Remove the folders of a batch's attempts but the ``finished`` ones (trial, attempt); return how many."""
        ...


@dataclass(frozen=True, slots=True)
class Reaped:
    """A session that was ended for its dead process, and how many folders it had left."""

    session: OpenSession
    finished: int
    total: int
    folders: int


class SessionLifecycleManager:
    """Looks after the sessions of a store's batches. Safe to use from several processes at once."""

    def __init__(
        self,
        store: BatchStore,
        leftovers: Leftovers,
        clock: Clock,
        *,
        this: Owner,
        is_running: Callable[[int, str], bool],
        presumed_dead_seconds: float | None = None,
    ) -> None:
        """Take everything made.

        Args:
            store: The sessions' store.
            leftovers: What they leave on this machine.
            clock: Tells the time.
            this: This process, which ends the sessions of others.
            is_running: Returns whether a process of this machine is there that has this pid and began then.
            presumed_dead_seconds: After how long a silent session of another machine is taken for dead; None: never.
        """
        self._store, self._leftovers, self._clock = store, leftovers, clock
        self._this, self._is_running, self._presumed_dead = this, is_running, presumed_dead_seconds

    def sessions(self) -> Sequence[tuple[OpenSession, Liveness]]:
        """Return every open session with what is known of its process; one that cannot be read is logged.

        Raises ``StoreError``.
        """
        damaged: list[RecordDamaged] = []
        found = self._store.open_sessions(damaged)
        for err in damaged:
            _log.warning("a session cannot be read", error=str(err))
        return [(session, self.liveness(session.owner, session.heard_at)) for session in found]

    def reap(self, batch_id: str | None = None) -> Sequence[Reaped]:
        """End the abandoned sessions, of one batch if it is named: with a reason, an entry and what they had left.

        One that another process ended or took over meanwhile is passed by. Raises ``StoreError``.
        """
        reaped = []
        for session, known in self.sessions():
            if known is Liveness.ABANDONED and batch_id in {None, session.batch_id}:
                with suppress(StaleSession):
                    reaped.append(self._end(session))
        return reaped

    def liveness(self, owner: Owner, heard: datetime) -> Liveness:
        """Return what this process knows of a session's process that was last heard of then."""
        runs_here = owner.host == self._this.host
        return liveness(
            runs_here=runs_here,
            is_its_process=runs_here and self._is_running(owner.pid, owner.started),
            silence_seconds=(self._clock.now() - heard).total_seconds(),
            silent_seconds=SILENT_SECONDS,
            presumed_dead_seconds=self._presumed_dead,
        )

    def live_owner(self, batch_id: str) -> tuple[Owner, datetime] | None:
        """Return the process that is known to run a batch, and when it was heard of last; None if there is none.

        A silent session of another machine is not known to be live: who goes on with its batch takes it for dead.
        """
        known = self._store.live_owner(batch_id)
        return known if known is not None and self.liveness(*known) is Liveness.ALIVE else None

    def _end(self, session: OpenSession) -> Reaped:
        """Raises ``StaleSession`` if another process is at it."""
        now, owner = self._clock.now(), session.owner
        # Fences the old session out before anything of its is touched, should it live after all.
        mine = self._store.open_session(session.batch_id, self._this, now, after=session.epoch)
        record = self._store.batch(session.batch_id)
        finished = sum(1 for _ in self._store.finished_ordinals(session.batch_id))
        text = (
            f"{finished} of {record.total} trials finished; the process that ran them died; `batchyard resume` goes on"
        )
        entry = AuditEntry(
            at=now,
            type=EventType.SESSION_ABANDONED,
            severity=severity_of(EventType.SESSION_ABANDONED),
            message=f"session {session.epoch} of process {owner.pid} on {owner.host} ended without a word",
            batch_id=session.batch_id,
            epoch=mine.epoch,
            details={
                "session": session.epoch, "host": owner.host, "pid": owner.pid, "finished": finished,
                "lastHeard": session.heard_at.isoformat(),
            },
        )  # fmt: skip
        update = None if record.phase.final else _interrupted(record, text)
        self._store.commit(mine, entries=[entry], batch=update)
        kept = set(self._store.attempts_ended(record.id))
        # Before the session is closed: nobody goes on with the batch meanwhile, and a reaper that is killed is reaped.
        folders = self._leftovers.release(session.batch_id, kept)
        self._store.close_session(mine, "Abandoned", self._clock.now())
        return Reaped(session, finished, record.total, folders)


def _interrupted(record: BatchRecord, text: str) -> BatchUpdate:
    known = (
        {**record.status, "reason": Reason.INTERRUPTED, "message": text} if isinstance(record.status, dict) else None
    )
    return BatchUpdate(record.phase, Reason.INTERRUPTED, text, known)
