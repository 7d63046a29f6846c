"""Has the audit trails deleted whose time is over. Not for which those are (``store.retention``)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from batchyard.model.errors import StaleLeader, StoreError

if TYPE_CHECKING:
    from batchyard.clock import Clock
    from batchyard.kube.batches import Batches

_log = structlog.get_logger(__name__)

_SECONDS = 3600.0


class Retention:
    """Looks after old trails now and then."""

    def __init__(self, batches: Batches, clock: Clock) -> None:
        """``batches`` has the store."""
        self._batches, self._clock = batches, clock

    async def run(self) -> None:
        """Prune until cancelled; what goes wrong is tried again the next time. Raises ``StaleLeader``."""
        while True:
            try:
                await self.prune()
            except StaleLeader:
                raise
            except StoreError as err:
                _log.warning("old audit trails could not be deleted", error=str(err))
            await asyncio.sleep(_SECONDS)

    async def prune(self) -> None:
        """Delete every trail whose time is over. Raises ``StoreError``."""
        now = self._clock.now()
        for batch_id in await self._batches.threads(lambda: self._batches.store.prune(now)):
            _log.info("deleted an audit trail after its retention time", batch=batch_id)
