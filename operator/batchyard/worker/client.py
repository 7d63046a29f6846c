"""The worker's side of the results endpoint: one request at a time, every answer as a type.

Not for when to ask again (``poster``).
"""

from __future__ import annotations

import gzip
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

import httpx
import orjson

from batchyard.model.errors import BatchyardError
from batchyard.model.wire import Directive, Manifest, Receipt

if TYPE_CHECKING:
    from batchyard.model.trial import JSON
    from batchyard.worker.settings import WorkerSettings

_PACKED_FROM_BYTES = 4096
_SECONDS = 15.0
_LONGEST_PAUSE_SECONDS = 60.0


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
        """Read the token; it is kept here and nowhere else."""
        token = settings.token_file.read_text().strip()
        base = f"{settings.results_url.rstrip('/')}/v1/batches/{settings.batch_id}/attempts/{settings.attempt}/"
        self._http = httpx.Client(
            base_url=base,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            timeout=httpx.Timeout(_SECONDS),
            verify=str(settings.ca_file) if settings.ca_file is not None else True,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def manifest(self) -> Manifest:
        """Return what this attempt has to do."""
        return Manifest.from_json(self._ask("GET", "manifest"))

    def segment(self, number: int, body: bytes) -> Receipt:
        """Send segment ``number``."""
        answer = self._ask("POST", f"segments/{number}", body)
        return Receipt(int(answer["next"]), Directive(answer.get("directive", "")))

    def heartbeat(self, running: int) -> Directive:
        """Say that the worker lives."""
        answer = self._ask("POST", "heartbeat", orjson.dumps({"running": running}))
        return Directive(answer.get("directive", ""))

    def _ask(self, method: str, path: str, body: bytes | None = None) -> JSON:
        headers = {}
        if body is not None and len(body) >= _PACKED_FROM_BYTES:
            body, headers = gzip.compress(body, 1), {"Content-Encoding": "gzip"}
        try:
            response = self._http.request(method, path, content=body, headers=headers)
            answer = orjson.loads(response.content) if response.content else {}
        except (httpx.HTTPError, orjson.JSONDecodeError, OSError) as err:
            raise Unavailable(f"the operator at {self._http.base_url.host} did not answer {path}: {err!r}") from err
        if response.status_code == HTTPStatus.OK:
            return answer
        said = str(answer.get("error", "")) if isinstance(answer, dict) else ""
        match response.status_code:
            case HTTPStatus.GONE:
                raise Superseded(said)
            case HTTPStatus.CONFLICT:
                raise OutOfOrder(int(answer["next"]))
            case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                raise TooLarge(said)
            case HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.REQUEST_TIMEOUT:
                raise Unavailable(said, _seconds(response))
            case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise Unavailable(f"the operator answered {status}: {said}", _seconds(response))
            case status:
                raise Refused(f"the operator refused {path} with {status}: {said}")


def _seconds(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_PAUSE_SECONDS) if text.isdigit() else None
