"""What a user should know of a local run: where it differs from what the file says or asks for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.model.spec_environment import Isolation, Provider

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchyard.config import RayConfig
    from batchyard.model.spec import BatchTestSpec
    from batchyard.model.trial import JSON

_NODES_NAMED = 5


def notices(spec: BatchTestSpec, ray: RayConfig | None = None) -> Iterator[str]:
    """Yield one sentence for each part of the spec that a run on this machine treats in its own way.

    ``ray`` is what the trials run on, None for worker processes of this machine.
    """
    environment = spec.environment
    if environment.isolation is Isolation.THREAD:
        yield (
            "isolation Thread: deadlines are cooperative; a trial is asked to stop between its nodes and cannot be "
            "killed within one (isolation: Process can)"
        )
    if ray is not None:
        where = f"the Ray cluster at {ray.address}" if ray.address else "a Ray that is started here, in some seconds,"
        yield f"trials run on {where} and see the environment variables of its nodes"
    elif environment.provider is not Provider.IN_PROCESS:
        yield (
            f"provider {environment.provider}: this runs in local worker processes; use the operator for "
            f"{environment.provider}"
        )
    if environment.env_from:
        yield "spec.environment.envFrom is read in a cluster only; set these variables yourself before the run"
    if spec.workflow.source.path is None:
        yield "spec.workflow.source names no local folder: the workflow is imported from where batchyard itself is"
    for name, given in (("suspend", spec.suspend), ("cancel", spec.cancel)):
        if given:
            yield f"spec.{name} is for a running batch in a cluster; it is ignored here"
    if spec.parity.enabled and _is_same_place(spec, ray):
        yield (
            "spec.parity compares with the same kind of place here: it shows whether the trials come to the same twice"
        )


def _is_same_place(spec: BatchTestSpec, ray: RayConfig | None) -> bool:
    """Return whether both runs are in the same kind of place on this machine."""
    parity = spec.parity
    if (parity.against is Provider.RAY) != (ray is not None):
        return False
    return ray is not None or parity.isolation is spec.environment.isolation


def sharing_notices(started: Mapping[str, JSON], batch_id: str) -> Iterator[str]:
    """Yield one sentence for each node that was declared in ``sharedPrefix`` and is not shared, for the first few.

    ``started`` is what the batch's entry ``BatchStarted`` or ``BatchResumed`` has for its details.
    """
    not_shared = started.get("notShared")
    if not isinstance(not_shared, dict):
        return
    for node, why in list(not_shared.items())[:_NODES_NAMED]:
        yield f"node {node} is not shared: {why}"
    if len(not_shared) > _NODES_NAMED:
        yield (
            f"{len(not_shared) - _NODES_NAMED} more nodes are not shared: "
            f"batchyard audit list {batch_id} --type BatchStarted --output json"
        )
