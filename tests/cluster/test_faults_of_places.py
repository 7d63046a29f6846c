"""Places that break, cannot be had or are taken away: what becomes of the batch, on the real cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cluster import fault_table
from cluster.operator_bench import OperatorProcess, batch_test, check_trail

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cluster.bed.client import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SLOW = [{"name": f"case-{number}", "input": {"seconds": 1.5}} for number in range(6)]
# What is wrong with a pod is to be seen before the deadline, and KubeRay makes its pods in its own time.
TO_PROVISION = {"InProcess": {"environmentSeconds": 12}, "KubeRay": {"environmentSeconds": 30}}
# Pods are told to end before they are killed: whether the worker in one has time for a last word, and what it has
# noticed by then of the trials that it loses, is not the same each time.
MAY_BE_TOLD = {
    "app.kubernetes.io/name=batchyard-runner": frozenset({"EnvironmentFailed", "LateResult"}),
    "ray.io/node-type=head": frozenset({"EnvironmentFailed", "LateResult", "TrialErrored", "TrialRetried"}),
}


def delete_pods(operator: OperatorProcess, selector: str) -> None:
    """Kill every pod that the selector finds, as if its node had gone."""
    operator.cluster.kubectl("delete", "pods", "-n", operator.namespace, "-l", selector, "--grace-period=0", "--force")


def begin(operator: OperatorProcess, name: str, **batch: Any) -> None:
    """Apply a batch of trials that take three seconds each, and wait for the first result."""
    operator.apply(*batch_test(name, "waits", **{"cases": SLOW, "variants": ["a"], **batch}))
    operator.until(120, "a first result", lambda: operator.has_begun(name) and bool(operator.results(name)), name)


def finished_once(operator: OperatorProcess, name: str, before: Sequence[tuple[str, Any]]) -> None:
    """Check that every trial has one final result, and that those that were there before are still the same."""
    after = [(result.trial_id, result.ended_at) for result in operator.results(name)]
    assert len(after) == len(dict(after)) == len(SLOW)
    assert dict(before).items() <= dict(after).items()


def finals(operator: OperatorProcess, name: str) -> list[tuple[str, Any]]:
    return [(result.trial_id, result.ended_at) for result in operator.results(name)]


@pytest.mark.parametrize(
    ("fault", "provider", "selector"),
    [
        ("the runner pod is killed in the middle", "InProcess", "app.kubernetes.io/name=batchyard-runner"),
        ("the head pod of Ray is killed in the middle", "KubeRay", "ray.io/node-type=head"),
        ("a worker pod of Ray is killed in the middle", "KubeRay", "ray.io/node-type=worker"),
    ],
    ids=["runner", "head", "worker"],
)
def test_a_killed_pod_costs_only_the_trials_that_were_running(
    operator: OperatorProcess, fault: str, provider: str, selector: str
) -> None:
    begin(operator, "struck", provider=provider)
    before = finals(operator, "struck")

    delete_pods(operator, selector)

    status = operator.finished("struck", 240)
    assert status["phase"] == "Succeeded"
    finished_once(operator, "struck", before)
    check_trail(operator, "struck")
    fault_table.tell(fault, operator, "struck", varies=MAY_BE_TOLD.get(selector, frozenset()))


@pytest.mark.parametrize("provider", ["InProcess", "KubeRay"])
def test_an_image_that_cannot_be_pulled_ends_the_batch_with_what_the_pod_says(
    operator: OperatorProcess, provider: str
) -> None:
    source, test = batch_test("pullless", provider=provider, deadlines=TO_PROVISION[provider])
    del source
    test["spec"]["workflow"] = {"factory": "noop:build", "source": {"image": "registry.invalid/nobody/nothing:1"}}
    operator.apply(test)

    status = operator.finished("pullless", 90)

    assert status["reason"] == "EnvironmentDeadlineExceeded"
    assert "pull" in status["message"].lower()
    assert "registry.invalid/nobody/nothing:1" in status["message"]
    assert status["trials"]["notRun"] == status["trials"]["total"]
    check_trail(operator, "pullless")
    fault_table.tell(f"the image cannot be pulled ({provider})", operator, "pullless")


@pytest.mark.parametrize("provider", ["InProcess", "KubeRay"])
def test_pods_that_no_node_takes_end_the_batch_with_what_the_scheduler_says(
    operator: OperatorProcess, provider: str
) -> None:
    environment = {"template": {"nodeSelector": {"no.such/label": "anywhere"}}}
    operator.apply(
        *batch_test("homeless", provider=provider, environment=environment, deadlines=TO_PROVISION[provider])
    )

    status = operator.finished("homeless", 90)

    assert status["reason"] == "EnvironmentDeadlineExceeded"
    assert "Unschedulable" in status["message"]
    assert "node" in status["message"]
    check_trail(operator, "homeless")
    fault_table.tell(f"no node takes the pods ({provider})", operator, "homeless")


@pytest.mark.alone
def test_without_kuberays_operator_the_batch_ends_with_that_reason(operator: OperatorProcess) -> None:
    kuberay = operator.cluster.one_node.kuberay
    kuberay.stop()
    try:
        operator.apply(*batch_test("alone", provider="KubeRay", deadlines={"environmentSeconds": 20}))
        status = operator.finished("alone", 60)
    finally:
        kuberay.start()

    assert status["reason"] == "EnvironmentDeadlineExceeded"
    assert "KubeRay" in status["message"]
    check_trail(operator, "alone")
    fault_table.tell("KubeRay's operator is not there", operator, "alone")


def test_a_deleted_namespace_ends_the_batch_and_leaves_the_operator_well(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    own = f"{namespace}-own"
    cluster.make_namespace(own)
    with OperatorProcess(cluster, namespace, tmp_path, lease_namespace=own) as operator:
        begin(operator, "swept", cases=[{"name": "quick"}, {"name": "endless", "input": {"seconds": 250}}])

        cluster.kubectl("delete", "namespace", namespace, "--timeout=60s", timeout=70)
        # The operator's rights there went with it; whoever makes it again gives them back.
        cluster.make_namespace(namespace)
        operator.admit()

        operator.until(60, "the end to be recorded", lambda: operator.record("swept").phase.final)
        assert operator.exit_code is None
        assert operator.record("swept").phase == "Cancelled"
        fault_table.tell("the namespace is deleted in the middle", operator, "swept", exists=False)
        operator.apply(*batch_test("afterwards"))
        assert operator.finished("afterwards")["phase"] == "Succeeded"
    cluster.kubectl("delete", "namespace", own, "--wait=false")


@pytest.mark.alone
def test_an_older_kuberay_does_as_well(operator: OperatorProcess) -> None:
    kuberay = operator.cluster.one_node.kuberay
    kuberay.start("1.5.1")
    try:
        operator.apply(*batch_test("older", provider="KubeRay"))
        status = operator.finished("older", 120)
    finally:
        kuberay.start()

    assert status["phase"] == "Succeeded"
    check_trail(operator, "older")


def test_what_pods_say_is_in_the_trail_too(operator: OperatorProcess) -> None:
    environment = {"template": {"nodeSelector": {"no.such/label": "anywhere"}}}
    operator.apply(*batch_test("mirrored", environment=environment, deadlines={"environmentSeconds": 8}))
    operator.finished("mirrored", 60)

    operator.until(
        30,
        "the scheduler's event to be mirrored",
        lambda: any(
            sealed.entry.source == "kubernetes" and "FailedScheduling" in json.dumps(dict(sealed.entry.details))
            for sealed in operator.trail("mirrored")
        ),
        "mirrored",
    )
