"""A store in which another live process takes a batch over at the worst moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.clock import SystemClock
from batchyard.local_sessions import this_process
from batchyard.store.sql import SqlStore

if TYPE_CHECKING:
    from datetime import datetime

    from batchyard.engine.ports import Owner, Session


class RacedStore(SqlStore):
    """The batch is taken over, once, right after it was seen to be free."""

    others: Session | None = None

    def live_owner(self, batch_id: str) -> tuple[Owner, datetime] | None:
        found = super().live_owner(batch_id)
        self.others = self.others or self.open_session(batch_id, this_process(), SystemClock().now())
        return found
