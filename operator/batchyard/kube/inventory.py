"""Compares the BatchTests that are known with those that are there: at the beginning, and now and then.

A watch tells of changes, but not of a deletion that fell into a gap of it. Not for what is done about a BatchTest.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from batchyard.apiserver.errors import ApiError, Forbidden
from batchyard.kube.objects import GROUP_VERSION, PLURAL
from batchyard.model.errors import StaleLeader, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchyard.apiserver.client import ApiClient
    from batchyard.kube.batches import Batches
    from batchyard.kube.objects import Objects

_log = structlog.get_logger(__name__)

_SECONDS = 600.0
# A BatchTest may have 64 KiB of cases and 16 KiB of status, and takes ten times that while it is read.
_PAGE = 50


class Inventory:
    """Knows every BatchTest in the watched namespaces."""

    def __init__(
        self,
        api: ApiClient,
        batches: Batches,
        objects: Objects,
        namespaces: Sequence[str],
        wake: Callable[[str], None],
        heard: Callable[[], None],
    ) -> None:
        """No ``namespaces`` means all; ``wake`` has a BatchTest, named by its uid, looked at soon.

        ``heard`` is told that all could be listed: in an idle cluster a watch says nothing for as long as it likes.
        """
        self._api, self._batches, self._objects = api, batches, objects
        self._namespaces, self._wake, self._heard = tuple(namespaces), wake, heard
        self._refused: set[str] = set()

    async def run(self) -> None:
        """Take stock now and then until cancelled; what goes wrong is tried again the next time."""
        while True:
            await asyncio.sleep(_SECONDS)
            try:
                await self.take()
            except StaleLeader:
                raise
            except (ApiError, StoreError) as err:
                _log.warning("the BatchTests could not be listed", error=str(err))

    async def take(self) -> None:
        """List everything; have each BatchTest that is new, changed or gone looked at, and each open batch.

        A named namespace that may not be looked into is passed over. Where a Role in it gives the right to, that is how
        a namespace looks that is not there; so the second time in a row its BatchTests are gone.

        Raises ``ApiError`` or ``StoreError``.
        """
        before = {seen.ref.uid: seen for seen in self._objects}
        there, unsure = set(), set()
        for namespace in self._namespaces or (None,):
            try:
                async for body in self._api.list(GROUP_VERSION, PLURAL, namespace, page=_PAGE):
                    newest = self._objects.see(body)
                    there.add(newest.ref.uid)
                    if newest != before.get(newest.ref.uid):
                        self._wake(newest.ref.uid)
            except Forbidden as err:
                if namespace is None:
                    raise
                if namespace not in self._refused:
                    unsure.add(namespace)
                    self._refused.add(namespace)
                _log.warning("a namespace cannot be looked into; it may be gone", namespace=namespace, error=str(err))
            else:
                self._refused.discard(namespace or "")
        self._heard()
        for uid, seen in before.items():
            if seen.exists and uid not in there and seen.ref.namespace not in unsure:
                self._objects.lose(seen.ref)
                self._wake(uid)
        for _, ref in await self._batches.threads(self._batches.store.open_batches):
            if self._objects.get(ref.uid) is None and self._is_watched(ref.namespace) and ref.namespace not in unsure:
                self._objects.lose(ref)
                self._wake(ref.uid)

    def _is_watched(self, namespace: str) -> bool:
        return not self._namespaces or namespace in self._namespaces
