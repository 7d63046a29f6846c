"""The operator as a process: opens the store, serves health and metrics, becomes leader, then watches and acts.

Wires the parts of ``kube``; decides nothing. If leadership or the watch is lost it ends, and is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from batchyard.kube.handlers import heed_signals, watch
from batchyard.kube.leading import Leading
from batchyard.kube.lease import LeadershipLost, LeaseLock
from batchyard.kube.serving import Serving
from batchyard.model.errors import StaleLeader
from batchyard.tracing import open_traces

if TYPE_CHECKING:
    from batchyard.apiserver.client import ApiClient
    from batchyard.clock import Clock
    from batchyard.engine.cluster_ports import ClusterStore
    from batchyard.kube.handlers import Watch
    from batchyard.kube.read_api import Reader
    from batchyard.kube.settings import OperatorSettings

_log = structlog.get_logger(__name__)

EXIT_STOPPED = 0
EXIT_LOST = 4


class Operator:
    """One operator process. Whoever made ``api`` and ``store`` closes them."""

    def __init__(
        self,
        settings: OperatorSettings,
        api: ApiClient,
        store: ClusterStore,
        reader: Reader,
        clock: Clock,
        *,
        watch: Watch = watch,
    ) -> None:
        """``store`` must have the newest schema."""
        self._settings, self._api, self._store, self._reader = settings, api, store, reader
        self._clock, self._watch = clock, watch
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """End soon, as SIGTERM does."""
        self._stop.set()

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT (0), or until leadership or the watch is lost (4)."""
        settings = self._settings
        lease = LeaseLock(
            self._api, settings.namespace, settings.lease_name, settings.identity, self._clock,
            seconds=settings.lease_seconds,
        )  # fmt: skip
        async with AsyncExitStack() as stack:
            serving = await stack.enter_async_context(Serving(settings, self._store, self._reader, lease, self._clock))
            self._api.on_request = serving.metrics.api_request
            heed_signals(self._stop)
            traces = stack.enter_context(open_traces())
            if not await self._until_stopped(lease.acquire()):
                return EXIT_STOPPED
            stack.push_async_callback(lease.release)
            leading = Leading(
                settings, api=self._api, store=self._store, lease=lease, serving=serving, clock=self._clock,
                watch=self._watch, stop=self._stop,
                traces=traces,
            )  # fmt: skip
            try:
                await leading.run()
            except ExceptionGroup as group:
                lost = group.subgroup((StaleLeader, LeadershipLost))
                if lost is None:
                    raise
                _log.error("another operator took over", error=str(lost.exceptions[0]))
                return EXIT_LOST
        return EXIT_STOPPED if self._stop.is_set() else EXIT_LOST

    async def _until_stopped(self, waiting: object) -> bool:
        """Wait for the coroutine, but not longer than until told to stop; return whether it ended."""
        work, stop = asyncio.ensure_future(waiting), asyncio.ensure_future(self._stop.wait())  # type: ignore[call-overload]
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        done = bool(work.done())
        for task in (work, stop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return done
