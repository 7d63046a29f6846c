"""Looks now and then after what was given to an operator from outside and can be taken away while it leads.

That is the right to look into each watched namespace, and the Secret that lets people read results. Not for BatchTests.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from batchyard.apiserver.errors import ApiError, Forbidden
from batchyard.kube.objects import GROUP_VERSION, PLURAL
from batchyard.kube.read_access import publish_read_access

if TYPE_CHECKING:
    from batchyard.apiserver.client import ApiClient
    from batchyard.kube.health import Health
    from batchyard.kube.settings import OperatorSettings

_log = structlog.get_logger(__name__)

_SECONDS = 60.0


class Upkeep:
    """Mends what it may mend, and tells ``health`` of the rest."""

    def __init__(
        self, settings: OperatorSettings, api: ApiClient, health: Health, token: str, *, seconds: float = _SECONDS
    ) -> None:
        """``token`` is the one that lets people read results."""
        self._settings, self._api, self._health = settings, api, health
        self._token, self._seconds = token, seconds
        self._shut_out: dict[str, str] = {}

    async def run(self) -> None:
        """Look now and then until cancelled."""
        while True:
            await asyncio.sleep(self._seconds)
            await self.look()

    async def look(self) -> None:
        """Look once."""
        await publish_read_access(self._api, self._settings.namespace, self._token, self._settings.results_url)
        for namespace in self._settings.namespaces:
            await self._look_into(namespace)
        self._health.shut_out(self._shut_out)

    async def _look_into(self, namespace: str) -> None:
        try:
            await self._api.list_page(GROUP_VERSION, PLURAL, namespace, limit=1)
        except Forbidden as err:
            if namespace not in self._shut_out:
                _log.warning("a watched namespace is not served: no right to look into it", namespace=namespace)
            self._shut_out[namespace] = str(err)
        except ApiError:
            return  # of this namespace that says nothing
        else:
            if self._shut_out.pop(namespace, None) is not None:
                _log.info("a watched namespace is served again", namespace=namespace)
