"""Writes statuses to the cluster, as seldom as can be: what is urgent at once, progress now and then, no news never."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from batchyard.apiserver.errors import Conflict, NotFound
from batchyard.kube.objects import GROUP_VERSION, PLURAL
from batchyard.kube.status import (
    build_status,
    fit,
    is_news,
    is_trouble,
    is_urgent,
    patch_of,
    rejected_status,
    uncompared_condition,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from batchyard.apiserver.client import ApiClient
    from batchyard.clock import Clock
    from batchyard.engine.cluster_ports import EnvironmentRecord
    from batchyard.engine.ports import BatchRecord
    from batchyard.kube.batches import ActiveBatch, Batches
    from batchyard.kube.objects import BatchTestObject, Objects
    from batchyard.model.trial import JSON

# A batch may cost 12 writes and one more for every 500 trials, however long it takes. Its place takes three, the
# phases of its life as many; these are the others.
_PROGRESS_MINUTES = (1, 5, 25, 125)
_PROGRESS_TRIALS = 500
_TROUBLES = 2
_SOONEST_SECONDS = 2.0


class StatusWriter:
    """Brings the status subresource of BatchTests in step with what is known of their batches."""

    def __init__(self, api: ApiClient, objects: Objects, batches: Batches, clock: Clock) -> None:
        """``objects`` has the statuses as the cluster has them."""
        self._api, self._objects, self._batches, self._clock = api, objects, batches, clock

    async def write(self, seen: BatchTestObject, batch: ActiveBatch, *, last: bool = False) -> float | None:
        """Write the batch's status if that is due; return in how many seconds to come back, None if not at all.

        With ``last`` all news are due: nobody will come back.
        Raises ``StaleLeader``, and writes nothing, if another operator took over.
        """
        status, known = self._status(seen, batch), seen.status
        if not is_news(status, known):
            return None
        now, trouble = self._clock.now(), False
        if not last and not is_urgent(status, known):
            trouble = is_trouble(status, known) and batch.told.troubles < _TROUBLES
            wait = self._wait(batch, now, trouble=trouble)
            if wait is None or wait > 0:
                return wait
        # Only now: it asks the store, which refuses an operator that leads no more.
        await self._batches.refresh_head(batch)
        await self._patch(seen, self._status(seen, batch))
        batch.told.at, batch.told.finished = now, batch.summary.finished
        batch.told.troubles += trouble
        return None

    async def write_final(self, seen: BatchTestObject, record: BatchRecord, place: EnvironmentRecord | None) -> None:
        """Write the status of a batch that is over, as the store has it."""
        status = build_status(
            record, place, generation=seen.generation, previous=seen.status, now=self._clock.now(), releasing=True
        )
        await self._write_news(seen, status)

    async def reject(self, seen: BatchTestObject, reason: str, message: str, *, final: bool) -> None:
        """Say why a BatchTest is not accepted, unless its status says so already."""
        status = rejected_status(
            reason, message, generation=seen.generation, final=final, previous=seen.status, now=self._clock.now()
        )
        await self._write_news(seen, status)

    async def not_compared(self, seen: BatchTestObject, why: str) -> None:
        """Say that a BatchTest that is over is not compared with another place, and leave the rest as it is."""
        condition = uncompared_condition(why, seen.generation, self._clock.now())
        conditions = [*(seen.status.get("conditions") or []), condition]
        await self._write_news(seen, fit({**seen.status, "conditions": conditions}))

    def _status(self, seen: BatchTestObject, batch: ActiveBatch) -> dict[str, JSON]:
        return build_status(
            self._batches.current(batch),
            batch.environment,
            generation=seen.generation,
            previous=seen.status,
            now=self._clock.now(),
            releasing=batch.releasing,
        )

    def _wait(self, batch: ActiveBatch, now: datetime, *, trouble: bool) -> float | None:
        """Return in how many seconds news that are not urgent are due, None if others have to come first."""
        told = batch.told
        if told.at is None:
            return 0.0
        soonest = told.at + timedelta(seconds=_SOONEST_SECONDS)
        if trouble or batch.summary.finished - told.finished >= _PROGRESS_TRIALS:
            return max(0.0, (soonest - now).total_seconds())
        for minutes in _PROGRESS_MINUTES:
            due = batch.record.accepted_at + timedelta(minutes=minutes)
            if due > told.at:
                return max(0.0, (max(due, soonest) - now).total_seconds())
        return None

    async def _write_news(self, seen: BatchTestObject, status: dict[str, JSON]) -> None:
        if is_news(status, seen.status):
            await self._batches.check_leading()
            await self._patch(seen, status)

    async def _patch(self, seen: BatchTestObject, status: Mapping[str, JSON]) -> None:
        ref = seen.ref
        body = {**patch_of(status, seen.status), "metadata": {"uid": ref.uid}}
        try:
            self._objects.see(await self._api.patch_status(GROUP_VERSION, PLURAL, ref.namespace, ref.name, body))
        except NotFound:
            self._objects.lose(ref)
        except Conflict:
            if await self._is_there(seen):
                raise
            # Another of the same name has its place.
            self._objects.lose(ref)

    async def _is_there(self, seen: BatchTestObject) -> bool:
        ref = seen.ref
        try:
            found = await self._api.get(GROUP_VERSION, PLURAL, ref.namespace, ref.name)
        except NotFound:
            return False
        return bool(found["metadata"]["uid"] == ref.uid)
