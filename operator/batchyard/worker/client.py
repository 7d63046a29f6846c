"""The worker's side of the results endpoint: one request at a time, every answer as a type.

Not for when to ask again (``poster``).
"""

from __future__ import annotations

import gzip
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Self, TypeVar

import httpx
import orjson

from batchyard.model.errors import BatchyardError
from batchyard.model.wire import POD_HEADER, Directive, Manifest, Receipt, WireInvalid, directive_from

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchyard.model.trial import JSON
    from batchyard.worker.settings import WorkerSettings

T = TypeVar("T")

_PACKED_FROM_BYTES = 4096
_SECONDS = 15.0
_LONGEST_PAUSE_SECONDS = 60.0


class TooEarly(BatchyardError):
    """The rest of this worker's place is not ready yet: ask again soon."""


class Superseded(BatchyardError):
    """Another attempt has the batch, or it is over: nothing that this worker does matters any more."""


class Refused(BatchyardError):
    """The operator will never take this: a wrong token, or a message it does not understand."""


class TooLarge(BatchyardError):
    """The segment is larger than the operator takes."""


class OutOfOrder(BatchyardError):
    """The operator wants segment ``next`` first."""

    def __init__(self, wanted: int) -> None:
        """Keep the number of the wanted segment."""
        super().__init__(f"the operator wants segment {wanted}")
        self.next = wanted


class Unavailable(BatchyardError):
    """There is no answer now, or the operator asked to come again, after ``retry_after`` seconds if it said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        """Keep when to come again."""
        super().__init__(message)
        self.retry_after = retry_after


class ResultsClient:
    """Talks to the operator about one attempt. Every method raises one of the errors above."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Read the token; it is kept here and nowhere else. Raises ``Refused`` if this worker was set up wrongly."""
        base = f"{settings.results_url.rstrip('/')}/v1/batches/{settings.batch_id}/attempts/{settings.attempt}/"
        try:
            self._http = httpx.Client(
                base_url=base,
                headers={
                    "Authorization": f"Bearer {_token(settings.token_file)}",
                    "Content-Type": "application/json",
                    **({POD_HEADER: settings.pod} if settings.pod else {}),
                },
                timeout=httpx.Timeout(_SECONDS),
                verify=_trust(settings.ca_file),
                trust_env=False,
            )
        except httpx.InvalidURL as err:
            raise Refused(f"the results URL {settings.results_url} is none: {err}") from err

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def manifest(self) -> Manifest:
        """Return what this attempt has to do."""
        return self._ask("GET", "manifest", Manifest.from_json)

    def segment(self, number: int, body: bytes) -> Receipt:
        """Send segment ``number``."""
        return self._ask("POST", f"segments/{number}", Receipt.from_json, body)

    def heartbeat(self, running: int) -> Directive:
        """Say that the worker lives."""
        return self._ask("POST", "heartbeat", directive_from, orjson.dumps({"running": running}))

    def _ask(self, method: str, path: str, read: Callable[[JSON], T], body: bytes | None = None) -> T:
        headers = {}
        if body is not None and len(body) >= _PACKED_FROM_BYTES:
            body, headers = gzip.compress(body, 1), {"Content-Encoding": "gzip"}
        try:
            response = self._http.request(method, path, content=body, headers=headers)
        except httpx.UnsupportedProtocol as err:
            raise Refused(f"the results URL {self._http.base_url} is none: {err}") from err
        except (httpx.HTTPError, OSError) as err:
            raise Unavailable(f"the operator at {self._http.base_url.host} did not answer {path}: {err!r}") from err
        answer = _document(response)
        if response.status_code != HTTPStatus.OK:
            raise _refusal(path, response, answer)
        if answer is None:
            raise Unavailable(f"{self._http.base_url.host} answered {path} with something else than JSON")
        try:
            return read(answer)
        except WireInvalid as err:
            raise Refused(f"the operator's answer to {path} cannot be read: {err}") from err


def _refusal(path: str, response: httpx.Response, answer: JSON) -> BatchyardError:
    """Return what an answer that is not 200 means; only the operator itself, which says why, can refuse for good."""
    status = response.status_code
    said = str(answer.get("error", "")) if isinstance(answer, dict) else ""
    text = f"the operator answered {path} with {status}: {said or response.reason_phrase}"
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return TooLarge(text)
    again = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT}
    if not said or status in again or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(text, _seconds(response))
    if status == HTTPStatus.TOO_EARLY:
        return TooEarly(said)
    if status == HTTPStatus.GONE:
        return Superseded(said)
    wanted = answer.get("next")
    if status == HTTPStatus.CONFLICT and type(wanted) is int:
        return OutOfOrder(wanted)
    return Refused(text)


def _document(response: httpx.Response) -> JSON:
    """Return the body as JSON, None if it is none."""
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None


def _seconds(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_PAUSE_SECONDS) if text.isdecimal() and text.isascii() else None


def _token(file: Path) -> str:
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise Refused(f"the token cannot be read from {file}: {err}; see that its Secret is mounted there") from err
    if not token or not token.isprintable():
        raise Refused(f"there is no token in {file}; see that its Secret is whole")
    return token


def _trust(ca_file: Path | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as err:
        raise Refused(f"the operator cannot be checked with the certificates in {ca_file}: {err}") from err
