"""Serves one of the operator's endpoints on a real socket in a thread, and asks it as plainly as can be."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batchyard.kube.server import App, listening

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping

_START_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


@dataclass(slots=True)
class Served:
    """A running endpoint. ``call`` runs something in its event loop's thread."""

    port: int
    loop: asyncio.AbstractEventLoop
    tls: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def ask(
        self, path: str, body: bytes | None = None, *, method: str = "", headers: Mapping[str, str | None] | None = None
    ) -> Answered:
        """Send one request on a connection of its own; a header that is None is left out."""
        with closing(self.connection()) as connection:
            given = {**self.headers, **(headers or {})}
            connection.request(
                method or ("GET" if body is None else "POST"),
                path,
                body,
                {name: value for name, value in given.items() if value is not None},
            )
            answer = connection.getresponse()
            return Answered(answer.status, dict(answer.getheaders()), answer.read())

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection that is not open yet."""
        if self.tls is not None:
            return http.client.HTTPSConnection("localhost", self.port, timeout=30, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a function in the event loop's thread and return what it returns."""

        async def called() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(_START_SECONDS)


@contextmanager
def served(make: Callable[[], App], *, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Served]:
    """Serve the app that ``make`` returns while the context lasts; ``tls`` is the server's, and port 0 a free one."""
    started: list[Served] = []
    failed: list[BaseException] = []
    ready, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with listening(make(), "127.0.0.1", port, ssl_context=tls) as bound:
            started.append(Served(bound, asyncio.get_running_loop()))
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as err:
            failed.append(err)
            raise
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="endpoint")
    thread.start()
    assert ready.wait(_START_SECONDS)
    assert not failed
    try:
        yield started[0]
    finally:
        started[0].loop.call_soon_threadsafe(stop.set)
        thread.join(_START_SECONDS)
        assert not thread.is_alive()
