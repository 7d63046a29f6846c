"""Where the trials of a fork begin: the other batch held against this one, and its results looked through, once.

Not for which trial goes with which (``decide.forking``) nor for fetching checkpoints (``workflows``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batchyard.decide.forking import Forking, ForkPoint, boundary_faults, fork_point, forking
from batchyard.engine.sources import LoadedBatch
from batchyard.model.errors import BatchAmbiguous, BatchNotFound, Fault, SpecInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.engine.ports import BatchRecord, BatchStore
    from batchyard.model.matrix import Plan
    from batchyard.model.spec_forking import ForkFrom


@dataclass(frozen=True, slots=True)
class Forks:
    """Where each trial of a batch begins. ``batch_id`` is the other batch's; ``points`` are by its trials' numbers."""

    batch_id: str
    pairs: Forking
    points: Mapping[int, ForkPoint]

    def point(self, ordinal: int) -> ForkPoint:
        """Return where a trial of the fork begins; without a checkpoint if there is no such place."""
        return self.points[self.pairs.source_of(ordinal)]


def bound(store: BatchStore, loaded: LoadedBatch) -> LoadedBatch:
    """Return the batch with what ``spec.forkFrom`` means in this store now; it stays that from here on.

    Raises ``SpecInvalid`` with every reason why it cannot be forked from, and ``StoreError``.
    """
    fork, name = loaded.batch.spec.fork_from, loaded.batch.metadata.name
    if fork is None:
        return loaded
    try:
        source = store.batch(fork.batch_test)
    except (BatchNotFound, BatchAmbiguous):
        source = None
    if source is None or source.name != fork.batch_test:
        raise _refused(name, fork, "is no batch of this store", "run it first, or name another store with --store")
    if not source.phase.final:
        raise _refused(name, fork, "is not finished", f"go on with it: batchyard resume {source.id}")
    find_forks(store, name, fork, loaded.plan, source)
    return replace(loaded, forked_from=source.id)


def forks_of(store: BatchStore, name: str, loaded: LoadedBatch) -> Forks | None:
    """Return where the trials of an accepted batch begin, None if it is no fork; raises as ``find_forks``."""
    fork = loaded.batch.spec.fork_from
    if fork is None:
        return None
    return find_forks(store, name, fork, loaded.plan, store.batch(loaded.forked_from))


def find_forks(store: BatchStore, name: str, fork: ForkFrom, plan: Plan, source: BatchRecord) -> Forks:
    """Return where the trials of batch ``name`` begin; ``source`` is the finished batch, with its spec.

    Raises ``SpecInvalid`` with every reason why it cannot be forked from, and ``StoreError``.
    """
    whole = _plan_of(name, fork, source)
    if whole.only is not None:
        raise _refused(name, fork, "ran a sample of its trials only", "name the batch that it is a sample of")
    pairs, faults = forking(fork, plan, whole)
    # Where trials do not fit, the node is looked for in all of the source: that is said at once too.
    wanted = set(range(len(whole))) if pairs is None else {pairs.source_of(ordinal) for ordinal in range(len(plan))}
    points = {ordinal: ForkPoint(whole.trial(ordinal).id) for ordinal in wanted}
    completed: dict[str, None] = {}
    for result in store.results(source.id):
        if result.ordinal in wanted:
            points[result.ordinal] = fork_point(whole.trial(result.ordinal), result, fork.node)
            completed |= dict.fromkeys(one.node for one in result.boundaries if one.exit_checkpoint)
    faults = [*faults, *boundary_faults(fork, points, list(completed))]
    if pairs is None or faults:
        raise SpecInvalid(f"BatchTest {name}", faults)
    return Forks(source.id, pairs, points)


def _plan_of(name: str, fork: ForkFrom, source: BatchRecord) -> Plan:
    if not source.total:
        text = f"cannot be forked from: {source.message or 'it was never accepted'}"
        raise _refused(name, fork, text, "name a batch whose trials ran")
    return LoadedBatch.of(source).plan


def _refused(name: str, fork: ForkFrom, message: str, remedy: str) -> SpecInvalid:
    return SpecInvalid(f"BatchTest {name}", [Fault("spec.forkFrom.batchTest", fork.batch_test, message, remedy)])
