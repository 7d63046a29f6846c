"""Kopf as the watcher: what it sees wakes the queue, and that is all. Thin on purpose; nothing is decided here.

Only ``on.event`` handlers: they leave no annotation and no finalizer on any object.
"""

from __future__ import annotations

import asyncio
import logging
import re
import signal
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import kopf

from batchyard.environments.manifests import MANAGED_SELECTOR
from batchyard.kube.objects import PLURAL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from batchyard.kube.objects import Objects
    from batchyard.kube.queue import WorkQueue

    Watch: TypeAlias = Callable[[kopf.OperatorRegistry, Sequence[str], asyncio.Event], Awaitable[None]]

_KIND = "BatchTest"
# One watch is not told anything for this long, bookmarks included: it is dead, whatever the socket says.
_INACTIVITY_SECONDS = 90
_IDLE_SECONDS = 0.2
_SERVER_SECONDS = 240
_PAUSES_SECONDS = (1, 1, 2, 3, 5, 8, 13)
_LONGEST_PAUSE_SECONDS = 20
# Kopf's own module, which says "Request attempt #3 failed" of every try.
_TRIES_LOGGER = "kopf._cogs.clients.watching"
_TOLD_OF = frozenset({1, 4, 16, 64})
_EVERY = 256


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
        # One that runs trials of another again: that one waits for it.
        _wake_owners(event)

    async def _child(event: Mapping[str, Any], **_: Any) -> None:
        heard()
        _wake_owners(event)

    def _wake_owners(event: Mapping[str, Any]) -> None:
        for owner in event["object"]["metadata"].get("ownerReferences") or []:
            if owner["kind"] == _KIND:
                queue.add(owner["uid"])

    kopf.on.event("ray.io", "v1", "rayclusters", labels=MANAGED_SELECTOR, registry=registry)(_child)
    kopf.on.event("batch", "v1", "jobs", labels=MANAGED_SELECTOR, registry=registry)(_child)
    return registry


class Patience:
    """How long to wait before each further try of a request, in seconds: without an end."""

    def __iter__(self) -> Iterator[float]:
        """Yield the pauses anew."""
        return chain(_PAUSES_SECONDS, repeat(_LONGEST_PAUSE_SECONDS))


class SeldomTold(logging.Filter):
    """Lets ever fewer of the tries through that a request has failed, so that one namespace fills no log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is worth a line."""
        found = re.match(r"Request attempt #(\d+)", record.getMessage())
        return found is None or int(found[1]) in _TOLD_OF or int(found[1]) % _EVERY == 0


_seldom_told = SeldomTold()


async def watch(registry: kopf.OperatorRegistry, namespaces: Sequence[str], stop: asyncio.Event) -> None:
    """Watch until told to stop: the named namespaces, or all of them if there are none.

    A named namespace may come, go and come again. There need be no right to look at namespaces: while one is not there
    it is asked for again and again. What kinds there are is then looked at once, at the beginning.
    """
    # Kopf tells of every event at INFO.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger(_TRIES_LOGGER).addFilter(_seldom_told)
    others = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=_settings(namespaces),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        stop_flag=stop,
    )
    # Kopf has just taken both signals, and would end alone, without a word to whoever waits for the flag.
    heed_signals(stop)
    await kopf.run_tasks(tasks, ignored=others)


def heed_signals(stop: asyncio.Event) -> None:
    """Have SIGTERM and SIGINT set the flag from now on, whoever heeded them before."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _settings(namespaces: Sequence[str]) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    # For so long each object that was heard of keeps a task and its last body; nothing is put off by their end.
    settings.queueing.idle_timeout = _IDLE_SECONDS
    settings.watching.server_timeout = _SERVER_SECONDS
    settings.watching.inactivity_timeout = _INACTIVITY_SECONDS
    if namespaces:
        # Kopf would watch Namespaces and drop one for good that goes, or end if it may not look into one any more.
        settings.scanning.disabled = True
        settings.networking.error_backoffs = Patience()
    return settings
