"""Ray's Jobs REST API, as far as one driver needs it: is it up, submit, how is it. Plain HTTP; no Ray is needed.

Protocol: ``/api/version`` and ``/api/jobs/`` of Ray's dashboard, 2.52 and later. A submission id is used once: the same
one again answers 500, so whoever submits looks after any error. The dashboard runs beside the user's code, so nothing
that it says is taken on trust: not how much, not what kind, not where else to look.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp

from batchyard.model.errors import EnvironmentUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.model.trial import JSON

_SECONDS = 5.0
_SUBMIT_SECONDS = 30.0
_MOST_BYTES = 1024 * 1024
_SAID_CHARACTERS = 300


class DashboardUnreachable(EnvironmentUnavailable):
    """Ray's dashboard gave no answer, or none that can be used."""


class SubmissionRefused(DashboardUnreachable):
    """Ray was asked to run a job and said no; there is no such job."""


@dataclass(frozen=True, slots=True)
class RayJob:
    """One job: ``status`` is PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.

    ``error`` is Ray's word for what went wrong. ``message`` says more: for a driver that failed also the end of what it
    printed, secrets and all.
    """

    status: str
    message: str = ""
    error: str = ""


class RayDashboard:
    """One Ray cluster's dashboard, at ``base`` (http://HOST:PORT). Every method raises ``DashboardUnreachable``."""

    def __init__(self, base: str, token: str, *, seconds: float = _SECONDS) -> None:
        """``token`` is the cluster's own; an answer takes at most ``seconds``, to a submission more."""
        self._base, self._headers, self._seconds = base, {"Authorization": f"Bearer {token}"}, seconds

    async def session_name(self) -> str:
        """Return the name of the cluster's session: another one after every start of the head."""
        status, body = await self._ask("GET", "/api/version")
        if status != HTTPStatus.OK:
            raise self._unusable(status, "/api/version", body)
        return str(body.get("session_name") or "")

    async def job(self, submission_id: str) -> RayJob | None:
        """Return the job, None if there is none of this id."""
        status, body = await self._ask("GET", f"/api/jobs/{submission_id}")
        if status == HTTPStatus.NOT_FOUND:
            return None
        if status != HTTPStatus.OK:
            raise self._unusable(status, f"job {submission_id}", body)
        return RayJob(
            str(body.get("status") or ""),
            str(body.get("message") or ""),
            str(body.get("error_type") or "")[:_SAID_CHARACTERS],
        )

    async def submit(self, submission_id: str, entrypoint: str, runtime_env: Mapping[str, JSON]) -> None:
        """Submit a job unless one of this id is there. It runs on the head, beside no trial.

        Whatever goes wrong, whether the job is there decides: an answer may be lost after Ray has taken the job.
        Raises ``SubmissionRefused`` if it is not there and Ray said why.
        """
        body = {"entrypoint": entrypoint, "submission_id": submission_id, "runtime_env": dict(runtime_env)}
        try:
            status, answer = await self._ask("POST", "/api/jobs/", body, seconds=max(self._seconds, _SUBMIT_SECONDS))
        except DashboardUnreachable:
            if await self.job(submission_id) is None:
                raise
            return
        if status != HTTPStatus.OK and await self.job(submission_id) is None:
            said = str(answer.get("message") or answer)[-_SAID_CHARACTERS:]
            raise SubmissionRefused(f"Ray refused job {submission_id} with {status}: {said}")

    def _unusable(self, status: int, what: str, body: Mapping[str, JSON]) -> DashboardUnreachable:
        said = " ".join(str(body.get("message") or "").split())[:_SAID_CHARACTERS]
        return DashboardUnreachable(
            f"Ray's dashboard {self._base} answers {status} for {what}" + (f": {said}" if said else "")
        )

    async def _ask(
        self, method: str, path: str, body: Mapping[str, JSON] | None = None, *, seconds: float | None = None
    ) -> tuple[int, dict[str, JSON]]:
        # A connection an answer: after a restart of the head the old ones lead nowhere.
        limits = aiohttp.ClientTimeout(total=seconds or self._seconds)
        try:
            async with (
                aiohttp.ClientSession(timeout=limits, headers=self._headers) as session,
                # Not to wherever it points: that could be anything this process can reach.
                session.request(method, self._base + path, json=body, allow_redirects=False) as response,
            ):
                text = await _text(response)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as err:
            raise DashboardUnreachable(f"Ray's dashboard {self._base} did not answer: {err!r}") from err
        return response.status, _object(text) or {"message": text}


async def _text(response: aiohttp.ClientResponse) -> str:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > _MOST_BYTES:
            raise ValueError(f"the answer is longer than {_MOST_BYTES} bytes")
    return content.decode(errors="replace")


def _object(text: str) -> dict[str, JSON] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
