"""Finds Jobs and RayClusters that no open batch holds any more, and deletes them: the net below the rules.

Deleting a BatchTest takes its children along; this is for what a crash, a restored store or a person left behind.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from batchyard.apiserver.errors import ApiError, Conflict, NotFound
from batchyard.kube.finished import is_settled
from batchyard.kube.status import KEPT
from batchyard.model.errors import StaleLeader, StoreError
from batchyard.model.events import EventType
from batchyard.model.outcome import Phase, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from batchyard.engine.places import Child, Place
    from batchyard.kube.batches import Batches
    from batchyard.kube.objects import BatchTestObject, Objects

_log = structlog.get_logger(__name__)

SWEEP_SECONDS = 60.0


class OrphanSweeper:
    """Sweeps now and then, in the watched namespaces."""

    def __init__(
        self,
        batches: Batches,
        objects: Objects,
        places: Iterable[Place],
        namespaces: Sequence[str],
        recorded: Callable[[], None],
        *,
        seconds: float = SWEEP_SECONDS,
    ) -> None:
        """``recorded`` is told that there is an event to post."""
        self._batches, self._objects, self._places = batches, objects, tuple(places)
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._recorded, self._seconds = recorded, seconds

    async def run(self) -> None:
        """Sweep until cancelled; what goes wrong is tried again the next time. Raises ``StaleLeader``."""
        while True:
            await asyncio.sleep(self._seconds)
            await self.sweep()

    async def sweep(self) -> int:
        """Delete every orphan that can be; return how many there were. Raises ``StaleLeader``."""
        count = 0
        for place in self._places:
            for namespace in self._namespaces:
                try:
                    for child in await place.children(namespace):
                        if await self._is_orphan(child):
                            count += await self._remove(place, child)
                except StaleLeader:
                    raise
                except (ApiError, StoreError) as err:
                    _log.warning("orphans could not be removed", namespace=namespace, error=str(err))
        return count

    async def _is_orphan(self, child: Child) -> bool:
        """Return whether the store knows of no place of this name that is still held. Places are written down first."""
        record = await self._batches.record_of(child.owner_uid)
        if record is None:
            return _is_left_over(self._objects.get(child.owner_uid))
        known = await self._batches.threads(lambda: self._batches.store.environments(record.id))
        for environment in known:
            if environment.name == child.name:
                return environment.released_at is not None and environment.reason != KEPT
        return True

    async def _remove(self, place: Place, child: Child) -> bool:
        await self._batches.check_leading()
        try:
            await place.remove(child)
        except (NotFound, Conflict):  # somebody else was quicker
            return False
        _log.warning("removed an orphan", namespace=child.namespace, name=child.name)
        await self._record(child)
        self._recorded()
        return True

    async def _record(self, child: Child) -> None:
        record = await self._batches.record_of(child.owner_uid)
        if record is None or record.audit_pruned_at is not None:
            return
        known = self._batches.known(record.id)
        batch = known or await self._batches.open(await self._batches.ref_of(record.id), record.id)
        async with batch.lock:
            text = f"{child.name} was still there although nothing needed it any more"
            entry = self._batches.entry(batch, EventType.ORPHAN_REMOVED, text)
            await self._batches.commit(batch, entries=[entry], last=known is None and batch.record.phase.final)
        if known is None and batch.record.phase.final:
            self._batches.forget(batch)


def _is_left_over(owner: BatchTestObject | None) -> bool:
    """Return whether the place of a BatchTest that this store knows nothing of is of an earlier store.

    It is if the BatchTest is in a watched namespace and over: nobody else looks after it, and it gets no place again.
    One that is not over is about to be accepted, and may take the place that is there.
    """
    if owner is None or not owner.exists or not is_settled(owner):
        return False
    # Only what was accepted can have been kept on purpose.
    kept = owner.keep_on_failure and owner.phase == Phase.FAILED and owner.status["reason"] != Reason.INVALID_SPEC
    return not kept
