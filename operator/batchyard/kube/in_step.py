"""Keeps what is known of an open batch in step with what was committed. Not for committing (``kube.batches``)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from batchyard.engine.carrying import Step
    from batchyard.engine.cluster_ports import EnvironmentRecord
    from batchyard.engine.ports import BatchUpdate
    from batchyard.kube.batches import ActiveBatch
    from batchyard.model.trial import AttemptResult


def keep_results(
    batch: ActiveBatch, results: Sequence[tuple[AttemptResult, bool]], left_out: Collection[tuple[int, int]]
) -> None:
    """Count final results, but for those that were ``left_out``."""
    for result, final in results:
        if final and (result.ordinal, result.attempt) not in left_out:
            batch.final[result.ordinal] = 1
            batch.summary.add(result)


def keep_carried(batch: ActiveBatch, step: Step) -> None:
    """Count results that were carried over from another batch."""
    keep_results(batch, [(result, True) for result in step.results], ())
    batch.summary.carried += len(step.results)


def keep_state(batch: ActiveBatch, environment: EnvironmentRecord | None, update: BatchUpdate | None) -> None:
    """Take over a place, and the batch's own state, as they were written."""
    if environment is not None:
        _put(batch.environments, environment)
    if update is not None:
        batch.record = replace(
            batch.record,
            phase=update.phase,
            reason=update.reason,
            message=update.message,
            status=update.status if update.status is not None else batch.record.status,
            started_at=update.started_at or batch.record.started_at,
            completed_at=update.completed_at or batch.record.completed_at,
        )


def _put(environments: list[EnvironmentRecord], changed: EnvironmentRecord) -> None:
    for index, known in enumerate(environments):
        if known.attempt == changed.attempt:
            environments[index] = changed
            return
    environments.append(changed)
