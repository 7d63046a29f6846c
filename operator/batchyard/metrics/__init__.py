"""What the operator counts and measures, and how it is asked for. The only place that knows the Prometheus client.

Methods are named after what happened. All are safe to call from any thread, never wait and never raise for a value
that is not expected: it is counted as ``other``.
"""

from __future__ import annotations

import logging
import platform
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder

from batchyard import __version__
from batchyard.metrics.catalogue import CATALOGUE, OTHER, PREFIX, Kind, Metric, Provisioned, Told, reference
from batchyard.metrics.state import StateSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.core import Metric as Family

__all__ = ["Metrics", "Provisioned", "StateSnapshot", "Told", "reference"]

_log = logging.getLogger(__name__)

# More label sets than this are made when they are first needed. Whoever asks for an increase does not see the first of
# those, so what alerts ask for must be here before.
_MOST_PREPARED = 300
_BY_NAME: Mapping[str, Metric] = {metric.name: metric for metric in CATALOGUE}
_KNOWN: Mapping[tuple[str, str], frozenset[str]] = {
    (metric.name, label): frozenset(values) for metric in CATALOGUE for label, values in metric.labels.items()
}


class Metrics:
    """One process's metrics, in a registry of their own."""

    def __init__(self) -> None:
        """Begin at zero. Turns off ``_created`` series in this process: they double what is scraped."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in CATALOGUE:
            if metric.sampled or metric.name == "build_info":
                continue
            self._prepare(metric)
        self._leading = False
        self._state: Callable[[], StateSnapshot] | None = None
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        build = Gauge(
            PREFIX + "build_info", _BY_NAME["build_info"].help, ("version", "python"), registry=self._registry
        )
        build.labels(__version__, platform.python_version()).set(1)

    # -- what happened -----------------------------------------------------------------------------------------

    def batch_finished(self, verdict: str, reason: str, seconds: float) -> None:
        """Count a batch that ended, ``seconds`` after its acceptance."""
        self._count("batches_finished_total", verdict, reason)
        self._measure("batch_duration_seconds", seconds)

    def trial_ended(self, runner: str, outcome: str, seconds: float) -> None:
        """Count an attempt that ended after ``seconds``, a retried one too."""
        self._count("trials_total", runner, outcome)
        self._measure("trial_duration_seconds", seconds, runner, outcome)

    def trials_not_run(self, runner: str, count: int) -> None:
        """Count trials that the batch's end left without an attempt."""
        self._count("trials_total", runner, "NotRun", amount=count)

    def trial_retried(self, reason: str, count: int = 1) -> None:
        """Count an attempt that another follows, with why it failed."""
        self._count("trial_retries_total", reason, amount=count)

    def deadline_exceeded(self, scope: str) -> None:
        """Count a deadline (environment, idle, node, trial, batch) that passed."""
        self._count("deadline_exceeded_total", scope)

    def budget_exceeded(self, scope: str, kind: str) -> None:
        """Count a budget (of a trial or a batch, of steps, tokens or cost) that was exceeded."""
        self._count("budget_exceeded_total", scope, kind)

    def deadline_overrun(self, scope: str, seconds: float) -> None:
        """Measure how long after its deadline something was over."""
        self._measure("deadline_overrun_seconds", seconds, scope)

    def killed(self, signal: str, count: int = 1) -> None:
        """Count a signal (SIGTERM, SIGKILL) that was needed to end a worker."""
        self._count("kills_total", signal, amount=count)

    def environment_provisioned(self, provider: str, outcome: str, seconds: float) -> None:
        """Measure how long it took to get an environment, or to give it up (``Provisioned``)."""
        self._measure("environment_provision_seconds", seconds, provider, outcome)

    def node_ended(self, seconds: float) -> None:
        """Measure one node's run."""
        self._measure("node_duration_seconds", seconds)

    def checkpoints_written(self, count: int) -> None:
        """Count checkpoints."""
        self._count("checkpoints_total", amount=count)

    def audit_entry_stored(self, kind: str, severity: str) -> None:
        """Count an audit entry that is in the store."""
        self._count("audit_entries_total", kind, severity)

    def audit_entries_dropped(self, count: int) -> None:
        """Count audit entries that were lost before they could be stored."""
        self._count("audit_dropped_total", amount=count)

    def kubernetes_event(self, reason: str, outcome: Told, count: int = 1) -> None:
        """Count a Kubernetes event, ours or another's, by what became of it."""
        self._count("kubernetes_events_total", reason, outcome, amount=count)

    def reconciled(self, seconds: float) -> None:
        """Measure one look at a BatchTest."""
        self._measure("reconcile_duration_seconds", seconds)

    def reconcile_failed(self) -> None:
        """Count a look at a BatchTest that failed."""
        self._count("reconcile_errors_total")

    def api_request(self, verb: str, code: int | None) -> None:
        """Count a request to the API server; ``code`` is None if no answer came."""
        answered = code is not None and 100 <= code <= 599
        self._counters["api_requests_total"].labels(
            _known("api_requests_total", "verb", verb), str(code) if answered else "error"
        ).inc()

    def store_failed(self) -> None:
        """Count a call to the store that failed."""
        self._count("store_errors_total")

    # -- how things stand --------------------------------------------------------------------------------------

    def leads(self, leading: bool) -> None:
        """Say whether this process leads from now on."""
        self._leading = leading

    def set_state_source(self, source: Callable[[], StateSnapshot]) -> None:
        """Have ``source`` called, in the thread of ``render``, whenever somebody asks for the metrics."""
        self._state = source

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics as text, and its content type; ``accept`` is the request's Accept header.

        Calls the state source, which may wait for the store. If that raises, the gauges it would have given are
        left out and ``store_errors_total`` goes up: a scrape never fails for it.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Family]:
        """Yield what is read at scrape time; the registry calls it."""
        yield _plain("leading", float(self._leading))
        if self._state is None:
            return
        try:
            snapshot = self._state()
        except Exception:  # whatever keeps the state from being read must not hide every other metric
            _log.exception("the state could not be read for the metrics")
            self.store_failed()
            return
        yield from _gauges(snapshot)

    # -- inside ------------------------------------------------------------------------------------------------

    def _prepare(self, metric: Metric) -> None:
        name, labels = PREFIX + metric.name, tuple(metric.labels)
        made: Counter | Histogram
        if metric.kind is Kind.COUNTER:
            made = self._counters[metric.name] = Counter(name, metric.help, labels, registry=self._registry)
        else:
            made = self._histograms[metric.name] = Histogram(
                name, metric.help, labels, registry=self._registry, buckets=metric.buckets
            )
        sets = prod(len(values) for values in metric.labels.values())
        if labels and metric.name != "api_requests_total" and sets <= _MOST_PREPARED:
            for values in product(*metric.labels.values()):
                made.labels(*values)

    def _count(self, name: str, *values: str, amount: float = 1) -> None:
        counter = self._counters[name]
        if amount > 0:
            (counter.labels(*_bounded(name, values)) if values else counter).inc(amount)

    def _measure(self, name: str, seconds: float, *values: str) -> None:
        histogram = self._histograms[name]
        # A wall clock that was set back must not break a sum that only grows.
        (histogram.labels(*_bounded(name, values)) if values else histogram).observe(max(0.0, seconds))


def _bounded(name: str, values: tuple[str, ...]) -> Iterator[str]:
    return (_known(name, label, value) for label, value in zip(_BY_NAME[name].labels, values, strict=True))


def _known(name: str, label: str, value: str) -> str:
    return str(value) if value in _KNOWN[name, label] else OTHER


def _gauges(state: StateSnapshot) -> Iterator[Family]:
    yield _labelled("batches", (((phase,), count) for phase, count in state.batches.items()))
    yield _labelled("trials_running", (((runner,), count) for runner, count in state.trials_running.items()))
    yield _labelled("environments", state.environments.items())
    yield _plain("trials_pending", state.trials_pending)
    yield _plain("abandoned_workers", state.abandoned_workers)
    yield _plain("outbox_pending", state.outbox_pending)
    yield _plain("outbox_oldest_seconds", state.outbox_oldest_seconds)
    yield _plain("reconcile_queue_depth", state.reconcile_queue_depth)
    if state.watch_last_event_age_seconds is not None:
        yield _plain("watch_last_event_age_seconds", state.watch_last_event_age_seconds)


def _plain(name: str, value: float) -> Family:
    return GaugeMetricFamily(PREFIX + name, _BY_NAME[name].help, value=value)


def _labelled(name: str, counts: Iterable[tuple[tuple[str, ...], int]]) -> Family:
    metric = _BY_NAME[name]
    family = GaugeMetricFamily(PREFIX + name, metric.help, labels=tuple(metric.labels))
    totals: dict[tuple[str, ...], int] = dict.fromkeys(product(*metric.labels.values()), 0)
    for values, count in counts:
        bounded = tuple(_bounded(name, values))
        totals[bounded] = totals.get(bounded, 0) + count
    for values, total in totals.items():
        family.add_metric(values, total)
    return family
