"""Sends spans by OpenTelemetry's exporter, which reads its settings from OTEL_*. The one module that imports it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

import batchyard

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from batchyard.tracing.spans import Span

_log = structlog.get_logger(__name__)

CLOSE_SECONDS = 2.0
"""How long the end of a run waits for what is not sent yet."""

_STATUS = {True: StatusCode.ERROR, False: StatusCode.OK, None: StatusCode.UNSET}


class Exporter:
    """Sends spans in the background, from a queue of bounded size that drops what it cannot take."""

    def __init__(self) -> None:
        """Begin. Raises whatever OpenTelemetry does for a setting that it cannot use."""
        # It would tell of every try, with a traceback each; what came of them is told here, once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._resource = _resource()
        self._scope = InstrumentationScope("batchyard", batchyard.__version__)
        self._processor = BatchSpanProcessor(_Telling(OTLPSpanExporter()))

    def send(self, spans: Iterable[Span]) -> None:
        """Queue the spans; returns at once."""
        for span in spans:
            self._processor.on_end(self._readable(span))

    def close(self) -> None:
        """Send what is left, if that can be done soon."""
        # A collector that hangs must not keep the run; the thread ends with the process.
        closing = threading.Thread(target=self._processor.shutdown, name="batchyard-traces", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        if closing.is_alive():
            _log.warning("the last spans could not be sent in time", seconds=CLOSE_SECONDS)

    def _readable(self, span: Span) -> ReadableSpan:
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace_id, span.span_id),
            parent=None if span.parent_id is None else _context(span.trace_id, span.parent_id),
            resource=self._resource,
            attributes=dict(span.attributes),
            status=Status(_STATUS[span.failed], (span.why or None) if span.failed else None),
            start_time=_nanoseconds(span.begun),
            end_time=_nanoseconds(span.ended),
            instrumentation_scope=self._scope,
        )


class _Telling(SpanExporter):
    """Tells the first time that spans could not be sent, and of the first that could after that."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner, self._failing = inner, False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._failing:
            remedy = "check OTEL_EXPORTER_OTLP_ENDPOINT and the collector; runs go on without"
            _log.warning("spans could not be sent and are lost", count=len(spans), remedy=remedy)
        elif self._failing and not failed:
            _log.info("spans can be sent again")
        self._failing = failed
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


def _resource() -> Resource:
    found = Resource.create({SERVICE_VERSION: batchyard.__version__})
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        return found.merge(Resource({SERVICE_NAME: "batchyard"}))
    return found


def _context(trace: int, span: int) -> SpanContext:
    return SpanContext(trace, span, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1000
