"""What a user should know of a local run: where it differs from what the file says or asks for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.decide.prefixes import START
from batchyard.model.rules import shortened_list
from batchyard.model.spec_environment import Isolation, Provider

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchyard.config import RayConfig
    from batchyard.model.matrix import Plan
    from batchyard.model.spec import BatchTestSpec
    from batchyard.model.trial import JSON


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


def limits_of_sharing(spec: BatchTestSpec, plan: Plan) -> Iterator[str]:
    """Yield why nodes that are declared in ``sharedPrefix`` are not shared, as far as the file itself says."""
    if spec.workflow.shared_prefix is None:
        return
    if len(plan.combinations) < 2:
        yield "spec.workflow.sharedPrefix shares nothing: there is one combination only"
    elif answered := sum(bool(case.answers) for case in plan.cases):
        yield f"{answered} of {len(plan.cases)} cases have answers: their trials share nothing"


def sharing_notices(started: Mapping[str, JSON]) -> Iterator[str]:
    """Yield a sentence for each reason why nodes that were declared in ``sharedPrefix`` are not shared.

    ``started`` is what the batch's entry ``BatchStarted`` or ``BatchResumed`` has for its details.
    """
    not_shared = started.get("notShared")
    nodes_by_reason: dict[str, list[str]] = {}
    for node, why in not_shared.items() if isinstance(not_shared, dict) else ():
        nodes_by_reason.setdefault(why, []).append(node)
    for why, nodes in nodes_by_reason.items():
        if START in nodes:
            yield f"nothing is shared, because of where the graph begins or what its state is: {why}"
            nodes.remove(START)
        if nodes:
            verb = "node {} is" if len(nodes) == 1 else "nodes {} are"
            yield f"{verb.format(shortened_list(nodes))} not shared: {why}"
