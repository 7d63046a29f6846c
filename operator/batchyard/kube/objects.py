"""The BatchTests as the cluster has them: the few fields that may change, kept from the watch; nothing of their size.

Not for their specs: those are read once, when a BatchTest is accepted.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import orjson

from batchyard.engine.cluster_ports import ClusterRef

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchyard.model.trial import JSON

GROUP_VERSION = "batchyard.dev/v1alpha1"
PLURAL = "batchtests"

_FAST = 1
_NO_STATUS = zlib.compress(b"{}", _FAST)


@dataclass(frozen=True, slots=True)
class BatchTestObject:
    """What can change about a BatchTest after it was accepted, and its status as the cluster has it.

    ``version`` tells which of two sights of it is the newer one; 0 if that cannot be told.
    """

    ref: ClusterRef
    generation: int = 1
    version: int = 0
    suspend: bool = False
    cancel: bool = False
    ttl_seconds: float | None = None
    parity: bool = False
    keep_on_failure: bool = False
    phase: str = ""
    packed_status: bytes = _NO_STATUS
    exists: bool = True

    @classmethod
    def from_body(cls, body: Mapping[str, JSON]) -> BatchTestObject:
        """Return the object of a watch event or an answer; a field of the wrong type counts as not set."""
        metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
        ttl, version = spec.get("ttlSecondsAfterFinished"), str(metadata.get("resourceVersion") or "")
        return cls(
            ref=ClusterRef(metadata["namespace"], metadata["name"], metadata["uid"]),
            generation=metadata.get("generation", 1),
            version=int(version) if version.isdecimal() else 0,
            suspend=spec.get("suspend") is True,
            cancel=spec.get("cancel") is True,
            ttl_seconds=float(ttl) if isinstance(ttl, int | float) and not isinstance(ttl, bool) else None,
            parity=_part(spec, "parity").get("enabled") is True,
            keep_on_failure=_part(_part(spec, "environment"), "kubeRay").get("keepOnFailure") is True,
            phase=str(status.get("phase") or ""),
            # As an object it would take fifty times the room, and there is one for every finished BatchTest.
            packed_status=zlib.compress(orjson.dumps(status), _FAST) if status else _NO_STATUS,
            # What is being deleted is as good as gone; everything of it goes with its owner.
            exists=not metadata.get("deletionTimestamp"),
        )

    @property
    def status(self) -> dict[str, JSON]:
        """Return the status, unpacked anew each time."""
        found: dict[str, JSON] = orjson.loads(zlib.decompress(self.packed_status))
        return found


def _part(spec: Mapping[str, JSON], name: str) -> Mapping[str, JSON]:
    found = spec.get(name)
    return found if isinstance(found, dict) else {}


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
        """Take over what an event or an answer shows, unless something newer was seen; return the newest."""
        seen = BatchTestObject.from_body(body)
        known = self._by_uid.get(seen.ref.uid)
        if deleted:
            seen = replace(seen, exists=False)
        elif known is not None and (not known.exists or seen.version < known.version):
            # A watch lags behind the answers to our own writes; and a deletion is never taken back.
            return known
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
