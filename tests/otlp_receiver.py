"""A collector of traces on loopback: takes OTLP over HTTP, decodes it by the protocol's own definitions, keeps all."""

from __future__ import annotations

import gzip
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from loopback_server import QuietHandler, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Received:
    """One span. Ids are hexadecimal; ``parent`` is "" for a root; times are nanoseconds."""

    name: str
    trace: str
    id: str
    parent: str
    begun: int
    ended: int
    attributes: dict[str, Any]
    status: str
    resource: dict[str, Any]


@dataclass(slots=True)
class Receiver:
    """What came. ``stalls``: it takes requests, and does not answer before it ends."""

    stalls: bool = False
    url: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    _spans: list[Received] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)  # guards the lists; requests come in threads

    @property
    def spans(self) -> list[Received]:
        with self._lock:
            return list(self._spans)

    def named(self, beginning: str) -> list[Received]:
        """Return the spans whose names begin so, in the order of their begin."""
        found = [span for span in self.spans if span.name.startswith(beginning)]
        return sorted(found, key=lambda span: (span.begun, span.name))

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Keep the spans of a request; return the status to answer."""
        if path != "/v1/traces" or headers.get("content-type") != "application/x-protobuf":
            return 404
        data = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        request = ExportTraceServiceRequest()
        request.ParseFromString(data)
        with self._lock:
            self.headers.append(headers)
            self._spans += _spans_in(request)
        return 200


@contextmanager
def receiving(receiver: Receiver | None = None, *, host: str = "127.0.0.1") -> Iterator[Receiver]:
    """Listen while the context lasts."""
    made = receiver or Receiver()

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if made.stalls:
                made.over.wait()
                self.close_connection = True
                return
            status = made.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Handler, host=host) as made.url:
        try:
            yield made
        finally:
            made.over.set()


def _spans_in(request: Any) -> Iterator[Received]:
    for of_resource in request.resource_spans:
        resource = _values(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield Received(
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    begun=span.start_time_unix_nano,
                    ended=span.end_time_unix_nano,
                    attributes=_values(span.attributes),
                    status={0: "", 1: "OK", 2: "ERROR"}[span.status.code],
                    resource=resource,
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
