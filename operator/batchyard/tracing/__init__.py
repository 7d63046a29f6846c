"""Traces of batches for whoever collects them by OTLP: batch, its attempts of trials, their nodes.

Off, and nothing of OpenTelemetry imported, unless an endpoint is set. Ids follow from the batch's own, so that all that
work on one batch, one after the other or at once, write one trace. A span says what ran, how long and how it ended;
never what went in or came out. Exporting never delays or fails a run.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from batchyard import config
from batchyard.engine.attempts import Ended
from batchyard.model.outcome import Outcome
from batchyard.tracing.spans import spans_of_attempt, spans_of_batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from batchyard.engine.attempts import BatchTestRunner, Order, RunnerEvent, Stop
    from batchyard.engine.ports import BatchRecord
    from batchyard.tracing.exporting import Exporter

_log = structlog.get_logger(__name__)

_HTTP = "http/protobuf"


class Traces:
    """Where spans go. Without an exporter, nowhere."""

    def __init__(self, exporter: Exporter | None = None) -> None:
        """Send spans by ``exporter``; whoever made it closes it."""
        self._exporter = exporter

    def batch_ended(self, record: BatchRecord, at: datetime, *, verdict: str, reason: str) -> None:
        """Send the span of a batch that is over: from its acceptance to now."""
        if self._exporter is not None:
            self._exporter.send(spans_of_batch(record, at, verdict=verdict, reason=reason))

    def over(self, runner: BatchTestRunner, batch_id: str) -> BatchTestRunner:
        """Return the runner, with a span sent of every attempt that it says has ended."""
        return runner if self._exporter is None else _TracedRunner(runner, batch_id, self._exporter)


class _TracedRunner:
    """Passes everything on, and sends spans of what ended."""

    def __init__(self, runner: BatchTestRunner, batch_id: str, exporter: Exporter) -> None:
        self._runner, self._batch_id, self._exporter = runner, batch_id, exporter

    def submit(self, order: Order) -> None:
        self._runner.submit(order)

    def next_event(self, timeout: float | None) -> RunnerEvent | None:
        event = self._runner.next_event(timeout)
        if isinstance(event, Ended) and event.result.outcome is not Outcome.NOT_RUN:
            self._exporter.send(spans_of_attempt(event.result, self._batch_id))
        return event

    def pause(self, ordinal: int) -> None:
        self._runner.pause(ordinal)

    def stop(self, stop: Stop) -> Sequence[Order]:
        return self._runner.stop(stop)

    def close(self) -> None:
        self._runner.close()


@contextmanager
def open_traces() -> Iterator[Traces]:
    """Give the traces that the environment asks for; what is left is sent in the end, for a bounded time.

    Settings that cannot be used, or a missing package, are told as one warning, and there are no traces.
    """
    exporter = _exporter(config.telemetry())
    try:
        yield Traces(exporter)
    finally:
        if exporter is not None:
            exporter.close()


def _exporter(settings: Mapping[str, str]) -> Exporter | None:
    if not is_wanted(settings):
        return None
    protocol = settings.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or settings.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in {None, _HTTP}:
        _log.warning("there are no traces: of OTLP only http/protobuf is spoken", protocol=protocol)
        return None
    try:
        from batchyard.tracing.exporting import Exporter

        return Exporter()
    except ImportError as err:
        remedy = "pip install 'batchyard[tracing]', or unset OTEL_EXPORTER_OTLP_ENDPOINT"
        _log.warning("there are no traces: a package that sends them is missing", error=str(err), remedy=remedy)
    except Exception as err:  # whatever OpenTelemetry makes of a setting that it cannot use
        _log.warning("there are no traces: an OTEL_* setting cannot be used", error=f"{type(err).__name__}: {err}")
    return None


def is_wanted(settings: Mapping[str, str]) -> bool:
    """Return whether these OTEL_* settings ask for traces."""
    endpoint = settings.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or settings.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    disabled = settings.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return bool(endpoint) and not disabled and settings.get("OTEL_TRACES_EXPORTER", "").strip().lower() != "none"
