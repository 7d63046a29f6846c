"""Which batch an object in the cluster belongs to, by the names that places are given.

Pods are named after their RayCluster or Job, so that no pod has to be watched to know whose it is. What Kueue makes
for these is named after them too.
"""

from __future__ import annotations

from collections import OrderedDict

_MOST = 10_000
# So Kueue names the Workload of a Job or RayCluster; then comes the object's own name.
_WORKLOADS = ("job-", "raycluster-")


class Owners:
    """The newest places of all batches, also of some that are over: their last events come late."""

    def __init__(self) -> None:
        """Know none."""
        self._batches: OrderedDict[tuple[str, str], str] = OrderedDict()

    def add(self, namespace: str, name: str, batch_id: str) -> None:
        """Remember that the place of this name, and all that is named after it, is the batch's."""
        self._batches[namespace, name] = batch_id
        self._batches.move_to_end((namespace, name))
        while len(self._batches) > _MOST:
            self._batches.popitem(last=False)

    def batch_of(self, namespace: str, name: str) -> str | None:
        """Return the batch of the object, None if it is none of ours."""
        found = self._named_after(namespace, name)
        if found is None and name.startswith(_WORKLOADS):
            found = self._named_after(namespace, name.partition("-")[2])
        return found

    def _named_after(self, namespace: str, name: str) -> str | None:
        end = len(name)
        while end > 0:
            found = self._batches.get((namespace, name[:end]))
            if found is not None:
                return found
            end = name.rfind("-", 0, end)
        return None
