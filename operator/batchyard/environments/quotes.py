"""Quotes what a driver or a container printed without the secrets that its pod had.

Not for what the worker itself records.
"""

from __future__ import annotations

import base64
import binascii
from copy import deepcopy
from typing import TYPE_CHECKING

from batchyard import config
from batchyard.apiserver.errors import ApiError, NotFound
from batchyard.environments import pods
from batchyard.environments.place_secrets import secret_names
from batchyard.events.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchyard.apiserver.client import ApiClient
    from batchyard.engine.places import PlaceRequest
    from batchyard.model.trial import JSON

_WINDOW_CHARACTERS = 3000
_QUOTED_CHARACTERS = 300
# A kubelet cuts at 2 KiB what a container logged, at 4 KiB what it wrote, and at 12 KiB what a whole pod said.
_UNCUT_BYTES = 1000
_MESSAGE_CHARACTERS = 200


async def tail(api: ApiClient, request: PlaceRequest, text: str, *, also: str = "") -> str:
    """Return the end of a text that may have values of the place's Secrets in it, without them; "" if unsure.

    ``also`` is one more secret, and so is the worker's token.
    """
    known = await _redactor(api, request, also)
    return _end(known.text(_last_lines(text)), _QUOTED_CHARACTERS) if known is not None else ""


async def quotable(
    api: ApiClient, request: PlaceRequest, found: Sequence[Mapping[str, JSON]]
) -> list[Mapping[str, JSON]]:
    """Return the place's pods, whose containers' last words have no value of the place's Secrets in them any more."""
    if not any(pods.last_words(pod) for pod in found):
        return list(found)
    known = await _redactor(api, request)
    made: list[Mapping[str, JSON]] = deepcopy(list(found))
    for pod in made:
        for said in pods.last_words(pod):
            said["message"] = _of_container(known, said["message"]) if known is not None else ""
    return made


def _of_container(known: Redactor, text: str) -> str:
    if len(text.encode(errors="replace")) < _UNCUT_BYTES:
        return _end(known.text(text), _MESSAGE_CHARACTERS)
    # It may be cut within a secret at both ends; of what stands before an ellipsis a part is masked too.
    whole = known.text(text[-_WINDOW_CHARACTERS:].partition("\n")[2] + "…")
    return _end(whole.removesuffix("…"), _MESSAGE_CHARACTERS)


async def _redactor(api: ApiClient, request: PlaceRequest, also: str = "") -> Redactor | None:
    """Return what knows the values that the place's pods have; None if they cannot be known."""
    values = [also, request.token, *config.secret_values(request.batch.spec.environment.env)]
    for name in secret_names(request):
        try:
            secret = await api.get("v1", "secrets", request.ref.namespace, name)
        except NotFound:
            continue
        except ApiError:
            return None
        values += _values(secret)
    # Each line of a value by itself too: then no value is cut where a line ends.
    return Redactor({piece for value in values for piece in (value, *value.splitlines())})


def _end(text: str, characters: int) -> str:
    return " ".join(text.split())[-characters:]


def _last_lines(text: str) -> str:
    return text if len(text) <= _WINDOW_CHARACTERS else text[-_WINDOW_CHARACTERS:].partition("\n")[2]


def _values(secret: Mapping[str, JSON]) -> Iterator[str]:
    for value in (secret.get("data") or {}).values():
        try:
            yield base64.b64decode(value, validate=True).decode(errors="replace").strip()
        except (binascii.Error, ValueError):
            yield str(value)
