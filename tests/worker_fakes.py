"""Fakes of the operator as a worker meets it: one behind the client's methods, one behind a socket that breaks."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batchyard.model.wire import Directive, Receipt, Segment
from batchyard.worker.client import OutOfOrder, Unavailable
from batchyard.worker.settings import Pace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batchyard.model.trial import AttemptResult

QUICK = Pace(heartbeat=0.05, first_pause=0.001, longest_pause=0.01)
"""A worker's pace at which no test has to wait."""


class AnswerLost(Exception):
    """In a script: the segment is taken, and the answer does not arrive."""


@dataclass
class FakeOperator:
    """Takes each segment once and in order, as the real one does; first comes what ``script`` has.

    An exception in the script is raised, a receipt is given; ``None`` is no trouble. ``away`` is trouble without end.
    It fails the test that sends the same number with two bodies.
    """

    script: deque[Exception | Receipt | None] = field(default_factory=deque)
    away: bool = False
    directive: Directive = Directive.NONE
    next: int = 1
    bodies: dict[int, bytes] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    beats: list[int] = field(default_factory=list)
    heartbeat_script: deque[Exception] = field(default_factory=deque)

    def segment(self, number: int, body: bytes) -> Receipt:
        self.asked.append(number)
        if self.away:
            raise Unavailable("away")
        step = self.script.popleft() if self.script else None
        if isinstance(step, Receipt):
            return step
        if isinstance(step, Exception) and not isinstance(step, AnswerLost):
            raise step
        if number > self.next:
            raise OutOfOrder(self.next)
        if number == self.next:
            self.bodies[number] = body
            self.next += 1
        if isinstance(step, AnswerLost):
            raise Unavailable("lost")
        return Receipt(self.next, self.directive)

    def heartbeat(self, running: int) -> Directive:
        self.beats.append(running)
        if self.heartbeat_script:
            raise self.heartbeat_script.popleft()
        return self.directive

    @property
    def segments(self) -> list[Segment]:
        """What was taken, in order."""
        return segments_of(self.bodies)


def segments_of(bodies: dict[int, bytes]) -> list[Segment]:
    """Return the segments in the order of their numbers, as the operator would read them."""
    return [Segment.from_json(json.loads(bodies[number])) for number in sorted(bodies)]


def results_of(segments: Iterable[Segment]) -> list[AttemptResult]:
    """Return every result that was taken, in order."""
    return [result for segment in segments for result, _ in segment.results]


# -- behind a socket -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """What happens to one request. ``at`` is a number of bytes.

    ``deaf``: no more than that is read before the connection breaks. ``mute``: it is taken, and only so much of the
    answer is sent. ``answer``: this status and body come instead. ``reset``: the connection does not end, it is reset.
    """

    kind: str = "good"
    at: int = 0
    reset: bool = False
    status: int = 503
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


GOOD = Step()


@dataclass
class BreakingServer:
    """A results endpoint on a socket that does to each request what its script says, and is faultless after that.

    It fails no test by itself: what it finds wrong with a worker stands in ``complaints``.
    """

    port: int
    script: deque[Step] = field(default_factory=deque)
    directive: Directive = Directive.NONE
    manifest: dict[str, Any] = field(default_factory=dict)
    next: int = 1
    bodies: dict[int, bytes] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where a worker finds it."""
        return f"http://127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection until it breaks."""
        with connection:
            connection.settimeout(20)
            stream = connection.makefile("rb")
            # Only who asks is given a step of the script.
            while stream.peek(1):
                step = self.script.popleft() if self.script else GOOD
                if step.kind == "deaf":
                    stream.read1(step.at)
                    _break(connection, reset=step.reset)
                    return
                answer = self._answer(step, *_read_request(stream))
                connection.sendall(answer[: step.at] if step.kind == "mute" else answer)
                if step.kind == "mute":
                    _break(connection, reset=step.reset)
                    return

    def _answer(self, step: Step, method: str, path: str, body: bytes) -> bytes:
        self.requests.append(f"{method} {path.rpartition('/attempts/1/')[2]}")
        if step.kind == "answer":
            return _http(step.status, step.body, step.headers)
        if path.endswith("/manifest"):
            return _json(200, self.manifest)
        if path.endswith("/heartbeat"):
            return _json(200, {"directive": self.directive})
        return self._take(int(path.rpartition("/")[2]), body)

    def _take(self, number: int, body: bytes) -> bytes:
        if number > self.next:
            self.complaints.append(f"segment {number} came before segment {self.next}")
            return _json(409, {"error": "a gap", "next": self.next})
        if self.bodies.setdefault(number, body) != body:
            self.complaints.append(f"segment {number} came twice and was not the same")
        self.next = max(self.next, number + 1)
        return _json(200, {"next": self.next, "directive": self.directive})


@contextmanager
def breaking_server() -> Iterator[BreakingServer]:
    """Serve while the context lasts."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        server = BreakingServer(listener.getsockname()[1])
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                with suppress(OSError):
                    # A worker has one connection at a time; what breaks off must not end the server.
                    server.serve(listener.accept()[0])

        thread = threading.Thread(target=accept, name="breaking-server")
        thread.start()
        try:
            yield server
        finally:
            over.set()
            with socket.create_connection(("127.0.0.1", server.port)):
                pass
            thread.join(30)
            assert not thread.is_alive()


def _read_request(stream: Any) -> tuple[str, str, bytes]:
    method, path, _ = stream.readline().decode().split(" ", 2)
    headers = {}
    while (line := stream.readline().decode().strip()) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", 0)))
    return method, path, gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body


def _break(connection: socket.socket, *, reset: bool) -> None:
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)


def _json(status: int, document: Any) -> bytes:
    return _http(status, json.dumps(document).encode(), (("Content-Type", "application/json"),))


def _http(status: int, body: bytes, headers: tuple[tuple[str, str], ...]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} Said",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
