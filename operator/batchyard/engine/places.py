"""A place in a cluster where a batch's worker runs, as the operator sees it. ``environments`` implements it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from batchyard.engine.cluster_ports import ClusterRef
    from batchyard.model.spec import BatchTest


class PlaceState(StrEnum):
    """What can be seen of a place.

    One that is ``QUEUED`` is held back by a queue, or was taken back by it. One that is ``STRANDED`` should have ended
    a while ago, and its node says nothing of it.
    """

    ABSENT = "Absent"
    QUEUED = "Queued"
    PENDING = "Pending"
    READY = "Ready"
    RUNNING = "Running"
    ENDED = "Ended"
    LOST = "Lost"
    STRANDED = "Stranded"


@dataclass(frozen=True, slots=True)
class PlaceRequest:
    """What a place is made from. ``batch`` is without its cases.

    ``source_items`` maps the keys of the source's ConfigMap to paths; None if there is none, or if it does not matter.
    """

    batch_id: str
    ref: ClusterRef
    attempt: int
    name: str
    batch: BatchTest
    token: str
    results_url: str
    deadline_at: datetime
    source_items: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of a place, and why; ``identity`` tells it from another of the same name ("": not known yet).

    ``may_begin`` is whether the worker could be started before the place is ready, to get ready beside it.
    """

    state: PlaceState
    reason: str = ""
    message: str = ""
    identity: str = ""
    may_begin: bool = False


@dataclass(frozen=True, slots=True)
class Child:
    """One object that a place consists of; ``owner_uid`` is the uid of its BatchTest."""

    namespace: str
    name: str
    uid: str
    owner_uid: str


class Place(Protocol):
    """Makes, looks at and gives back places of one kind.

    Every method may be called again; each raises ``ApiError``, and ``start`` also other ``EnvironmentUnavailable``.
    """

    async def ensure(self, request: PlaceRequest) -> None:
        """Make the place, or what is missing of it, unless it is there.

        What would be refused again is not raised: ``observe`` says that the place has ended, and why.
        """
        ...

    async def observe(self, request: PlaceRequest, identity: str) -> Observation:
        """Look at the place; one that is not the one of ``identity`` any more is lost."""
        ...

    async def start(self, request: PlaceRequest) -> None:
        """Start the worker in a place that is ready, or where it may begin, unless it was started."""
        ...

    async def release(self, request: PlaceRequest) -> bool:
        """Give the place back; return whether nothing of it is left, but for what is stranded."""
        ...

    async def children(self, namespace: str | None) -> Sequence[Child]:
        """Return every object of this kind that an operator made, in one namespace or all."""
        ...

    async def remove(self, child: Child) -> None:
        """Delete one of them."""
        ...


def place_name(ref: ClusterRef, attempt: int) -> str:
    """Return the name of the place: the same after any restart, and one that KubeRay takes.

    That is a DNS-1035 label, which begins with a letter, of at most 50 characters: what is longer it cuts when it
    names a cluster's Secret.
    """
    uid = hashlib.sha256(ref.uid.encode()).hexdigest()[:6]
    name = ref.name if ref.name[:1].isalpha() else f"b-{ref.name}"
    return f"{name[:30].rstrip('-.').replace('.', '-')}-{uid}-{attempt}"
