"""Everything an operator has to know of a batch that is open, out of the store.

Not for keeping that in step with what is written (``kube.batches``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batchyard.decide.publish import LIMITED
from batchyard.engine.carrying import origin_of
from batchyard.engine.sources import LoadedBatch
from batchyard.engine.stored_results import of_plan
from batchyard.engine.summary import Summary
from batchyard.model.events import EventType
from batchyard.model.outcome import Outcome

if TYPE_CHECKING:
    from datetime import datetime

    from batchyard.engine.cluster_ports import ClusterStore, EnvironmentRecord
    from batchyard.engine.ports import BatchRecord


@dataclass(frozen=True, slots=True)
class Known:
    """What ``kube.batches.ActiveBatch`` begins with; ``record`` is without its spec."""

    record: BatchRecord
    loaded: LoadedBatch
    summary: Summary
    final: bytearray
    environments: list[EnvironmentRecord]
    limited: int
    admitted_at: datetime | None
    deadline_told: bool
    amended: bool


def read_known(store: ClusterStore, batch_id: str) -> Known:
    """Return all that is known of a batch. Raises ``StoreError``."""
    full = store.batch(batch_id)
    loaded = LoadedBatch.of(full)
    summary, final = Summary(loaded.plan, loaded.batch.spec.gate), bytearray(full.total)
    for result in of_plan(store.results(batch_id), loaded.plan, batch_id):
        final[result.ordinal] = 1
        summary.add(result)
        summary.carried += bool(loaded.carries_from) and bool(origin_of(result, batch_id))
    summary.retried = sum(1 for _ in store.results(batch_id, final_only=False, outcomes=[Outcome.ERRORED]))
    summary.retried -= summary.counts[Outcome.ERRORED]
    limited, deadline_told, amended = 0, False, False
    environments = list(store.environments(batch_id))
    newest, admitted_at = environments[-1].attempt if environments else 0, None
    for sealed in store.audit_entries(batch_id):
        limited += sealed.entry.type in LIMITED
        deadline_told |= sealed.entry.type is EventType.DEADLINE_EXCEEDED
        amended |= sealed.entry.type is EventType.BATCH_AMENDED
        if sealed.entry.type is EventType.ENVIRONMENT_ADMITTED and sealed.entry.epoch == newest:
            admitted_at = sealed.entry.at
    # The document is large and can be read again; what is needed of it is in ``loaded``.
    slim = replace(full, spec=None)
    return Known(slim, loaded, summary, final, environments, limited, admitted_at, deadline_told, amended)
