"""What workers and scrapers may ask the operator over HTTP: manifests, segments, heartbeats, metrics, health.

Everything else is refused. Not for what is done with what workers send (``intake``), nor for people's questions
(``read_api``), sockets (``server``) and bodies (``limits``).
"""

from __future__ import annotations

import asyncio
import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, TypeVar

from aiohttp import web

from batchyard.kube.bearer import bearer, unauthorised
from batchyard.kube.body_budget import BodyBudget
from batchyard.kube.limits import Limits, Turns, read_body
from batchyard.kube.refusals import Refused, answer, json_answer
from batchyard.kube.server import App, Route, Router
from batchyard.model.errors import BatchNotFound, BatchyardError, StoreError
from batchyard.model.wire import POD_HEADER, Segment, WireInvalid, running_from

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from batchyard.clock import Clock
    from batchyard.kube.body_budget import Shares
    from batchyard.kube.server import Meter
    from batchyard.model.trial import JSON
    from batchyard.model.wire import Directive, Manifest, Receipt

T = TypeVar("T")

_NUMBER = "[1-9][0-9]{0,8}"
_ATTEMPT = rf"/v1/batches/(?P<batch>[a-z0-9][a-z0-9.-]{{0,62}})/attempts/(?P<attempt>{_NUMBER})"
_MANIFEST = re.compile(rf"{_ATTEMPT}/manifest")
_SEGMENT = re.compile(rf"{_ATTEMPT}/segments/(?P<seq>{_NUMBER})")
_HEARTBEAT = re.compile(rf"{_ATTEMPT}/heartbeat")

_STORE_RETRY_SECONDS = 5.0


class Superseded(BatchyardError):
    """A newer attempt has the batch, or it is over: the worker that asked can end."""


class OutOfOrder(BatchyardError):
    """A segment came before one that is missing; ``next`` is the one that is wanted."""

    def __init__(self, wanted: int) -> None:
        """Keep the number of the segment that is wanted."""
        super().__init__(f"segment {wanted} is missing; send it first")
        self.next = wanted


class Busy(BatchyardError):
    """Nothing is wrong, but it must wait ``retry_after`` seconds."""

    def __init__(self, retry_after: float) -> None:
        """Keep how long to wait."""
        super().__init__(f"the operator cannot take this now; send it again in {retry_after:g} s")
        self.retry_after = retry_after


class TooEarly(Exception):
    """The place is not ready yet; its worker gets its manifest when it is."""


class Intake(Protocol):
    """Takes in what workers send. Called in the event loop.

    Every method but ``token_ok`` raises ``Superseded``, ``Busy`` or ``StoreError``; a call may be repeated.
    """

    def token_ok(self, batch_id: str, attempt: int, token: str) -> bool:
        """Return whether the token is that of this attempt: quickly, in constant time, and without asking the store.

        ``token`` is plain ASCII.
        """
        ...

    async def manifest(self, batch_id: str, attempt: int, pod: str) -> Manifest:
        """Return what the attempt has to do to the worker in a pod, "" if it does not say. Raises ``TooEarly``."""
        ...

    async def account(self, batch_id: str, attempt: int) -> Shares:
        """Return on whose accounts a segment is read, before it is; refuse one that would be of no use."""
        ...

    async def segment(self, batch_id: str, attempt: int, seq: int, segment: Segment) -> Receipt:
        """Write a segment down; durable when it returns. Raises ``OutOfOrder`` for a gap."""
        ...

    async def heartbeat(self, batch_id: str, attempt: int, running: int) -> Directive:
        """Note that the worker lives and runs so many trials."""
        ...


class Health(Protocol):
    """Says how the operator is. Called in the event loop; quick."""

    def live(self) -> Sequence[str]:
        """Return what only a restart can mend, a sentence each; empty if nothing is."""
        ...

    def ready(self) -> Sequence[str]:
        """Return what keeps the operator from serving now, a sentence each; empty if nothing does."""
        ...

    def unserved(self) -> Sequence[str]:
        """Return what keeps it from serving some namespaces but not the others, a sentence each."""
        ...


def results_app(
    intake: Intake,
    *,
    clock: Clock,
    limits: Limits | None = None,
    meter: Meter | None = None,
    more: Iterable[Route] = (),
) -> App:
    """Return the results endpoint; ``more`` are further routes on its port, such as ``read_api.routes``."""
    bounds = limits or Limits()
    endpoint = _Endpoint(intake, bounds, clock)
    routes = [
        Route("manifest", "GET", _MANIFEST, endpoint.manifest),
        Route("segment", "POST", _SEGMENT, endpoint.segment),
        Route("heartbeat", "POST", _HEARTBEAT, endpoint.heartbeat),
        *more,
    ]
    return App(Router(routes, limits=bounds, clock=clock, meter=meter), bounds)


def metrics_app(
    render: Callable[[str], tuple[bytes, str]],
    health: Health,
    *,
    clock: Clock,
    limits: Limits | None = None,
) -> App:
    """Return the endpoint of ``/metrics``, ``/healthz`` and ``/readyz``; needs no token and says nothing of batches.

    ``render`` takes the request's Accept header and returns the metrics with their content type.
    """
    bounds = limits or Limits()

    async def metrics(request: web.BaseRequest, _fields: Mapping[str, str]) -> web.StreamResponse:
        body, kind = await asyncio.to_thread(render, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": kind, "Cache-Control": "no-store"})

    def probe(
        problems: Callable[[], Sequence[str]], lesser: Callable[[], Sequence[str]] = list
    ) -> Callable[..., Awaitable[web.StreamResponse]]:
        async def answered(_request: web.BaseRequest, _fields: Mapping[str, str]) -> web.StreamResponse:
            found = list(problems())
            status = HTTPStatus.SERVICE_UNAVAILABLE if found else HTTPStatus.OK
            return answer({"ok": not found, "problems": [*found, *lesser()]}, status=status)

        return answered

    routes = [
        Route("metrics", "GET", re.compile("/metrics"), metrics),
        Route("healthz", "GET", re.compile("/healthz"), probe(health.live)),
        Route("readyz", "GET", re.compile("/readyz"), probe(health.ready, health.unserved)),
    ]
    return App(Router(routes, limits=bounds, clock=clock, meter=None), bounds)


class _Endpoint:
    def __init__(self, intake: Intake, limits: Limits, clock: Clock) -> None:
        self._intake = intake
        self._limits = limits
        self._turns = Turns(limits, clock)
        self._segments = BodyBudget(limits, bodies=limits.bodies)
        # Apart, so that heartbeats never wait behind results.
        self._beats = Turns(limits, clock)
        self._heartbeats = BodyBudget(limits, bodies=limits.connections)

    async def manifest(self, request: web.BaseRequest, fields: Mapping[str, str]) -> web.StreamResponse:
        who = self._authorised(request, fields)
        with self._turns.turn(who):
            manifest = await _told(self._intake.manifest(*who, request.headers.get(POD_HEADER, "")))
            # All cases inline can be many megabytes: neither written nor packed in the event loop.
            response = json_answer(await asyncio.to_thread(_written, manifest.to_json))
        response.enable_compression()
        return response

    async def segment(self, request: web.BaseRequest, fields: Mapping[str, str]) -> web.StreamResponse:
        who = self._authorised(request, fields)
        _check_json(request)
        with self._turns.turn(who):
            shares = await _told(self._intake.account(*who))
            async with self._segments.hold(shares) as hold:
                body = await read_body(request, hold, self._limits, most=self._limits.body_bytes)
                segment = await asyncio.to_thread(_parsed, body, Segment.from_json)
                receipt = await _told(self._intake.segment(*who, int(fields["seq"]), segment))
        return answer(receipt.to_json())

    async def heartbeat(self, request: web.BaseRequest, fields: Mapping[str, str]) -> web.StreamResponse:
        who = self._authorised(request, fields)
        _check_json(request)
        with self._beats.turn(who):
            async with self._heartbeats.hold() as hold:
                body = await read_body(request, hold, self._limits, most=self._limits.small_bytes)
                running = _parsed(body, running_from)
                directive = await _told(self._intake.heartbeat(*who, running))
        return answer({"directive": directive})

    def _authorised(self, request: web.BaseRequest, fields: Mapping[str, str]) -> tuple[str, int]:
        batch, attempt = fields["batch"], int(fields["attempt"])
        token = bearer(request.headers.get("Authorization"))
        # Asked for an empty token too, so that the time says nothing either.
        if not self._intake.token_ok(batch, attempt, token):
            raise unauthorised()
        if "?" in request.raw_path:
            raise Refused(HTTPStatus.BAD_REQUEST, "this path takes no query")
        return batch, attempt


async def _told(call: Awaitable[T]) -> T:
    """Return what the intake says, its refusals as answers."""
    try:
        return await call
    except (Superseded, BatchNotFound) as err:
        raise Refused(HTTPStatus.GONE, str(err)) from err
    except TooEarly as err:
        raise Refused(HTTPStatus.TOO_EARLY, str(err)) from err
    except OutOfOrder as err:
        raise Refused(HTTPStatus.CONFLICT, str(err), next=err.next) from err
    except WireInvalid as err:
        raise Refused(HTTPStatus.BAD_REQUEST, str(err)) from err
    except Busy as err:
        # Behind one address there may be several operators: the next try is to reach another one.
        away = {"Connection": "close"}
        raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, str(err), retry_after=err.retry_after, headers=away) from err
    except StoreError as err:
        # Its text names places of the operator's own.
        raise Refused(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "the operator's store cannot take this now; send it again",
            retry_after=_STORE_RETRY_SECONDS,
        ) from err


def _check_json(request: web.BaseRequest) -> None:
    if request.content_type != "application/json":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")


def _written(document: Callable[[], JSON]) -> bytes:
    return json.dumps(document(), separators=(",", ":")).encode()


def _parsed(body: bytes, parse: Callable[[JSON], T]) -> T:
    try:
        return parse(json.loads(body))
    except WireInvalid as err:
        raise Refused(HTTPStatus.BAD_REQUEST, str(err)) from err
    except (ValueError, RecursionError) as err:
        raise Refused(HTTPStatus.BAD_REQUEST, f"the body is no JSON that can be read: {err}") from err
