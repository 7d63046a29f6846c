"""Ray's Jobs REST API, as far as one driver needs it: is it up, submit, how is it. Plain HTTP; no Ray is needed.

Protocol: ``/api/version`` and ``/api/jobs/`` of Ray's dashboard, 2.52 and later. A submission id is used once: the same
one again answers 500, so whoever submits looks after any error.
"""

from __future__ import annotations

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
_LOG_CHARACTERS = 600


class DashboardUnreachable(EnvironmentUnavailable):
    """Ray's dashboard gave no answer, or none that can be used."""


@dataclass(frozen=True, slots=True)
class RayJob:
    """One job: ``status`` is PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""

    status: str
    message: str


class RayDashboard:
    """One Ray cluster's dashboard, at ``base`` (http://HOST:PORT). Every method raises ``DashboardUnreachable``."""

    def __init__(self, base: str, token: str) -> None:
        """``token`` is the cluster's own."""
        self._base, self._headers = base, {"Authorization": f"Bearer {token}"}

    async def session_name(self) -> str:
        """Return the name of the cluster's session: another one after every start of the head."""
        status, body = await self._ask("GET", "/api/version")
        if status != HTTPStatus.OK:
            raise DashboardUnreachable(f"Ray's dashboard {self._base} answers {status} for /api/version")
        return str(body.get("session_name", ""))

    async def job(self, submission_id: str) -> RayJob | None:
        """Return the job, None if there is none of this id."""
        status, body = await self._ask("GET", f"/api/jobs/{submission_id}")
        if status == HTTPStatus.NOT_FOUND:
            return None
        if status != HTTPStatus.OK:
            raise DashboardUnreachable(f"Ray's dashboard {self._base} answers {status} for job {submission_id}")
        parts = [body.get("error_type") or "", body.get("message") or ""]
        return RayJob(str(body.get("status", "")), ": ".join(part for part in parts if part))

    async def submit(self, submission_id: str, entrypoint: str, runtime_env: Mapping[str, JSON]) -> None:
        """Submit a job unless one of this id is there. It runs on the head, beside no trial."""
        body = {"entrypoint": entrypoint, "submission_id": submission_id, "runtime_env": dict(runtime_env)}
        try:
            status, answer = await self._ask("POST", "/api/jobs/", body, seconds=_SUBMIT_SECONDS)
        except DashboardUnreachable:
            if await self.job(submission_id) is None:
                raise
            return
        if status != HTTPStatus.OK and await self.job(submission_id) is None:
            raise DashboardUnreachable(f"Ray refused job {submission_id} with {status}: {str(answer)[:300]}")

    async def last_words(self, submission_id: str) -> str:
        """Return the end of what the job's driver printed."""
        status, body = await self._ask("GET", f"/api/jobs/{submission_id}/logs")
        text = str(body.get("logs", "")) if status == HTTPStatus.OK else ""
        return text.strip()[-_LOG_CHARACTERS:]

    async def _ask(
        self, method: str, path: str, body: Mapping[str, JSON] | None = None, *, seconds: float = _SECONDS
    ) -> tuple[int, dict[str, JSON]]:
        # A connection an answer: after a restart of the head the old ones lead nowhere.
        limits = aiohttp.ClientTimeout(total=seconds)
        try:
            async with (
                aiohttp.ClientSession(timeout=limits, headers=self._headers) as session,
                session.request(method, self._base + path, json=body) as response,
            ):
                if "json" in response.content_type:
                    return response.status, await response.json()
                return response.status, {"message": (await response.text())[:500]}
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as err:
            raise DashboardUnreachable(f"Ray's dashboard {self._base} did not answer: {err!r}") from err
