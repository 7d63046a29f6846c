"""The BatchTests as the cluster has them: the few fields that may change, kept from the watch; nothing of their size.

Not for their specs: those are read once, when a BatchTest is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batchyard.engine.cluster_ports import ClusterRef

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchyard.model.trial import JSON

GROUP_VERSION = "batchyard.dev/v1alpha1"
PLURAL = "batchtests"


@dataclass(frozen=True, slots=True)
class BatchTestObject:
    """What can change about a BatchTest after it was accepted, and its status as the cluster has it."""

    ref: ClusterRef
    generation: int = 1
    created: str = ""
    suspend: bool = False
    cancel: bool = False
    ttl_seconds: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    status: Mapping[str, JSON] = field(default_factory=dict)
    exists: bool = True

    @classmethod
    def from_body(cls, body: Mapping[str, JSON]) -> BatchTestObject:
        """Return the object of a watch event or an answer; a field of the wrong type counts as not set."""
        metadata, spec = body["metadata"], body.get("spec") or {}
        ttl = spec.get("ttlSecondsAfterFinished")
        return cls(
            ref=ClusterRef(metadata["namespace"], metadata["name"], metadata["uid"]),
            generation=metadata.get("generation", 1),
            created=metadata.get("creationTimestamp", ""),
            suspend=spec.get("suspend") is True,
            cancel=spec.get("cancel") is True,
            ttl_seconds=float(ttl) if isinstance(ttl, int | float) else None,
            labels=dict(metadata.get("labels") or {}),
            status=dict(body.get("status") or {}),
            # What is being deleted is as good as gone; everything of it goes with its owner.
            exists=not metadata.get("deletionTimestamp"),
        )


class Objects:
    """The newest that was seen of each BatchTest, by uid."""

    def __init__(self) -> None:
        """Begin with none."""
        self._by_uid: dict[str, BatchTestObject] = {}

    def __len__(self) -> int:
        return len(self._by_uid)

    def __iter__(self) -> Iterator[BatchTestObject]:
        return iter(tuple(self._by_uid.values()))

    def get(self, uid: str) -> BatchTestObject | None:
        """Return the object, None if it was never seen."""
        return self._by_uid.get(uid)

    def see(self, body: Mapping[str, JSON], *, deleted: bool = False) -> BatchTestObject:
        """Take over what an event or an answer shows; return it."""
        seen = BatchTestObject.from_body(body)
        if deleted:
            seen = replace(seen, exists=False)
        self._by_uid[seen.ref.uid] = seen
        return seen

    def lose(self, ref: ClusterRef) -> BatchTestObject:
        """Note that there is no such object any more; return what is left of it."""
        known = self._by_uid.get(ref.uid) or BatchTestObject(ref)
        gone = self._by_uid[ref.uid] = replace(known, exists=False)
        return gone

    def forget(self, uid: str) -> None:
        """Drop an object that is gone and done with."""
        self._by_uid.pop(uid, None)

    def wrote(self, uid: str, status: Mapping[str, JSON]) -> None:
        """Remember a status that was just written, before the watch shows it."""
        known = self._by_uid.get(uid)
        if known is not None:
            self._by_uid[uid] = replace(known, status=dict(status))
