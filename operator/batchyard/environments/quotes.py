"""Quotes what a driver printed without the secrets that its pod had. Not for what the worker itself records."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from batchyard import config
from batchyard.apiserver.errors import ApiError, NotFound
from batchyard.environments.manifests import secret_names
from batchyard.events.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchyard.apiserver.client import ApiClient
    from batchyard.engine.places import PlaceRequest
    from batchyard.model.trial import JSON

_WINDOW_CHARACTERS = 3000
_QUOTED_CHARACTERS = 300


async def tail(api: ApiClient, request: PlaceRequest, text: str, *, also: str = "") -> str:
    """Return the end of a text that may have values of the place's Secrets in it, without them; "" if unsure.

    ``also`` is one more secret, and so is the worker's token.
    """
    values = [also, request.token, *config.secret_values(request.batch.spec.environment.env)]
    for name in secret_names(request):
        try:
            secret = await api.get("v1", "secrets", request.ref.namespace, name)
        except NotFound:
            continue
        except ApiError:
            return ""
        values += _values(secret)
    # Each line of a value by itself too: then no value is cut where a line ends.
    secrets = {piece for value in values for piece in (value, *value.splitlines())}
    known = Redactor(secrets).text(_last_lines(text))
    return " ".join(known.split())[-_QUOTED_CHARACTERS:]


def _last_lines(text: str) -> str:
    return text if len(text) <= _WINDOW_CHARACTERS else text[-_WINDOW_CHARACTERS:].partition("\n")[2]


def _values(secret: Mapping[str, JSON]) -> Iterator[str]:
    for value in (secret.get("data") or {}).values():
        try:
            yield base64.b64decode(value, validate=True).decode(errors="replace").strip()
        except (binascii.Error, ValueError):
            yield str(value)
