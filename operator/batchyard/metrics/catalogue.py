"""Every metric there is: its name, kind, labels, the values a label can have, and what it means.

The one place where they are written down: the registry, the reference in ``docs/metrics.md`` and the tests go by it.
Label values are closed sets; whatever else comes is counted as ``other``, so that no user can make series without end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from batchyard.model.events import EventType, Severity
from batchyard.model.outcome import Outcome, Phase, Reason, Verdict
from batchyard.model.usage import Kind as BudgetKind

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "batchyard_"
OTHER = "other"

LONG_BUCKETS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
"""For whatever a user's deadline bounds."""

SHORT_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0, 7200.0)
"""For what should take milliseconds."""


class Kind(StrEnum):
    """What a metric's numbers are."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Told(StrEnum):
    """What became of a Kubernetes event: of ours the first five, of others' on our objects the last three."""

    POSTED = "posted"
    ALREADY_THERE = "alreadyThere"
    NOBODY_TO_TELL = "nobodyToTell"
    RETRIED = "retried"
    PARKED = "parked"
    MIRRORED = "mirrored"
    OMITTED = "omitted"
    UNKNOWN_OBJECT = "unknownObject"


class Provisioned(StrEnum):
    """How making an environment ended."""

    READY = "Ready"
    FAILED = "Failed"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    ABANDONED = "Abandoned"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``labels`` has each label's possible values; ``sampled`` ones are read when they are asked for.

    ``prefix`` is empty for those that every program's client library gives.
    """

    name: str
    kind: Kind
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()
    sampled: bool = False
    prefix: str = PREFIX

    @property
    def full_name(self) -> str:
        """Return the name as it is exported."""
        return self.prefix + self.name


RUNNERS = ("Threads", "Ray")
PROVIDERS = ("InProcess", "KubeRay", "Ray")
SCOPES = ("environment", "idle", "node", "trial", "batch")
BUDGET_SCOPES = ("trial", "batch")
ENVIRONMENT_STATES = ("Requested", "Queued", "Ready", "Running", "Ended", "Released")
# What kubelet, scheduler, job controller and KubeRay say about pods, jobs and clusters.
FOREIGN_REASONS = (
    "BackOff",
    "BackoffLimitExceeded",
    "Completed",
    "Created",
    "CreatedHeadPod",
    "CreatedRayCluster",
    "CreatedService",
    "CreatedWorkerPod",
    "DeletedHeadPod",
    "DeletedWorkerPod",
    "Evicted",
    "Failed",
    "FailedCreate",
    "FailedCreatePodSandBox",
    "FailedMount",
    "FailedScheduling",
    "FailedToCreateHeadPod",
    "FailedToCreateWorkerPod",
    "Killing",
    "NodeNotReady",
    "OOMKilling",
    "Preempted",
    "Pulled",
    "Pulling",
    "Scheduled",
    "Started",
    "SuccessfulCreate",
    "SuccessfulDelete",
    "TaintManagerEviction",
    "Unhealthy",
)
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_CODES = ("the HTTP status", "error")
_REASONS = tuple(str(reason) for reason in Reason)
_OUTCOMES = tuple(str(outcome) for outcome in Outcome)
_TYPES = tuple(str(kind) for kind in EventType)

_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

CATALOGUE: tuple[Metric, ...] = (
    Metric("batches", _G, "Batches in the store, by phase.", {"phase": tuple(map(str, Phase))}, sampled=True),
    Metric(
        "batches_finished_total",
        _C,
        "Batches that ended.",
        {"verdict": tuple(map(str, Verdict)), "reason": _REASONS},
    ),
    Metric("batch_duration_seconds", _H, "From a batch's acceptance to its end.", buckets=LONG_BUCKETS),
    Metric("trials_total", _C, "Attempts of trials that ended.", {"runner": RUNNERS, "outcome": _OUTCOMES}),
    Metric(
        "trial_duration_seconds",
        _H,
        "How long attempts ran.",
        {"runner": RUNNERS, "outcome": _OUTCOMES},
        buckets=LONG_BUCKETS,
    ),
    Metric("trials_running", _G, "Trials that run now.", {"runner": RUNNERS}, sampled=True),
    Metric("trials_pending", _G, "Trials of open batches that neither run nor have ended.", sampled=True),
    Metric("trial_retries_total", _C, "Attempts that were followed by another.", {"reason": _REASONS}),
    Metric("deadline_exceeded_total", _C, "Deadlines that passed.", {"scope": SCOPES}),
    Metric(
        "budget_exceeded_total",
        _C,
        "Budgets that were exceeded.",
        {"scope": BUDGET_SCOPES, "kind": tuple(map(str, BudgetKind))},
    ),
    Metric(
        "deadline_overrun_seconds",
        _H,
        "How long after its deadline something was really over.",
        {"scope": SCOPES},
        buckets=SHORT_BUCKETS,
    ),
    Metric("kills_total", _C, "Signals that were needed to end workers.", {"signal": ("SIGTERM", "SIGKILL")}),
    Metric("abandoned_workers", _G, "Workers that were told to end and may still run.", sampled=True),
    Metric(
        "environments",
        _G,
        "Environments that are not released yet, by state.",
        {"provider": PROVIDERS, "state": ENVIRONMENT_STATES},
        sampled=True,
    ),
    Metric(
        "environment_provision_seconds",
        _H,
        "From asking for an environment to its first worker's word, or to giving up.",
        {"provider": PROVIDERS, "outcome": tuple(map(str, Provisioned))},
        buckets=LONG_BUCKETS,
    ),
    Metric("node_duration_seconds", _H, "How long nodes of workflows ran.", buckets=LONG_BUCKETS),
    Metric("checkpoints_total", _C, "Node boundaries at which workers wrote a checkpoint."),
    Metric(
        "audit_entries_total",
        _C,
        "Audit entries that were stored.",
        {"type": _TYPES, "severity": tuple(map(str, Severity))},
    ),
    Metric("audit_dropped_total", _C, "Audit entries that were lost before they could be stored."),
    Metric("outbox_pending", _G, "Kubernetes events that wait to be posted.", sampled=True),
    Metric("outbox_oldest_seconds", _G, "How long the oldest of them has waited.", sampled=True),
    Metric(
        "kubernetes_events_total",
        _C,
        "Kubernetes events posted or mirrored, by what became of them.",
        {"reason": (*_TYPES, *FOREIGN_REASONS), "outcome": tuple(map(str, Told))},
    ),
    Metric("reconcile_duration_seconds", _H, "How long one look at a BatchTest took.", buckets=SHORT_BUCKETS),
    Metric("reconcile_errors_total", _C, "Looks at a BatchTest that failed; each is followed by another."),
    Metric("reconcile_queue_depth", _G, "BatchTests that wait to be looked at.", sampled=True),
    Metric("api_requests_total", _C, "Requests to the API server.", {"verb": VERBS, "code": _CODES}),
    Metric("store_errors_total", _C, "Times the store refused or could not be reached."),
    Metric(
        "watch_last_event_age_seconds",
        _G,
        "Seconds since BatchTests were last heard of: by the watch, or by the list of them every ten minutes.",
        sampled=True,
    ),
    Metric("leading", _G, "1 while this operator leads, 0 while it stands by.", sampled=True),
    Metric("build_info", _G, "Always 1; its labels say what runs.", {"version": (), "python": ()}),
    Metric("process_start_time_seconds", _G, "When the process began, since 1970.", sampled=True, prefix=""),
    Metric("process_cpu_seconds_total", _C, "Processor time the process used.", sampled=True, prefix=""),
    Metric("process_resident_memory_bytes", _G, "Memory the process holds.", sampled=True, prefix=""),
    Metric("process_virtual_memory_bytes", _G, "Address space the process has.", sampled=True, prefix=""),
    Metric("process_open_fds", _G, "Files and sockets the process has open.", sampled=True, prefix=""),
    Metric("process_max_fds", _G, "How many of them it may have open.", sampled=True, prefix=""),
)


def reference() -> str:
    """Return the reference of all metrics as Markdown."""
    rows = "\n".join(_row(metric) for metric in CATALOGUE)
    values = "\n".join(_values(metric) for metric in CATALOGUE if any(metric.labels.values()))
    return f"""\
# Metrics

Made from the catalogue in the code by `make golden`; a test compares. Not to be edited by hand.

The operator serves them at `/metrics` in Prometheus' text format, and as OpenMetrics to whoever asks for it. No
name or id of an object is a label, and every label has a closed set of values: anything else is counted as
`{OTHER}`. Counters begin at zero with the operator's process; gauges are worked out when they are asked for, so they
go back to zero by themselves when a batch ends in whatever way.

| name | kind | labels | meaning |
| --- | --- | --- | --- |
{rows}

Buckets of durations that a user's deadline bounds, in seconds: {_numbers(LONG_BUCKETS)}; of the others:
{_numbers(SHORT_BUCKETS)}.

## Label values

{values}
"""


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.full_name}` | {metric.kind} | {labels} | {metric.help} |"


def _values(metric: Metric) -> str:
    labels = "; ".join(
        f"`{label}`: {', '.join(value or '(none)' for value in values)}" for label, values in metric.labels.items()
    )
    return f"- `{metric.name}` {labels}"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
