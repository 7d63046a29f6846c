"""Ask worker processes what the workflows of all combinations have in common. Building them runs the user's code."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from batchyard.engine.marks import GraphMarks, ShareableNode
from batchyard.runners.check import workers_of_environments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchyard.clock import Clock
    from batchyard.engine.ports import EnvironmentProvider, RuntimeEnvironment
    from batchyard.model.trial import Combination
    from batchyard.runners.worker import Setup
    from batchyard.runners.workers import LedWorker


def workflow_marks(
    spawn: Callable[[RuntimeEnvironment], LedWorker],
    setup: Setup,
    provider: EnvironmentProvider,
    combinations: Sequence[Combination],
    declared: Sequence[ShareableNode],
    *,
    seconds: float,
    clock: Clock,
) -> list[GraphMarks]:
    """Return the marks of each combination's workflow, in order; none of one that cannot be built.

    Raises ``EnvironmentUnavailable`` if there is no finding out within ``seconds``.
    """
    nodes = [asdict(node) for node in declared]
    found: dict[str, GraphMarks] = {}
    for runtime, members, asked in workers_of_environments(
        spawn, setup, provider, combinations, seconds=seconds, clock=clock
    ):
        if asked.set_up(runtime):
            continue
        for combination in members:
            variants = dict(combination.variants)
            if not asked.ask({"op": "prepare", "variants": variants})["error"]:
                told = asked.ask({"op": "mark", "variants": variants, "nodes": nodes, "environment": runtime.key})
                found[combination.name] = GraphMarks(**told["found"])
    return [found.get(combination.name, GraphMarks()) for combination in combinations]
