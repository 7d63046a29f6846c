"""Queues that hold a Job or RayCluster back by its ``spec.suspend``, as Kueue does: what is seen of it, for people.

Nothing here asks for Kueue: whoever suspends an object of ours is its queue, and nobody here ever writes to it. Not
for what a queue is told (``queue_labels``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.engine.places import Observation, PlaceState
from batchyard.environments import owned, pods
from batchyard.environments.queue_labels import QUEUE_LABEL
from batchyard.model.outcome import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.apiserver.client import ApiClient
    from batchyard.model.trial import JSON


def is_suspended(found: Mapping[str, JSON]) -> bool:
    """Return whether a queue holds a Job or RayCluster back, or has taken its pods away."""
    return (found.get("spec") or {}).get("suspend") is True


async def waiting(api: ApiClient, found: Mapping[str, JSON], kind: str) -> Observation:
    """Return that the place waits to be admitted, with what Kueue says about that if it says anything."""
    queue = _queue_of(found)
    if not queue:
        text = f"the {kind} is suspended: a queue has not admitted it yet"
        return Observation(PlaceState.QUEUED, Reason.QUEUED, text)
    text = f"queued by Kueue: waiting for quota in queue {queue}"
    said = await _last_word(api, found, kind)
    return Observation(PlaceState.QUEUED, Reason.QUEUED, pods.cut(f"{text} ({said})" if said else text))


def taken_back(found: Mapping[str, JSON], kind: str, identity: str, *, gone: bool) -> Observation:
    """Return that a place which was let be made is taken back; ``gone`` if what ran in it is over."""
    name, queue = found["metadata"]["name"], _queue_of(found)
    text = f"Kueue took {kind} {name} back into queue {queue}" if queue else f"{kind} {name} was suspended"
    going = PlaceState.RUNNING if identity else PlaceState.PENDING
    return Observation(PlaceState.QUEUED if gone else going, Reason.PREEMPTED, text, identity)


def _queue_of(found: Mapping[str, JSON]) -> str:
    """Return the queue that the object itself names: Kueue may have chosen it."""
    return str((found["metadata"].get("labels") or {}).get(QUEUE_LABEL) or "")


async def _last_word(api: ApiClient, found: Mapping[str, JSON], kind: str) -> str:
    """Return why Kueue does not admit the object, "" if it does not say: its Workload is named after it."""
    metadata = found["metadata"]
    warning = await owned.newest_warning(
        api, metadata["namespace"], "involvedObject.kind=Workload", name=f"{kind.lower()}-{metadata['name']}-"
    )
    return warning.message if warning is not None else ""
