"""Writes what a person does with an execution into its batch's audit trail."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from batchyard.events import AuditTrail
from batchyard.local_sessions import session_lifecycle, this_process
from batchyard.model.errors import StaleSession
from batchyard.model.events import Event, EventType
from batchyard.model.execution import BatchRuns
from batchyard.model.outcome import Reason
from batchyard.store.lookup import epoch_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from batchyard.clock import Clock
    from batchyard.engine.ports import BatchRecord, BatchUpdate, Session
    from batchyard.executions.held import Held
    from batchyard.model.trial import JSON
    from batchyard.store.sql import SqlStore

_TRIES, _LOOK_SECONDS = 20, 0.05


class BatchTrail:
    """The audit trail of a batch that no process runs."""

    def __init__(
        self, store: SqlStore, record: BatchRecord, files: Path, clock: Clock, secrets: Collection[str]
    ) -> None:
        """``secrets`` are masked."""
        self._store, self._record, self._files, self._clock = store, record, files, clock
        self._secrets = secrets

    def refuse_if_run(self) -> None:
        """Raise ``BatchRuns`` if a live process runs the batch: the trail is its own until then."""
        known = session_lifecycle(self._store, self._files, self._clock).live_owner(self._record.id)
        if known is not None:
            owner, _ = known
            raise BatchRuns(
                f"batch {self._record.id} is being run by process {owner.pid} on {owner.host}; its executions can be "
                "looked at now, and moved when it has ended"
            )

    def note(
        self, held: Held, did: str, details: Mapping[str, JSON] | None = None, batch: BatchUpdate | None = None
    ) -> None:
        """Add an entry, durably. Raises ``BatchRuns`` and ``StoreError``."""
        for left in reversed(range(_TRIES)):
            try:
                session = self._opened()
            except (BatchRuns, StaleSession):
                # Perhaps another execution of the batch is written of, which is over at once.
                if not left:
                    raise
                threading.Event().wait(_LOOK_SECONDS)
                continue
            trail = AuditTrail(self._record.id, secrets=self._secrets)
            trail.on_event(
                Event(
                    type=EventType.EXECUTION_MOVED,
                    at=self._clock.now(),
                    batch_id=self._record.id,
                    message=f"{held.id}: {did}",
                    epoch=session.epoch,
                    trial_id=held.trial,
                    details={"execution": held.id, "status": held.status.value, **(details or {})},
                )
            )
            try:
                self._store.commit(session, entries=trail.drain().entries, batch=batch)
            except StaleSession:
                # Somebody else wrote about another execution of the batch between the two calls.
                if not left:
                    raise
                continue
            self._store.close_session(session, Reason.EXECUTION, self._clock.now())
            return

    def _opened(self) -> Session:
        """Return a session that takes the batch from nobody. Raises ``BatchRuns`` or ``StaleSession``."""
        checked = epoch_of(self._store, self._record.id)
        self.refuse_if_run()
        return self._store.open_session(self._record.id, this_process(), self._clock.now(), after=checked)
