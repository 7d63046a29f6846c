"""The read-only API over the operator's store: what ``batchyard show --kube`` and its like ask, page by page.

Not for workers (``http``), nor for what stands in a report (``read_report``). The shapes are in ``engine.remote``; the
other end is ``apiserver.remote_store``.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from batchyard.engine.remote import (
    READ_HEADER,
    VERSION,
    entry_json,
    owner_json,
    record_json,
    result_json,
)
from batchyard.kube import read_report
from batchyard.kube.bearer import bearer, unauthorised
from batchyard.kube.limits import Limits
from batchyard.kube.refusals import Refused, json_answer
from batchyard.kube.server import Route
from batchyard.model.errors import BatchAmbiguous, BatchNotFound, RecordDamaged, StoreError
from batchyard.model.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from aiohttp import web

    from batchyard.engine.cluster_ports import ClusterRef
    from batchyard.engine.ports import BatchRecord, Owner
    from batchyard.model.audit import SealedEntry
    from batchyard.model.trial import JSON, AttemptResult

    Answer: TypeAlias = Callable[[web.BaseRequest, Mapping[str, str]], Awaitable[web.StreamResponse]]

T = TypeVar("T")

_MOST_BATCHES = 1000
_MOST_ROWS = 1000
_WHOLE = re.compile(r"-?[0-9]{1,10}")


class Reader(Protocol):
    """Reads the store. Called from other threads than the event loop's; every method raises ``StoreError``."""

    def batch(self, reference: str, namespace: str) -> tuple[BatchRecord, ClusterRef | None]:
        """Return the batch with this id, or unique id prefix, or the newest of this name, and its BatchTest.

        Only those of a namespace, unless it is "". Raises ``BatchNotFound`` or ``BatchAmbiguous``.
        """
        ...

    def batches(
        self, namespace: str, limit: int, damaged: list[RecordDamaged]
    ) -> Sequence[tuple[BatchRecord, ClusterRef | None]]:
        """Return the newest batches of a namespace ("" is all), newest first, without their specs.

        Those of them that cannot be read go to ``damaged``.
        """
        ...

    def results(
        self, batch_id: str, after: tuple[int, int], *, final_only: bool, outcomes: Sequence[Outcome] | None
    ) -> Iterator[AttemptResult]:
        """Yield results by ordinal, then attempt, that come behind ``after`` in that order."""
        ...

    def attempts(self, batch_id: str, ordinal: int) -> Sequence[AttemptResult]:
        """Return every attempt of one trial, first one first."""
        ...

    def entries(self, batch_id: str, after: int) -> Iterator[SealedEntry]:
        """Yield the entries with ``seq`` over ``after``, oldest first."""
        ...

    def finished(self, batch_id: str) -> Iterator[int]:
        """Yield the ordinal of every trial that has a final result, ascending."""
        ...

    def owner(self, batch_id: str) -> tuple[Owner, datetime] | None:
        """Return who runs the batch and when that was last heard."""
        ...


def routes(reader: Reader, token: str, limits: Limits | None = None) -> Sequence[Route]:
    """Return the API's routes, for ``http.results_app``. ``token`` opens all of it and nothing else.

    Raises ``ValueError`` for an empty token, which everybody would have.
    """
    if not token:
        raise ValueError("the read API needs a token")
    api = _ReadApi(reader, token, limits or Limits())
    answers: dict[str, Callable[[_Query], bytes]] = {
        "batches": api.batches,
        "batch": api.batch,
        "results": api.results,
        "attempts": api.attempts,
        "entries": api.entries,
        "finished": api.finished,
        "owner": api.owner,
    }
    made = {**{name: api.guarded(answer) for name, answer in answers.items()}, "report": api.report}
    return [Route(f"read_{name}", "GET", re.compile(f"/v1/read/{name}"), answer) for name, answer in made.items()]


class _Query:
    """A request's parameters, each taken once; ``end`` refuses what is left."""

    def __init__(self, given: Mapping[str, list[str]]) -> None:
        self._left = dict(given)

    def text(self, name: str, default: str = "") -> str:
        found = self._left.pop(name, [default])
        if len(found) > 1:
            raise _bad(f"{name} can be given once only")
        return found[0]

    def number(self, name: str, default: int, least: int, most: int) -> int:
        text = self.text(name, str(default))
        if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
            raise _bad(f"{name} must be a whole number from {least} to {most}")
        return int(text)

    def outcomes(self) -> list[Outcome] | None:
        found = [name for name in self.text("outcomes").split(",") if name]
        if not set(found) <= set(Outcome):
            raise _bad(f"outcomes must be among {','.join(Outcome)}")
        return [Outcome(one) for one in found] or None

    def end(self) -> None:
        if self._left:
            raise _bad("there is a parameter that this path does not take")


class _ReadApi:
    def __init__(self, reader: Reader, token: str, limits: Limits) -> None:
        self._reader = reader
        self._token = token.encode()
        self._limits = limits
        self._places = asyncio.Semaphore(limits.readers)
        self._report_places = asyncio.Semaphore(limits.reports)

    def guarded(self, answer: Callable[[_Query], bytes]) -> Answer:
        async def guarded(request: web.BaseRequest, _fields: Mapping[str, str]) -> web.StreamResponse:
            query = self._let_in(request)
            async with self._place(self._places):
                body = await asyncio.to_thread(_told, partial(answer, query))
            response = json_answer(body)
            response.enable_compression()
            return response

        return guarded

    async def report(self, request: web.BaseRequest, _fields: Mapping[str, str]) -> web.StreamResponse:
        query = self._let_in(request)
        reference, namespace = query.text("reference"), query.text("namespace")
        wanted = read_report.FORMATS.get(query.text("format", "html"))
        query.end()
        if wanted is None:
            raise _bad(f"format must be among {','.join(read_report.FORMATS)}; `batchyard report --kube` writes others")
        # A large one takes a while: of all who read, one may have such, and the others go on.
        async with self._place(self._report_places), self._place(self._places):
            body = await asyncio.to_thread(
                read_report.written, self._reader, reference, namespace, wanted, lambda: request.transport is None
            )
        return read_report.response(body, wanted)

    def _let_in(self, request: web.BaseRequest) -> _Query:
        given = [bearer(request.headers.get(name)).encode() for name in ("Authorization", READ_HEADER)]
        if not any(hmac.compare_digest(token, self._token) for token in given):
            raise unauthorised()
        return _Query({name: request.query.getall(name) for name in request.query})

    @asynccontextmanager
    async def _place(self, places: asyncio.Semaphore) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._limits.patience_seconds):
                await places.acquire()
        except TimeoutError as err:
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE, "too many others read just now; try again", retry_after=1
            ) from err
        try:
            yield
        finally:
            places.release()

    # -- one answer each, made in a thread ------------------------------------------------------------------------

    def batches(self, query: _Query) -> bytes:
        limit = query.number("limit", 50, 1, _MOST_BATCHES)
        namespace = query.text("namespace")
        query.end()
        damaged: list[RecordDamaged] = []
        found = self._reader.batches(namespace, limit, damaged)
        listed = [record_json(record, where) for record, where in found]
        return _document(batches=listed, damaged=[str(err) for err in damaged])

    def batch(self, query: _Query) -> bytes:
        reference = query.text("reference")
        namespace = query.text("namespace")
        query.end()
        record, where = self._reader.batch(reference, namespace)
        return _document(batch=record_json(record, where))

    def results(self, query: _Query) -> bytes:
        batch_id = query.text("batch")
        ordinal = query.number("afterOrdinal", -1, -1, 2**31)
        attempt = query.number("afterAttempt", -1, -1, 2**31)
        limit = query.number("limit", _MOST_ROWS, 1, _MOST_ROWS)
        final_only = bool(query.number("finalOnly", 1, 0, 1))
        outcomes = query.outcomes()
        query.end()
        rows = self._reader.results(batch_id, (ordinal, attempt), final_only=final_only, outcomes=outcomes)
        return self._page("results", rows, result_json, limit)

    def attempts(self, query: _Query) -> bytes:
        batch_id = query.text("batch")
        ordinal = query.number("ordinal", 0, 0, 2**31)
        query.end()
        return _document(results=[result_json(result) for result in self._reader.attempts(batch_id, ordinal)])

    def entries(self, query: _Query) -> bytes:
        batch_id = query.text("batch")
        after = query.number("after", 0, 0, 2**31)
        limit = query.number("limit", _MOST_ROWS, 1, _MOST_ROWS)
        query.end()
        return self._page("entries", self._reader.entries(batch_id, after), entry_json, limit)

    def finished(self, query: _Query) -> bytes:
        batch_id = query.text("batch")
        query.end()
        return _document(ranges=list(_ranges(self._reader.finished(batch_id))))

    def owner(self, query: _Query) -> bytes:
        batch_id = query.text("batch")
        query.end()
        return _document(owner=owner_json(self._reader.owner(batch_id)))

    def _page(self, name: str, rows: Iterator[T], to_json: Callable[[T], JSON], limit: int) -> bytes:
        """Return the first rows; ``more`` says whether others follow, ``fault`` what the next one is spoiled by."""
        found: list[str] = []
        size = 0
        more = False
        fault = None
        try:
            for row in rows:
                if len(found) == limit or size > self._limits.page_bytes:
                    more = True
                    break
                found.append(json.dumps(to_json(row)))
                size += len(found[-1])
        except StoreError as err:
            # What was read before it is whole, and a verifier wants to see it first.
            fault = _fault(err)
        return (
            f'{{"version": {VERSION}, "more": {json.dumps(more)}, "fault": {json.dumps(fault)}, '
            f'"{name}": [{", ".join(found)}]}}'
        ).encode()


def _told(answer: Callable[[], bytes]) -> bytes:
    """Return the answer, or what the store has against it: the status of HTTP is for the request alone."""
    try:
        return answer()
    except StoreError as err:
        return json.dumps({"version": VERSION, "fault": _fault(err)}).encode()


def _fault(err: StoreError) -> dict[str, str]:
    known = (BatchNotFound, BatchAmbiguous, RecordDamaged)
    return {"type": next((kind.__name__ for kind in known if isinstance(err, kind)), "StoreError"), "message": str(err)}


def _document(**fields: JSON) -> bytes:
    return json.dumps({"version": VERSION, "fault": None, **fields}, separators=(",", ":")).encode()


def _ranges(ordinals: Iterator[int]) -> Iterator[list[int]]:
    begun: list[int] = []
    for ordinal in ordinals:
        if begun and ordinal == begun[1] + 1:
            begun[1] = ordinal
            continue
        if begun:
            yield begun
        begun = [ordinal, ordinal]
    if begun:
        yield begun


def _bad(why: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, why)
