"""Batches from ``kubectl apply`` to their end, on the real cluster."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from batchyard.decide.publish import PUBLISHED
from batchyard.model.audit import verify_chain
from batchyard.store.opening import open_store
from cluster.operator_bench import OperatorProcess, batch_test

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.bed.client import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

EXAMPLE = "examples/docs_search/batchtest.yaml"


@pytest.fixture
def operator(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that watches a namespace of its own."""
    with OperatorProcess(cluster, namespace, tmp_path) as process:
        yield process


@pytest.mark.parametrize("provider", ["InProcess", "KubeRay"])
def test_the_example_ends_in_the_cluster_as_it_does_locally(operator: OperatorProcess, provider: str) -> None:
    bundled = subprocess.run(
        [sys.executable, "-m", "batchyard", "bundle", EXAMPLE, "--provider", provider, "--workers", "1"],
        check=True, capture_output=True,
    )  # fmt: skip
    local = operator.folder / "local.db"
    subprocess.run([sys.executable, "-m", "batchyard", "run", EXAMPLE, "--store", str(local), "--quiet"], check=True)

    operator.apply(*yaml.safe_load_all(bundled.stdout))
    operator.cluster.kubectl(
        "wait", "-n", operator.namespace, "batchtest/docs-search", "--for=condition=Finished", "--timeout=120s",
        timeout=130,
    )  # fmt: skip

    status = operator.finished("docs-search")
    with open_store(str(local)) as store:
        record = store.batch("docs-search")
        expected = {result.trial_id: (result.outcome, result.score) for result in store.results(record.id)}
    assert {result.trial_id: (result.outcome, result.score) for result in operator.results("docs-search")} == expected
    assert (status["phase"], status["best"]) == (record.phase, record.status["best"])
    assert status["trials"]["passed"] == record.status["trials"]["passed"]
    _check_trail(operator, "docs-search")
    metrics = operator.metrics()
    runner = "Ray" if provider == "KubeRay" else "Threads"
    assert metrics[f'batchyard_trials_total{{outcome="Passed",runner="{runner}"}}'] == status["trials"]["passed"]
    assert metrics['batchyard_batches_finished_total{reason="",verdict="Succeeded"}'] == 1
    assert metrics['batchyard_batches{phase="Succeeded"}'] == 1
    assert metrics[f'batchyard_trials_running{{runner="{runner}"}}'] == 0


def _check_trail(operator: OperatorProcess, name: str) -> None:
    """Check that the trail is whole, that the status has one of its heads, and that events and entries agree."""
    trail = operator.trail(name)
    record = operator.record(name)
    assert verify_chain(trail, record.audit_head) == ""
    anchored = operator.status(name)["audit"]
    assert trail[anchored["entries"] - 1].hash == anchored["head"]
    expected = [
        (sealed.seq, sealed.hash, sealed.entry.type.value) for sealed in trail if sealed.entry.type in PUBLISHED
    ]
    operator.until(15, "every event to be posted", lambda: len(operator.events(name)) == len(expected))
    posted = [
        (
            int(event["metadata"]["labels"]["batchyard.dev/audit-seq"]),
            event["metadata"]["annotations"]["batchyard.dev/audit-hash"],
            event["reason"],
        )
        for event in operator.events(name)
    ]
    assert posted == expected


def test_cancel_ends_what_runs_and_leaves_the_rest_unrun(operator: OperatorProcess) -> None:
    cases = [{"name": f"case-{number}", "input": {"seconds": 30}} for number in range(4)]
    operator.apply(*batch_test("slow", "waits", cases=cases, variants=["a"], deadlines={"graceSeconds": 1}))
    operator.until(60, "trials to run", lambda: operator.metrics()['batchyard_trials_running{runner="Threads"}'] == 2)

    operator.patch("slow", {"cancel": True})

    status = operator.finished("slow")
    assert (status["phase"], status["reason"]) == ("Cancelled", "Cancelled")
    assert status["trials"]["cancelled"] == 2
    assert status["trials"]["notRun"] == 2
    _check_trail(operator, "slow")


def test_suspend_gives_the_place_back_and_resuming_runs_only_the_rest(operator: OperatorProcess) -> None:
    cases = [{"name": f"case-{number}", "input": {"seconds": 1.5}} for number in range(6)]
    operator.apply(*batch_test("held", "waits", cases=cases, variants=["a"], deadlines={"graceSeconds": 1}))
    operator.until(60, "a result", lambda: bool(operator.results("held")) if _accepted(operator, "held") else False)

    operator.patch("held", {"suspend": True})
    operator.until(60, "the batch to be suspended", lambda: operator.status("held").get("phase") == "Suspended", "held")
    assert operator.places() == []
    before = {result.trial_id: result.ended_at for result in operator.results("held")}
    operator.patch("held", {"suspend": False})

    status = operator.finished("held")
    assert status["phase"] == "Succeeded"
    after = {result.trial_id: result.ended_at for result in operator.results("held")}
    assert len(after) == len(cases)
    assert before.items() <= after.items()
    _check_trail(operator, "held")


def test_a_batch_that_is_suspended_from_the_start_gets_no_place(operator: OperatorProcess) -> None:
    operator.apply(*batch_test("later", suspend=True))
    operator.until(20, "the batch to be held", lambda: operator.status("later").get("phase") == "Suspended", "later")
    assert operator.places() == []

    operator.patch("later", {"suspend": False})

    assert operator.finished("later")["phase"] == "Succeeded"


@pytest.mark.parametrize("phase", ["Suspended", "Provisioning", "Running", "Succeeded"])
def test_a_deleted_batchtest_leaves_nothing_behind_in_any_phase(operator: OperatorProcess, phase: str) -> None:
    cases = [{"name": "one", "input": {"seconds": 0 if phase == "Succeeded" else 30}}]
    operator.apply(*batch_test("gone", "waits", cases=cases, variants=["a"], suspend=phase == "Suspended"))
    operator.until(60, phase, lambda: operator.status("gone").get("phase") == phase, "gone")

    operator.cluster.kubectl("delete", "-n", operator.namespace, "batchtest", "gone", "--timeout=30s")

    operator.until(45, "all to be gone", lambda: not operator.places())
    ended = {"Succeeded": "Succeeded"}.get(phase, "Cancelled")
    operator.until(30, "its end to be recorded", lambda: operator.record("gone").phase == ended)


def test_a_finished_batch_is_deleted_when_its_time_is_over(operator: OperatorProcess) -> None:
    operator.apply(*batch_test("brief", ttlSecondsAfterFinished=3))
    operator.until(60, "it to be finished", lambda: operator.condition("brief", "Finished") == "True", "brief")

    operator.until(30, "it to be deleted", lambda: not _accepted(operator, "brief", exists=True))
    assert operator.record("brief").phase == "Succeeded"


def _accepted(operator: OperatorProcess, name: str, *, exists: bool = False) -> bool:
    found = operator.cluster.kubectl("get", "-n", operator.namespace, "batchtests", "-o", "name").split()
    there = f"batchtest.batchyard.dev/{name}" in found
    return there if exists else there and operator.condition(name, "Accepted") == "True"


def test_a_workflow_that_cannot_be_imported_ends_the_batch_with_all_that_is_wrong(operator: OperatorProcess) -> None:
    objects = batch_test("broken")
    objects[1]["spec"]["workflow"]["factory"] = "noop:no_such_function"
    operator.apply(*objects)

    status = operator.finished("broken")

    assert (status["phase"], status["reason"]) == ("Failed", "WorkflowInvalid")
    assert "no_such_function" in status["message"]


def test_a_missing_configmap_is_waited_for(operator: OperatorProcess) -> None:
    source, test = batch_test("early")
    operator.apply(test)
    operator.until(
        20, "it to be waited for", lambda: operator.status("early").get("reason") == "ConfigMapMissing", "early"
    )
    assert "early-code" in operator.status("early")["message"]

    operator.apply(source)

    assert operator.finished("early")["phase"] == "Succeeded"
