"""A batch's report over HTTP: what ``batchyard report`` writes, for whoever may read results.

Only what has a bound whatever the batch, HTML and Markdown: it is made whole before anything of it is sent, so that
what goes wrong has a status of its own. Not for who may ask, nor for how many at once (``read_api``).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web

from batchyard.engine.stored_status import status_of
from batchyard.kube.refusals import Refused
from batchyard.model.errors import BatchAmbiguous, BatchNotFound, RecordDamaged, StoreError
from batchyard.regressions import regressions
from batchyard.reports.html import policy, write_html
from batchyard.reports.markdown import write_markdown
from batchyard.reports.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    from batchyard.kube.read_api import Reader
    from batchyard.model.trial import AttemptResult

T = TypeVar("T")

_STORE_RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Format:
    """What a report is made of, and how that is called on the wire."""

    content_type: str
    write: Callable[[Source, IO[str]], None]


FORMATS = {"html": Format("text/html", write_html), "markdown": Format("text/markdown", write_markdown)}


def written(reader: Reader, reference: str, namespace: str, wanted: Format, gone: Callable[[], bool]) -> bytes:
    """Return the report of the batch that a reference means, as a store finds it. Raises ``Refused``.

    It takes as long as reading all results does: not for the event loop's thread. ``gone`` says at any time, and from
    any thread, whether nobody waits for it any more.
    """
    try:
        source = _source(reader, reference, namespace, gone)
        out = io.BytesIO()
        # A message can have what UTF-8 has no way to say.
        with io.TextIOWrapper(out, encoding="utf-8", errors="replace", newline="") as text:
            wanted.write(source, text)
            text.flush()
            return out.getvalue()
    except StoreError as err:
        raise _refused(err) from err


def _source(reader: Reader, reference: str, namespace: str, gone: Callable[[], bool]) -> Source:
    record, where = reader.batch(reference, namespace)
    status = status_of(record)

    def results() -> Iterator[AttemptResult]:
        return _while_wanted(reader.results(record.id, (-1, -1), final_only=True, outcomes=None), gone)

    return Source(
        record,
        status,
        results,
        lambda: _while_wanted(reader.entries(record.id, 0), gone),
        f" --kube --namespace {where.namespace}" if where is not None else " --kube",
        # The states that trials went through stay where these ran.
        cache(lambda: regressions(record, status, results(), partial(reader.attempts, record.id), None)),
    )


def _while_wanted(rows: Iterator[T], gone: Callable[[], bool]) -> Iterator[T]:
    for row in rows:
        if gone():
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "whoever asked for this report has left")
        yield row


def _refused(err: StoreError) -> Refused:
    match err:
        case BatchNotFound():
            return Refused(HTTPStatus.NOT_FOUND, str(err))
        case BatchAmbiguous():
            return Refused(HTTPStatus.CONFLICT, str(err))
        case RecordDamaged():
            return Refused(HTTPStatus.INTERNAL_SERVER_ERROR, str(err))
        case _:
            return Refused(HTTPStatus.SERVICE_UNAVAILABLE, str(err), retry_after=_STORE_RETRY_SECONDS)


def response(body: bytes, made: Format) -> web.Response:
    """Return the answer, with headers that let a browser show it and do nothing else with it."""
    headers = {
        "Cache-Control": "no-store",
        # The page has this policy too; only a header can say who may frame it, and keep it off its own origin, where
        # the other reads are.
        "Content-Security-Policy": f"{policy()}; frame-ancestors 'none'; sandbox allow-scripts",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    # Not packed: most of it is already. An API server's proxy looks for links in whatever is HTML, and fails at what is
    # packed by "deflate", which it reads otherwise than HTTP means it.
    return web.Response(body=body, content_type=made.content_type, charset="utf-8", headers=headers)
