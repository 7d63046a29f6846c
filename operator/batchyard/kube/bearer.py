"""The token of a request, and the one answer to every token that is not right.

Not for which token is right.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from batchyard.kube.refusals import Refused

_TOKEN = re.compile(r"[\x21-\x7e]{1,512}")


def bearer(header: str | None) -> str:
    """Return the token of an ``Authorization`` header, "" if it holds none that could be right."""
    scheme, _, token = (header or "").partition(" ")
    return token if scheme.lower() == "bearer" and _TOKEN.fullmatch(token) else ""


def unauthorised() -> Refused:
    """Return the one refusal for every wrong token: it does not say whether there is what was asked for."""
    return Refused(
        HTTPStatus.UNAUTHORIZED,
        "no token that is right here; send the one you were given as Authorization: Bearer",
        headers={"WWW-Authenticate": "Bearer"},
    )
