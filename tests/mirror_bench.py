"""A mirror between a fake API server and a fake store."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from batchyard.kube.health import Health
from batchyard.kube.mirror import EventMirror
from batchyard.metrics import Metrics
from batchyard.testing.fake_clock import FakeClock
from event_wire import POD, a_wire_event
from fake_events import FakeEventServer, FakeMirrorStore, in_this_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine


class Bench:
    """A mirror between a fake API server and a fake store. Made inside the event loop."""

    def __init__(self, *namespaces: str) -> None:
        self.clock, self.store, self.server = FakeClock(), FakeMirrorStore(), FakeEventServer()
        self.health, self.metrics = Health(self.clock), Metrics()
        self.slept: list[float] = []
        self.woken: list[str] = []
        self.known = {POD: "batch"}
        self.namespaces = namespaces

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
        await asyncio.sleep(0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        mirror = EventMirror(
            self.store,
            self.server,
            self.clock,
            self.metrics,
            namespaces=self.namespaces,
            owner_of=lambda namespace, name: self.known.get(name) if namespace == "team" else None,
            woken=self.woken.append,
            in_thread=in_this_thread,
            health=self.health,
            sleep=self._sleep,
        )
        task = asyncio.create_task(mirror.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def keys(self) -> list[str]:
        return list(self.store.rows)

    @property
    def place(self) -> str:
        return self.store.places.get("events", "").partition("@")[0]

    def tell(self, uid: str, version: int, **fields: Any) -> None:
        self.server.tell("ADDED", a_wire_event(uid, version=version, **fields))


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 30))
