"""A Ray actor as the driver holds it: made, asked, killed. The one module of the runners that imports Ray.

Nothing here is ever tried again by Ray: an attempt that was lost is the engine's to repeat.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Protocol

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from batchyard.runners.ray_slot import SlotHost, SlotPlan

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

_CONTROL = {"control": 3}
"""Threads of the actor besides the one that an attempt waits in: one lives, one stops, one closes."""

_RESOURCES: tuple[Callable[[], dict[str, float]], ...] = (ray.cluster_resources, ray.available_resources)


class Actor(Protocol):
    """What the runner needs of an actor. Nothing waits."""

    def ask(self, method: str, *arguments: object) -> Future[Any]:
        """Call a method of ``SlotHost``; the future has what it returned, or why there will be no answer."""
        ...

    def kill(self) -> None:
        """End the actor's process by force; what was asked of it then fails."""
        ...


class Actors(Protocol):
    """Makes actors."""

    def make(self, number: int) -> Actor:
        """Ask for the actor of slot ``number``; it may be long until it answers."""
        ...

    def room(self) -> str:
        """Say in words what an actor needs and what there is."""
        ...


class RayActors:
    """Makes actors in the cluster that this process is connected to."""

    def __init__(self, plan: SlotPlan, cpus: float, *, pinned: bool = False) -> None:
        """Have every actor carry out ``plan`` with so many processors, on this process's own node if ``pinned``."""
        self._plan = ray.put(plan)  # once for all actors: it may hold a thousand cases
        self._cpus = cpus
        # Not detached: the actors end when the driver does, however it does.
        options: dict[str, Any] = {"num_cpus": cpus, "max_restarts": 0, "max_task_retries": 0}
        if pinned:
            here = ray.get_runtime_context().get_node_id()
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(here, soft=False)
        self._class: Any = _remote_class().options(**options)

    def make(self, number: int) -> Actor:
        """Ask for the actor of slot ``number``."""
        return _RayActor(self._class.remote(number, self._plan))

    def room(self) -> str:
        """Say how many processors an actor needs and the cluster has."""
        there, free = (found().get("CPU", 0.0) for found in _RESOURCES)
        return f"each needs {self._cpus:g} CPU; the Ray cluster has {there:g}, of which {free:g} are free"


class _RayActor:
    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def ask(self, method: str, *arguments: object) -> Future[Any]:
        call = getattr(self._handle, method)
        if method not in {"run", "more"}:
            call = call.options(concurrency_group="control")
        answer: Future[Any] = call.remote(*arguments).future()
        return answer

    def kill(self) -> None:
        ray.kill(self._handle, no_restart=True)


@functools.cache
def _remote_class() -> Any:
    # The overloads of ``ray.remote`` leave out what only classes take.
    as_actor: Any = ray.remote
    return as_actor(concurrency_groups=_CONTROL)(SlotHost)
