"""Writes statuses to the cluster, as seldom as can be: what is urgent at once, progress now and then, no news never."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.apiserver.errors import NotFound
from batchyard.kube.objects import GROUP_VERSION, PLURAL
from batchyard.kube.status import build_status, is_news, is_urgent, patch_of, rejected_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.apiserver.client import ApiClient
    from batchyard.clock import Clock
    from batchyard.engine.cluster_ports import EnvironmentRecord
    from batchyard.engine.ports import BatchRecord
    from batchyard.kube.batches import ActiveBatch
    from batchyard.kube.objects import BatchTestObject, Objects
    from batchyard.model.trial import JSON

_PROGRESS_SECONDS = 60.0
_PROGRESS_TRIALS = 500
_SOONEST_SECONDS = 2.0


class StatusWriter:
    """Brings the status subresource of BatchTests in step with what is known of their batches."""

    def __init__(self, api: ApiClient, objects: Objects, clock: Clock) -> None:
        """``objects`` has the statuses as the cluster has them."""
        self._api, self._objects, self._clock = api, objects, clock
        self._told: dict[str, int] = {}

    async def write(self, seen: BatchTestObject, batch: ActiveBatch) -> float | None:
        """Write the batch's status if that is due; return in how many seconds to come back, None if not at all."""
        if not seen.exists:
            return None
        now = self._clock.now()
        status = build_status(
            batch.record,
            batch.environment,
            generation=seen.generation,
            previous=seen.status,
            now=now,
            releasing=batch.releasing,
        )
        if not is_news(status, seen.status):
            return None
        if not is_urgent(status, seen.status):
            since = (now - batch.status_at).total_seconds() if batch.status_at else _PROGRESS_SECONDS
            news = batch.summary.finished - self._told.get(batch.id, 0)
            wait = _SOONEST_SECONDS if news >= _PROGRESS_TRIALS else _PROGRESS_SECONDS
            if since < wait:
                return wait - since
        await self._patch(seen, status)
        batch.status_at = now
        self._told[batch.id] = batch.summary.finished
        return None

    async def write_final(self, seen: BatchTestObject, record: BatchRecord, place: EnvironmentRecord | None) -> None:
        """Write the status of a batch that is over, as the store has it."""
        status = build_status(
            record, place, generation=seen.generation, previous=seen.status, now=self._clock.now(), releasing=True
        )
        if is_news(status, seen.status):
            await self._patch(seen, status)

    async def reject(self, seen: BatchTestObject, reason: str, message: str, *, final: bool) -> None:
        """Say why a BatchTest is not accepted, unless its status says so already."""
        status = rejected_status(
            reason, message, generation=seen.generation, final=final, previous=seen.status, now=self._clock.now()
        )
        if is_news(status, seen.status):
            await self._patch(seen, status)

    def forget(self, batch_id: str) -> None:
        """Drop what is remembered of a batch."""
        self._told.pop(batch_id, None)

    async def _patch(self, seen: BatchTestObject, status: Mapping[str, JSON]) -> None:
        ref = seen.ref
        body = {**patch_of(status, seen.status), "metadata": {"uid": ref.uid}}
        try:
            await self._api.patch_status(GROUP_VERSION, PLURAL, ref.namespace, ref.name, body)
        except NotFound:
            self._objects.lose(ref)
            return
        self._objects.wrote(ref.uid, status)
