"""The operator's metrics: their names are the contract's, their numbers what happened, their labels a closed world."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse

from batchyard.metrics import Metrics, Provisioned, StateSnapshot, Told, reference
from batchyard.metrics.catalogue import CATALOGUE, OTHER, PREFIX

# As the contract has them: name, kind, labels.
CONTRACT = {
    "batches": ("gauge", "phase"),
    "batches_finished_total": ("counter", "verdict reason"),
    "batch_duration_seconds": ("histogram", ""),
    "trials_total": ("counter", "runner outcome"),
    "trial_duration_seconds": ("histogram", "runner outcome"),
    "trials_running": ("gauge", "runner"),
    "trials_pending": ("gauge", ""),
    "trial_retries_total": ("counter", "reason"),
    "deadline_exceeded_total": ("counter", "scope"),
    "budget_exceeded_total": ("counter", "scope kind"),
    "deadline_overrun_seconds": ("histogram", "scope"),
    "kills_total": ("counter", "signal"),
    "abandoned_workers": ("gauge", ""),
    "environments": ("gauge", "provider state"),
    "environment_provision_seconds": ("histogram", "provider outcome"),
    "node_duration_seconds": ("histogram", ""),
    "checkpoints_total": ("counter", ""),
    "audit_entries_total": ("counter", "type severity"),
    "audit_dropped_total": ("counter", ""),
    "outbox_pending": ("gauge", ""),
    "outbox_oldest_seconds": ("gauge", ""),
    "kubernetes_events_total": ("counter", "reason outcome"),
    "reconcile_duration_seconds": ("histogram", ""),
    "reconcile_errors_total": ("counter", ""),
    "reconcile_queue_depth": ("gauge", ""),
    "api_requests_total": ("counter", "verb code"),
    "store_errors_total": ("counter", ""),
    "watch_last_event_age_seconds": ("gauge", ""),
    "leading": ("gauge", ""),
    "build_info": ("gauge", "version python"),
    "process_start_time_seconds": ("gauge", ""),
    "process_cpu_seconds_total": ("counter", ""),
    "process_resident_memory_bytes": ("gauge", ""),
    "process_virtual_memory_bytes": ("gauge", ""),
    "process_open_fds": ("gauge", ""),
    "process_max_fds": ("gauge", ""),
}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return every sample by its name, without prefix, and label values in the order of their names."""
    found = {}
    for family in parse(metrics.render()[0].decode()):
        for sample in family.samples:
            labels = [value for _, value in sorted(sample.labels.items())]
            found[(sample.name.removeprefix(PREFIX), *labels)] = sample.value
    return found


def everything_happens(metrics: Metrics) -> None:
    metrics.batch_finished("Failed", "GateFailed", 12)
    metrics.trial_ended("Ray", "Passed", 0.5)
    metrics.trials_not_run("Ray", 3)
    metrics.trial_retried("WorkerLost")
    metrics.deadline_exceeded("trial")
    metrics.budget_exceeded("batch", "cost")
    metrics.deadline_overrun("trial", 0.2)
    metrics.killed("SIGKILL")
    metrics.environment_provisioned("KubeRay", Provisioned.READY, 20)
    metrics.node_ended(0.1)
    metrics.checkpoints_written(4)
    metrics.audit_entry_stored("BatchStarted", "info")
    metrics.audit_entries_dropped(2)
    metrics.kubernetes_event("BatchStarted", Told.POSTED)
    metrics.reconciled(0.003)
    metrics.reconcile_failed()
    metrics.api_request("create", 201)
    metrics.store_failed()
    metrics.set_state_source(lambda: StateSnapshot(watch_last_event_age_seconds=1.0))


def test_the_names_kinds_and_labels_are_the_contracts(metrics: Metrics) -> None:
    everything_happens(metrics)

    exported = {}
    for family in parse(metrics.render()[0].decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels if label != "le"}
        exported[name.removeprefix(PREFIX)] = (family.type, labels)

    assert exported == {name: (kind, set(labels.split())) for name, (kind, labels) in CONTRACT.items()}


def test_the_catalogue_has_the_contracts_labels_in_their_order() -> None:
    assert {metric.name: (metric.kind, " ".join(metric.labels)) for metric in CATALOGUE} == CONTRACT


def test_every_histogram_reaches_two_hours() -> None:
    tops = {metric.name: metric.buckets[-1] for metric in CATALOGUE if metric.buckets}

    assert set(tops.values()) == {7200.0}
    assert set(tops) == {name for name, (kind, _) in CONTRACT.items() if kind == "histogram"}


def test_the_reference_in_the_docs_is_up_to_date() -> None:
    written = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"

    assert written.read_text(encoding="utf-8") == reference()


def test_what_happened_is_counted(metrics: Metrics) -> None:
    everything_happens(metrics)

    found = samples(metrics)

    assert found["batches_finished_total", "GateFailed", "Failed"] == 1
    assert found["trials_total", "Passed", "Ray"] == 1
    assert found["trials_total", "NotRun", "Ray"] == 3
    assert found["trial_duration_seconds_sum", "Passed", "Ray"] == 0.5
    assert found["checkpoints_total",] == 4
    assert found["audit_dropped_total",] == 2
    assert found["kubernetes_events_total", "posted", "BatchStarted"] == 1
    assert found["api_requests_total", "201", "create"] == 1
    assert found["environment_provision_seconds_bucket", "30.0", "Ready", "KubeRay"] == 1


def test_small_sets_of_labels_are_there_before_anything_happens(metrics: Metrics) -> None:
    found = samples(metrics)

    assert found["trials_total", "TimedOut", "Threads"] == 0
    assert found["deadline_exceeded_total", "batch"] == 0
    assert not [key for key in found if key[0] == "api_requests_total"]


def test_values_from_outside_never_become_labels(metrics: Metrics) -> None:
    for number in range(1000):
        metrics.kubernetes_event(f"Reason{number}", Told.MIRRORED)
        metrics.audit_entry_stored(f"Type{number}", "loud")
        metrics.trial_ended(f"runner{number}", f"outcome{number}", 1)
        metrics.api_request(f"VERB{number}", 100_000 + number)
        metrics.killed(f"SIG{number}")

    found = samples(metrics)

    assert found["kubernetes_events_total", "mirrored", OTHER] == 1000
    assert found["audit_entries_total", OTHER, OTHER] == 1000
    assert found["trials_total", OTHER, OTHER] == 1000
    assert found["api_requests_total", "error", OTHER] == 1000
    assert found["kills_total", OTHER] == 1000


def test_a_request_without_an_answer_is_an_error(metrics: Metrics) -> None:
    metrics.api_request("get", None)

    assert samples(metrics)["api_requests_total", "error", "get"] == 1


def test_a_clock_that_was_set_back_breaks_no_sum(metrics: Metrics) -> None:
    metrics.reconciled(-5)

    assert samples(metrics)["reconcile_duration_seconds_sum",] == 0


@pytest.mark.proves("metrics")
def test_gauges_are_what_the_state_is_now_and_zero_for_what_it_does_not_name(metrics: Metrics) -> None:
    state = StateSnapshot(
        batches={"Running": 2},
        trials_running={"Ray": 4},
        environments={("KubeRay", "Ready"): 1, ("Cloud", "Odd"): 2},
        trials_pending=7,
    )
    metrics.set_state_source(lambda: state)

    before = samples(metrics)
    state = StateSnapshot()
    after = samples(metrics)

    assert (before["batches", "Running"], before["batches", "Failed"]) == (2, 0)
    assert before["environments", "KubeRay", "Ready"] == 1
    assert before["environments", OTHER, OTHER] == 2
    assert before["trials_pending",] == 7
    assert after["batches", "Running"] == after["trials_running", "Ray"] == after["trials_pending",] == 0


def test_a_state_that_cannot_be_read_hides_no_counter(metrics: Metrics) -> None:
    def unreadable() -> StateSnapshot:
        raise OSError("the store is away")

    metrics.set_state_source(unreadable)
    metrics.reconciled(1)

    found = samples(metrics)

    assert found["reconcile_duration_seconds_count",] == 1
    assert ("trials_pending",) not in found
    assert samples(metrics)["store_errors_total",] >= 1


def test_leadership_is_told_as_it_is_now(metrics: Metrics) -> None:
    before = samples(metrics)
    metrics.leads(True)
    during = samples(metrics)
    metrics.leads(False)

    assert (before["leading",], during["leading",], samples(metrics)["leading",]) == (0, 1, 0)


def test_what_alerts_ask_the_increase_of_is_there_before_it_first_happens(metrics: Metrics) -> None:
    found = samples(metrics)

    assert found["batches_finished_total", "EnvironmentFailed", "Failed"] == 0
    assert found["audit_entries_total", "warning", "EventUndeliverable"] == 0
    assert found["trial_retries_total", "OutOfMemory"] == 0


def test_whoever_asks_for_open_metrics_gets_them(metrics: Metrics) -> None:
    everything_happens(metrics)

    body, content_type = metrics.render("application/openmetrics-text; version=1.0.0")

    assert content_type.startswith("application/openmetrics-text")
    families = parse_open_metrics(body.decode())  # type: ignore[no-untyped-call]
    assert "batchyard_trials" in {family.name for family in families}


def test_two_registries_do_not_know_of_each_other(metrics: Metrics) -> None:
    metrics.store_failed()

    assert samples(Metrics())["store_errors_total",] == 0


def test_a_scrape_stays_small_whatever_happened(metrics: Metrics) -> None:
    everything_happens(metrics)

    assert len(metrics.render()[0]) < 200_000
