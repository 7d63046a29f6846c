"""What a client is told when its request is refused: a status, a sentence, and what its program needs to go on.

Not for deciding what is refused.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.model.trial import JSON

_PACKED_APART_BYTES = 64 * 1024
"""A body larger than this is packed in a thread, not in the event loop."""


class Refused(Exception):
    """Ends a request with this status and sentence; ``more`` are further fields of the answer."""

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
        **more: JSON,
    ) -> None:
        """Keep what the client is told. ``retry_after`` is seconds, rounded up for the header."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.more = more
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after)))

    def response(self) -> web.Response:
        """Return the answer."""
        made = answer({"error": self.message, **self.more}, status=self.status, headers=self.headers)
        if self.headers.get("Connection") == "close":
            made.force_close()
        return made


def answer(
    document: JSON, *, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a small JSON document as an answer."""
    return json_answer(orjson.dumps(document), status=status, headers=headers)


def json_answer(
    body: bytes, *, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return JSON that is written already as an answer."""
    fixed = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(
        body=body,
        status=status,
        content_type="application/json",
        charset="utf-8",
        headers={**fixed, **(headers or {})},
        zlib_executor_size=_PACKED_APART_BYTES,
    )
