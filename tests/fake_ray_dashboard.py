"""A fake of a Ray head's dashboard over HTTP, with the part of the Jobs API that drives one driver.

Kept: the token, 500 for a submission id that is used twice, 404 for an unknown one, 500 for deleting what runs, and a
session whose name changes when the head is started anew, its jobs gone with the old one.
"""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from loopback_server import QuietHandler, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

RAY_TOKEN = "the-ray-clusters-own"  # noqa: S105 - of a fake


class FakeRay:
    """One head. ``lost`` and ``unheard`` are how many of the next submissions lose their answer, or never arrive."""

    def __init__(self) -> None:
        self.url = ""
        self.session = "session_1"
        self.jobs: dict[str, dict[str, Any]] = {}
        self.submissions: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.lost = self.unheard = 0
        self.refusal: tuple[int, str] | None = None
        self.answers: dict[str, tuple[int, bytes, dict[str, str]]] = {}

    def restart(self) -> None:
        """Start Ray anew in the same pod."""
        number = int(self.session.rpartition("_")[2]) + 1
        self.session, self.jobs = f"session_{number}", {}

    def end(self, submission_id: str, status: str, message: str = "", error_type: str | None = None) -> None:
        """Have a job come to its end."""
        self.jobs[submission_id] |= {"status": status, "message": message, "error_type": error_type}

    def answer(self, method: str, path: str, headers: Any, body: Any) -> tuple[int, bytes, dict[str, str]] | None:
        """Return status, body and headers; None breaks the connection."""
        self.requests.append(f"{method} {path}")
        if path in self.answers:
            return self.answers[path]
        if headers.get("Authorization") != f"Bearer {RAY_TOKEN}":
            return _text(401, "Unauthorized: Missing or invalid authentication token")
        match method, path.strip("/").split("/"):
            case "GET", ["api", "version"]:
                return _json({"version": "4", "ray_version": "2.52.0", "session_name": self.session})
            case "POST", ["api", "jobs"]:
                return self._submit(body)
            case "GET", ["api", "jobs", name]:
                return _json(self.jobs[name]) if name in self.jobs else _text(404, f"Job {name} does not exist")
            case "DELETE", ["api", "jobs", name]:
                if self.jobs[name]["status"] in {"PENDING", "RUNNING"}:
                    return _text(500, "RuntimeError: Attempted to delete job that is still running")
                del self.jobs[name]
                return _json({"deleted": True})
        return _text(404, "404: Not Found")

    def _submit(self, body: dict[str, Any]) -> tuple[int, bytes, dict[str, str]] | None:
        if self.unheard:
            self.unheard -= 1
            return None
        self.submissions.append(body)
        if self.refusal is not None:
            return _text(*self.refusal)
        name = body["submission_id"]
        if name in self.jobs:
            return _text(500, f"Traceback ...\nValueError: Job with submission_id {name} already exists.")
        self.jobs[name] = {"submission_id": name, "status": "PENDING", "message": "", "error_type": None}
        if self.lost:
            self.lost -= 1
            return None
        return _json({"job_id": name, "submission_id": name})


def _json(body: Any) -> tuple[int, bytes, dict[str, str]]:
    return 200, json.dumps(body).encode(), {"Content-Type": "application/json"}


def _text(status: int, text: str) -> tuple[int, bytes, dict[str, str]]:
    return status, text.encode(), {"Content-Type": "text/plain"}


@contextmanager
def running(ray: FakeRay) -> Iterator[FakeRay]:
    """Listen on a free port of this machine while the context lasts."""

    class Handler(QuietHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            answer = ray.answer(self.command, self.path, self.headers, body)
            if answer is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            status, content, headers = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _handle

    with serving(Handler) as ray.url:
        yield ray
