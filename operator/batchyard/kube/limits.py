"""How much of a request is read, how fast it must come, and how often one client may ask.

Not for who may ask (``http``, ``read_api``), what all bodies may take (``body_budget``) nor for sockets (``server``).
"""

from __future__ import annotations

import asyncio
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from batchyard.kube.refusals import Refused
from batchyard.kube.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from batchyard.clock import Clock
    from batchyard.kube.body_budget import Hold

_MIB = 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_STEP_BYTES = _MIB
_CLIENTS_KEPT = 1024
_UNPACKED = frozenset({"", "identity"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one endpoint bears; every default fits an operator that has 256 MiB.

    ``inflation`` is how many times its packed size a gzip body may have once it is over one MiB. ``memory_bytes`` and
    ``bodies`` bound the bodies of all requests under way together, and ``patience_seconds`` is how long one may wait
    for a place among them. ``idle_seconds`` is also how long a client may take from connecting to the end of its
    headers. ``at_once`` and ``burst`` are how many requests one worker may have under way, and send without a pause;
    ``rate`` is how many a second it may send in the long run. ``readers`` is how many questions of people are answered
    at once, and ``reports`` how many of these may be reports.
    """

    body_bytes: int = 8 * _MIB
    inflated_bytes: int = 64 * _MIB
    inflation: int = 256
    small_bytes: int = 4096
    memory_bytes: int = 96 * _MIB
    bodies: int = 16
    read_seconds: float = 60.0
    send_seconds: float = 60.0
    idle_seconds: float = 30.0
    patience_seconds: float = 5.0
    linger_seconds: float = 2.0
    connections: int = 4096
    at_once: int = 4
    burst: int = 100
    rate: float = 50.0
    readers: int = 4
    reports: int = 1
    page_bytes: int = 4 * _MIB


@dataclass(slots=True)
class _Client:
    bucket: TokenBucket
    under_way: int = 0


class Turns:
    """Lets no client take what is there for all of them. Every method belongs to the event loop's thread."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        """Begin with no client known."""
        self._limits, self._clock = limits, clock
        self._clients: dict[Hashable, _Client] = {}

    @contextmanager
    def turn(self, who: Hashable) -> Iterator[None]:
        """Let one request of this client go on. Raises ``Refused`` (429) if it has too many under way, or too often."""
        now = self._clock.monotonic()
        client = self._clients.get(who) or self._met(who, now)
        if client.under_way >= self._limits.at_once:
            raise _too_many(f"{client.under_way} requests of this worker are under way", 1.0)
        wait = client.bucket.wait(now)
        if wait > 0:
            raise _too_many("this worker sends too much", wait)
        client.bucket.take(now)
        client.under_way += 1
        try:
            yield
        finally:
            client.under_way -= 1

    def _met(self, who: Hashable, now: float) -> _Client:
        if len(self._clients) >= _CLIENTS_KEPT:
            for known, client in [*self._clients.items()]:
                if not client.under_way and client.bucket.is_full(now):
                    del self._clients[known]
        client = self._clients[who] = _Client(TokenBucket(self._limits.rate, self._limits.burst, now))
        return client


def _too_many(why: str, seconds: float) -> Refused:
    return Refused(HTTPStatus.TOO_MANY_REQUESTS, f"{why}; send this again a little later", retry_after=seconds)


async def read_body(request: web.BaseRequest, hold: Hold, limits: Limits, *, most: int) -> bytes:
    """Return the body, unpacked, of at most ``most`` bytes as it is sent. Raises ``Refused``."""
    packed = request.headers.get("Content-Encoding", "").strip().lower()
    if packed not in _UNPACKED | {"gzip"}:
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "this Content-Encoding is not known; send gzip or none")
    announced = request.content_length
    if announced is not None and announced > most:
        raise _too_large(most)
    if announced:
        hold.grow(announced)
    try:
        async with asyncio.timeout(limits.read_seconds):
            body = await _read(request, hold, most, counted=announced is not None)
    except TimeoutError as err:
        raise Refused(
            HTTPStatus.REQUEST_TIMEOUT, f"the body did not come within {limits.read_seconds:g} s; send it again"
        ) from err
    except (web.RequestPayloadError, ConnectionError) as err:
        # No worker is to take this for its last word: it sends again what did not arrive.
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, "the body broke off; send it again") from err
    return await _inflated(body, hold, limits) if packed == "gzip" else body


async def _read(request: web.BaseRequest, hold: Hold, most: int, *, counted: bool) -> bytes:
    await _go_on(request)
    chunks = []
    size = 0
    while chunk := await request.content.readany():
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        if not counted:
            hold.grow(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


async def _go_on(request: web.BaseRequest) -> None:
    # Only now: whoever is refused before is spared sending its body.
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _inflated(body: bytes, hold: Hold, limits: Limits) -> bytes:
    most = min(limits.inflated_bytes, max(_MIB, limits.inflation * len(body)))
    unpacker = zlib.decompressobj(_GZIP)
    pieces = []
    size = 0
    rest = body
    try:
        while not unpacker.eof:
            piece = unpacker.decompress(rest, _STEP_BYTES)
            rest = unpacker.unconsumed_tail
            if not piece and not rest:
                break
            size += len(piece)
            if size > most:
                raise _too_large(most)
            hold.grow(len(piece))
            pieces.append(piece)
            # Others want to be heard between two pieces.
            await asyncio.sleep(0)
    except zlib.error as err:
        raise Refused(HTTPStatus.BAD_REQUEST, "the body is no gzip, although its Content-Encoding says so") from err
    if not unpacker.eof or unpacker.unused_data:
        raise Refused(HTTPStatus.BAD_REQUEST, "the gzip body is cut off or followed by something else")
    return b"".join(pieces)


def _too_large(most: int) -> Refused:
    return Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {most} bytes; send less at once", most=most
    )
