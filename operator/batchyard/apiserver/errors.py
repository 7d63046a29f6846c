"""What the API server answers when it does not do as asked, as exceptions. Protocol: ``meta/v1`` Status."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from batchyard.model.errors import EnvironmentUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.model.trial import JSON


class ApiError(EnvironmentUnavailable):
    """The API server refused or could not be reached (``status`` 0). ``retry_after`` is in seconds."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        """Keep what was answered."""
        super().__init__(message)
        self.status, self.reason, self.retry_after = status, reason, retry_after

    @classmethod
    def from_status(cls, body: Mapping[str, JSON], retry_after: float | None = None) -> ApiError:
        """Return the error that a Status object tells of, of the class that fits its code."""
        code = body.get("code")
        status = code if isinstance(code, int) else 0
        made = _BY_STATUS.get(status, ApiError)
        return made(status, str(body.get("reason") or ""), str(body.get("message") or "no message"), retry_after)


class NotFound(ApiError):
    """There is no such object, or no such kind of object."""

    @property
    def is_of_kind(self) -> bool:
        """Whether the API server knows no such kind, which it says in other words and, of a group, as plain text."""
        return self.reason != "NotFound" or "could not find the requested resource" in str(self)


class Conflict(ApiError):
    """The object exists already, or was changed meanwhile."""


class Forbidden(ApiError):
    """This account may not do that, or its quota does not allow it."""


class Expired(ApiError):
    """The place in the history from which to go on is forgotten."""


class Invalid(ApiError):
    """The object is not valid."""


class Unreachable(ApiError):
    """There was no answer; ``sent`` is whether the request may have been heard all the same."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        """Say what was tried and what came of it."""
        super().__init__(0, "Unreachable", message)
        self.sent = sent


_BY_STATUS: Mapping[int, type[ApiError]] = {
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.GONE: Expired,
    HTTPStatus.UNPROCESSABLE_ENTITY: Invalid,
}
