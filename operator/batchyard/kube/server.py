"""A small HTTP server: exact routes, JSON errors, no word about what it is made of, and time-outs on both directions.

Not for what the routes answer (``http``, ``read_api``) nor for bodies (``limits``).
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from aiohttp import web

from batchyard.kube.refusals import Refused

if TYPE_CHECKING:
    import re
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from batchyard.clock import Clock
    from batchyard.kube.limits import Limits

_log = structlog.get_logger(__name__)

_HANDSHAKE_SECONDS = 10.0
_GOODBYE_SECONDS = 5.0
_LONGEST_LINE = 4096
_MOST_HEADERS = 64
_NO_ROUTE = "none"


class Meter(Protocol):
    """Counts requests. Called from the event loop's thread; never raises."""

    def request_answered(self, route: str, status: int, seconds: float) -> None:
        """Hear that a request of this route (a fixed name, never a path) was answered."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """One path with one method. ``path`` must match the whole path as it was sent; its groups go to ``answer``."""

    name: str
    method: str
    path: re.Pattern[str]
    answer: Callable[[web.BaseRequest, Mapping[str, str]], Awaitable[web.StreamResponse]]


class Router:
    """Finds the route of a request, has it answered, and tells the log and the meter."""

    def __init__(self, routes: Sequence[Route], *, limits: Limits, clock: Clock, meter: Meter | None) -> None:
        """Take the routes as they are; the first that fits wins."""
        self._routes = tuple(routes)
        self._limits = limits
        self._clock = clock
        self._meter = meter

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; whatever goes wrong becomes an answer too."""
        began = self._clock.monotonic()
        name, fields, response = await self._answered(request)
        await self._send(request, response)
        self._tell(name, fields, response.status, self._clock.monotonic() - began)
        return response

    async def _answered(self, request: web.BaseRequest) -> tuple[str, Mapping[str, str], web.StreamResponse]:
        name, fields = _NO_ROUTE, dict[str, str]()
        try:
            route, fields = self._find(request)
            name = route.name
            return name, fields, await route.answer(request, fields)
        except Refused as refused:
            return name, fields, refused.response()
        except Exception:  # the boundary: one request that cannot be handled must not end its connection's task
            _log.exception("a request could not be handled", route=name, **fields)
            sorry = "this is a fault of the operator's own; its log has more"
            return name, fields, Refused(HTTPStatus.INTERNAL_SERVER_ERROR, sorry, retry_after=5).response()

    def _find(self, request: web.BaseRequest) -> tuple[Route, dict[str, str]]:
        path, _, _ = request.raw_path.partition("?")
        methods = []
        for route in self._routes:
            match = route.path.fullmatch(path)
            if match is not None:
                if route.method == request.method:
                    return route, match.groupdict()
                methods.append(route.method)
        if methods:
            allowed = ", ".join(sorted(methods))
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"this path takes {allowed} only", headers={"Allow": allowed})
        raise Refused(HTTPStatus.NOT_FOUND, "there is nothing at this path; see docs/results-endpoint.md")

    async def _send(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        try:
            async with asyncio.timeout(self._limits.send_seconds):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            # A reader that reads no more would keep the whole answer in memory.
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            _log.debug("a client went away before its answer")

    def _tell(self, route: str, fields: Mapping[str, str], status: int, seconds: float) -> None:
        if self._meter is not None:
            self._meter.request_answered(route, status, seconds)
        # Never the path: what does not belong in one, such as a token, may stand in it.
        write = _log.debug if status < HTTPStatus.BAD_REQUEST else _log.info
        write("request answered", route=route, status=status, seconds=round(seconds, 6), **fields)


class _Request(web.BaseRequest):
    """A request whose answer does not say which library gave it."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.pop("Server", None)


class _Connection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Refuse what is no HTTP; the library's own text would quote it."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        response = Refused(HTTPStatus(status), "the request cannot be read as HTTP/1.1").response()
        response.force_close()
        return response


class _TooMany(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class App(web.Server):
    """Answers requests by a router; made inside a running event loop, given to ``listening``."""

    def __init__(self, router: Router, limits: Limits) -> None:
        """Bind the router; nothing is listened to yet."""
        super().__init__(
            router,
            request_factory=self._request,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=limits.idle_seconds,
            lingering_time=limits.linger_seconds,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
            max_headers=_MOST_HEADERS,
        )
        self._most = limits.connections

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> _Request:
        return _Request(message, payload, protocol, writer, task, self._loop)

    def __call__(self) -> Any:
        """Return the protocol of one new connection, one that closes it if there are too many."""
        if len(self.connections) >= self._most:
            return _TooMany()
        return _Connection(self, loop=self._loop, **self._kwargs)


@asynccontextmanager
async def listening(
    app: App, host: str | None, port: int, *, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve ``app`` while the context lasts; gives the port, which is a free one for 0. Raises ``OSError``."""
    loop = asyncio.get_running_loop()
    handshake = None if ssl_context is None else _HANDSHAKE_SECONDS
    listener = await loop.create_server(
        app, host, port, ssl=ssl_context, ssl_handshake_timeout=handshake, backlog=1024, reuse_address=True
    )
    try:
        yield int(listener.sockets[0].getsockname()[1])
    finally:
        listener.close()
        app.pre_shutdown()
        await app.shutdown(_GOODBYE_SECONDS)
