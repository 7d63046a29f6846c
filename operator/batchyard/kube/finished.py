"""What is left to do for a BatchTest that is over: a status that is behind, a comparison, its end after its time.

Costs a finished BatchTest no write unless something is out of step.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from batchyard.apiserver.errors import Conflict, NotFound
from batchyard.decide.parity import is_comparable
from batchyard.kube.objects import GROUP_VERSION, PLURAL
from batchyard.kube.twins import is_verified
from batchyard.model.outcome import Phase, Reason

if TYPE_CHECKING:
    from batchyard.apiserver.client import ApiClient
    from batchyard.clock import Clock
    from batchyard.engine.ports import BatchRecord
    from batchyard.kube.batches import Batches
    from batchyard.kube.objects import BatchTestObject, Objects
    from batchyard.kube.statuses import StatusWriter
    from batchyard.kube.twins import Twins

_LONGEST_TIMER_SECONDS = 3600.0
_FINAL = frozenset(phase.value for phase in Phase if phase.final)


class Finished:
    """Looks after BatchTests whose batches are over and whose places are given back."""

    def __init__(
        self, api: ApiClient, batches: Batches, objects: Objects, statuses: StatusWriter, twins: Twins, clock: Clock
    ) -> None:
        """Take what is needed to look and to write."""
        self._api, self._batches, self._objects = api, batches, objects
        self._statuses, self._twins, self._clock = statuses, twins, clock

    async def tidy(self, seen: BatchTestObject | None, record: BatchRecord) -> float | None:
        """Heal the status if it is behind, delete the object if its time is over; return when to look again."""
        if seen is None:
            return None
        if not seen.exists:
            self._objects.forget(seen.ref.uid)
            return None
        if not _says_so(seen, record):
            await self._write(seen, await self._batches.threads(lambda: self._batches.store.batch(record.id)))
            seen = self._objects.get(seen.ref.uid) or seen
        compared, again = await self._twins.verify(seen, record)
        if compared is not None:
            await self._write(seen, compared)
        return await self.expire(seen, record.completed_at) if again is None else again

    async def settle(self, seen: BatchTestObject) -> float | None:
        """Look after a BatchTest that is over, and that the store knows nothing of; return when to look again."""
        reason = str(seen.status.get("reason") or "")
        if seen.parity and not is_verified(seen.status) and is_comparable(Phase(seen.phase), reason):
            text = "its results are not in the operator's store any more, so there is nothing to compare"
            await self._statuses.not_compared(seen, text)
            seen = self._objects.get(seen.ref.uid) or seen
        return await self.expire(seen, _settled_at(seen))

    async def _write(self, seen: BatchTestObject, full: BatchRecord) -> None:
        environments = await self._batches.threads(lambda: self._batches.store.environments(full.id))
        await self._statuses.write_final(seen, full, environments[-1] if environments else None)

    async def expire(self, seen: BatchTestObject, over_at: datetime | None) -> float | None:
        """Delete an object that has been over for its time; return when to look again."""
        if seen.ttl_seconds is None or over_at is None:
            return None
        left = seen.ttl_seconds - (self._clock.now() - over_at).total_seconds()
        if left > 0:
            # A timer of days would be lost with the process anyway; looking again costs nothing.
            return min(left, _LONGEST_TIMER_SECONDS)
        await self._delete(seen)
        return None

    async def _delete(self, seen: BatchTestObject) -> None:
        ref = seen.ref
        await self._batches.check_leading()
        try:
            await self._api.delete(GROUP_VERSION, PLURAL, ref.namespace, ref.name, uid=ref.uid)
        except (NotFound, Conflict):  # gone already, or another of the same name
            self._objects.lose(ref)


def is_settled(seen: BatchTestObject) -> bool:
    """Return whether its status says that a BatchTest is over, although the store knows nothing of it.

    One that was refused is over until its spec changes. Any other ran under a store that is lost: it never runs again.
    """
    if seen.phase not in _FINAL:
        return False
    if seen.status.get("reason") != Reason.INVALID_SPEC:
        return True
    return seen.status.get("observedGeneration") == seen.generation


def _settled_at(seen: BatchTestObject) -> datetime | None:
    """Return when its status says that a BatchTest was over."""
    try:
        return datetime.fromisoformat(str(seen.status.get("completionTime")))
    except ValueError:
        return None


def _says_so(seen: BatchTestObject, record: BatchRecord) -> bool:
    """Return whether the object's status tells how its batch ended, and of its newest generation."""
    return seen.phase == record.phase and seen.status.get("observedGeneration") == seen.generation
