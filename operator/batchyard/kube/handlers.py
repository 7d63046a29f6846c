"""Kopf as the watcher: what it sees wakes the queue, and that is all. Thin on purpose; nothing is decided here.

Only ``on.event`` handlers: they leave no annotation and no finalizer on any object.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import kopf

from batchyard.environments.manifests import MANAGED_SELECTOR
from batchyard.kube.objects import PLURAL

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import TypeAlias

    from batchyard.kube.objects import Objects
    from batchyard.kube.queue import WorkQueue

    Watch: TypeAlias = Callable[[kopf.OperatorRegistry, Sequence[str], asyncio.Event], Awaitable[None]]

_KIND = "BatchTest"
# One watch is not told anything for this long, bookmarks included: it is dead, whatever the socket says.
_INACTIVITY_SECONDS = 90
_IDLE_SECONDS = 0.2
_SERVER_SECONDS = 240


def registry_of(objects: Objects, queue: WorkQueue, heard: Callable[[], None]) -> kopf.OperatorRegistry:
    """Return Kopf's handlers; ``heard`` is told that a watch said something."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def _log_in(**given: Any) -> kopf.ConnectionInfo | None:
        # Not by way of the official client: its models would be a third of this process.
        return kopf.login_with_service_account(**given) or kopf.login_with_kubeconfig(**given)

    @kopf.on.event("batchyard.dev", "v1alpha1", PLURAL, registry=registry)
    async def _batch_test(event: Mapping[str, Any], **_: Any) -> None:
        heard()
        queue.add(objects.see(event["object"], deleted=event["type"] == "DELETED").ref.uid)

    async def _child(event: Mapping[str, Any], **_: Any) -> None:
        heard()
        for owner in event["object"]["metadata"].get("ownerReferences") or []:
            if owner["kind"] == _KIND:
                queue.add(owner["uid"])

    kopf.on.event("ray.io", "v1", "rayclusters", labels=MANAGED_SELECTOR, registry=registry)(_child)
    kopf.on.event("batch", "v1", "jobs", labels=MANAGED_SELECTOR, registry=registry)(_child)
    return registry


async def watch(registry: kopf.OperatorRegistry, namespaces: Sequence[str], stop: asyncio.Event) -> None:
    """Watch until told to stop: the named namespaces, or all of them if there are none."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    # For so long each object that was heard of keeps a task and its last body; nothing is put off by their end.
    settings.queueing.idle_timeout = _IDLE_SECONDS
    settings.watching.server_timeout = _SERVER_SECONDS
    settings.watching.inactivity_timeout = _INACTIVITY_SECONDS
    # Who was told what to watch may not look for more; and need not.
    settings.scanning.disabled = bool(namespaces)
    # Kopf tells of every event at INFO.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    await kopf.operator(
        registry=registry,
        settings=settings,
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        stop_flag=stop,
    )
