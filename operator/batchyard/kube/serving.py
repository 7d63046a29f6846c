"""The operator's open ports: health and metrics from the first second, results as soon as it leads.

A standby answers workers that they must come again; so they find the leader, or this process once it leads.
"""

from __future__ import annotations

import asyncio
import hmac
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

import structlog

from batchyard.kube import read_api
from batchyard.kube.health import Health, Part
from batchyard.kube.http import Busy, Intake, metrics_app, results_app
from batchyard.kube.intake import token_of
from batchyard.kube.read_access import read_token_of
from batchyard.kube.server import listening
from batchyard.kube.tls import TlsFiles
from batchyard.metrics import Metrics
from batchyard.model.errors import StoreError

if TYPE_CHECKING:
    from batchyard.clock import Clock
    from batchyard.engine.cluster_ports import ClusterStore
    from batchyard.kube.body_budget import Shares
    from batchyard.kube.lease import LeaseLock
    from batchyard.kube.read_api import Reader
    from batchyard.kube.settings import OperatorSettings
    from batchyard.model.wire import Directive, Manifest, Receipt, Segment

_log = structlog.get_logger(__name__)

_STANDBY_SECONDS = 2.0
_BEAT_SECONDS = 1.0


class StandbyIntake:
    """Answers workers while this operator does not lead, and passes them on to ``leading`` once it does."""

    def __init__(self, key: bytes) -> None:
        """``key`` is the store's token key."""
        self._key = key
        self.leading: Intake | None = None

    def token_ok(self, batch_id: str, attempt: int, token: str) -> bool:
        """Return whether the token is that of this attempt, in constant time."""
        return hmac.compare_digest(token_of(self._key, batch_id, attempt), token)

    async def manifest(self, batch_id: str, attempt: int, pod: str) -> Manifest:
        """See ``Intake``."""
        return await self._leader().manifest(batch_id, attempt, pod)

    async def account(self, batch_id: str, attempt: int) -> Shares:
        """See ``Intake``."""
        return await self._leader().account(batch_id, attempt)

    async def segment(self, batch_id: str, attempt: int, seq: int, segment: Segment) -> Receipt:
        """See ``Intake``."""
        return await self._leader().segment(batch_id, attempt, seq, segment)

    async def heartbeat(self, batch_id: str, attempt: int, running: int) -> Directive:
        """See ``Intake``."""
        return await self._leader().heartbeat(batch_id, attempt, running)

    def _leader(self) -> Intake:
        if self.leading is None:
            raise Busy(_STANDBY_SECONDS)
        return self.leading


class Serving:
    """Holds the ports open while its context lasts."""

    def __init__(
        self, settings: OperatorSettings, store: ClusterStore, reader: Reader, lease: LeaseLock, clock: Clock
    ) -> None:
        """Open nothing yet. ``reader`` answers people's questions."""
        self._settings, self._reader, self._clock = settings, reader, clock
        self._store, self._lease = store, lease
        self._stack = AsyncExitStack()
        self.health = Health(clock)
        self.metrics = Metrics()
        self.key = store.token_key()
        self.intake = StandbyIntake(self.key)

    async def __aenter__(self) -> Self:
        """Open both ports. Raises ``OSError`` if one is taken, ``EnvironmentUnavailable`` for a bad certificate."""
        settings = self._settings
        metrics = metrics_app(self.metrics.render, self.health, clock=self._clock)
        tls = None
        if settings.tls_certificate is not None and settings.tls_key is not None:
            tls = TlsFiles(settings.tls_certificate, settings.tls_key)
        routes = read_api.routes(self._reader, read_token_of(self.key))
        results = results_app(self.intake, clock=self._clock, more=routes)
        stack = self._stack
        port = await stack.enter_async_context(listening(metrics, settings.metrics_host, settings.metrics_port))
        _log.info("serving metrics and health", port=port)
        port = await stack.enter_async_context(
            listening(results, settings.results_host, settings.results_port, ssl_context=tls.context if tls else None)
        )
        if tls is not None:
            await stack.enter_async_context(tls.watched())
        _log.info("serving results", port=port, tls=tls is not None)
        self.health.excuse(Part.RECONCILER)
        self.health.excuse(Part.WATCH)
        beating = asyncio.create_task(self._beat())
        stack.callback(beating.cancel)
        return self

    async def _beat(self) -> None:
        """Say how the parts are that have no voice of their own, in a standby too."""
        while True:
            if self._lease.is_fresh:
                self.health.beat(Part.LEASE)
            try:
                await asyncio.to_thread(self._store.leadership)
            except StoreError as err:
                self.metrics.store_failed()
                self.health.failed(Part.STORE, str(err))
            else:
                self.health.beat(Part.STORE)
            await asyncio.sleep(_BEAT_SECONDS)

    async def __aexit__(self, *_: object) -> None:
        """Close both ports."""
        await self._stack.aclose()
