"""What runners and workers are given, made from a BatchTest: how things are set up, and how long and much they may.

Plain translation; not for choosing implementations (``compose``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.engine.marks import ShareableNode
from batchyard.model.usage import Allowance
from batchyard.runners.leader import Limits
from batchyard.runners.meter import Metering
from batchyard.runners.worker import Setup

if TYPE_CHECKING:
    from batchyard.engine.sources import LoadedBatch
    from batchyard.model.spec import BatchTestSpec


def setup_of(loaded: LoadedBatch, *, checkpoints: str, objects: str = "") -> Setup:
    """Return what every attempt of the batch shares; ``objects`` is the folder for contents of tracked files."""
    spec = loaded.batch.spec
    source = spec.workflow.source.path
    prices = spec.budgets.prices if spec.budgets is not None else {}
    return Setup(
        factory=spec.workflow.factory,
        source=str((loaded.base / source).resolve()) if source else "",
        checkpoints=checkpoints,
        evaluators=[
            {"name": entry.name, "weight": entry.weight, "config": entry.config} for entry in spec.evaluation.evaluators
        ],
        pass_threshold=spec.evaluation.pass_threshold,
        recursion_limit=spec.limits.recursion_limit,
        durability=spec.checkpoints.durability,
        objects=objects,
        files=spec.checkpoints.model_dump(by_alias=False)["files"] or {},
        input_schema=spec.workflow.input_schema or "",
        metering=_metering(spec),
        prices={name: (price.input_per_million, price.output_per_million) for name, price in prices.items()},
    )


def shareable_nodes(spec: BatchTestSpec) -> tuple[ShareableNode, ...]:
    """Return the nodes that combinations may share."""
    sharing = spec.workflow.shared_prefix
    return tuple(ShareableNode(one.name, one.depends_on, one.reads) for one in sharing.nodes) if sharing else ()


def limits_of(spec: BatchTestSpec, *, batch_until: float) -> Limits:
    """Return how long and how much an attempt may; the batch is over at the monotonic instant ``batch_until``."""
    deadlines, budgets = spec.deadlines, spec.budgets
    return Limits(
        trial=deadlines.trial_seconds,
        node=deadlines.node_seconds,
        idle=deadlines.idle_seconds,
        grace=deadlines.grace_seconds,
        environment=deadlines.environment_seconds,
        batch_until=batch_until,
        allowed=Allowance() if budgets is None else budgets.trial.allowance(),
        tells_usage=budgets is not None and bool(budgets.batch.allowance()),
    )


def _metering(spec: BatchTestSpec) -> Metering | None:
    """Return what a worker has to count: nothing, unless somebody wants to know."""
    budgets = spec.budgets
    if budgets is None:
        return None if spec.deadlines.idle_seconds is None else Metering()
    trial, batch = budgets.trial.allowance(), budgets.batch.allowance()
    always = {*trial.kinds, *batch.kinds}
    return Metering(trial, tuple(sorted(kind.value for kind in always)))
