"""Trials in Ray pods that fight their deadlines: they end in time, their processes are gone, all others finish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batchyard.model.outcome import Outcome, Reason
from cluster.operator_bench import OperatorProcess, batch_test, check_trail

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.bed.client import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.alone, pytest.mark.timeout(300)]

TRIAL, GRACE = 2.0, 0.5
PIDS = "/tmp"  # the pod's own
HOSTILE = (
    "ignores_sigterm_and_sleeps",
    "sleeps_in_c",
    "holds_the_gil",
    "forks_grandchildren",
    "stops_itself",
    "spins",
)
_LOOK = f"""
import os, pathlib
files = [file for act in {HOSTILE!r} for file in pathlib.Path({PIDS!r}).glob(act + "-*")]
left = [int(file.read_text()) for file in files]
print(len(left), [pid for pid in left if os.path.exists(f"/proc/{{pid}}")])
"""


def hostile_batch(provider: str) -> list[dict[str, Any]]:
    """Return a batch of trials that fight, with a plain one after each."""
    source, test = batch_test(
        "hostile",
        "hostile",
        provider=provider,
        cases=[{"name": "one", "input": {"pids": PIDS}}],
        deadlines={"trialSeconds": TRIAL, "graceSeconds": GRACE},
    )
    plain = [{"name": f"ok-{act}".replace("_", "-"), "variants": {"act": "ok"}} for act in HOSTILE]
    fighting = [{"name": act.replace("_", "-"), "variants": {"act": act}} for act in HOSTILE]
    test["spec"]["variants"] = {"include": [one for pair in zip(fighting, plain, strict=True) for one in pair]}
    return [source, test]


def check_ends(operator: OperatorProcess) -> None:
    """Check that the hostile trials ended in time, and that no other trial suffered."""
    results = {result.combination: result for result in operator.results("hostile")}
    assert len(results) == 2 * len(HOSTILE)
    for act in HOSTILE:
        result = results[act.replace("_", "-")]
        assert (result.outcome, result.reason) == (Outcome.TIMED_OUT, Reason.TRIAL_DEADLINE_EXCEEDED)
        assert TRIAL <= result.duration_seconds <= TRIAL + GRACE + 2
        assert "could not be confirmed" not in result.message
        assert results[f"ok-{act}".replace("_", "-")].outcome is Outcome.PASSED
    check_trail(operator, "hostile")


def test_hostile_trials_in_a_runner_pod_end_in_time_and_the_rest_finishes(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    with OperatorProcess(cluster, namespace, tmp_path) as operator:
        operator.apply(*hostile_batch("InProcess"))

        operator.finished("hostile", 120)

        check_ends(operator)


def test_hostile_trials_in_ray_pods_end_in_time_and_leave_no_process(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    source, test = hostile_batch("KubeRay")
    # One case shows nothing: the batch does not succeed and its place is kept, so that it can be looked into.
    test["spec"]["gate"] = {"baseline": {"combination": "ok-spins", "maxRegression": 0.0}}
    test["spec"]["environment"]["kubeRay"] = {"workers": {"replicas": 1}, "keepOnFailure": True}
    with OperatorProcess(cluster, namespace, tmp_path) as operator:
        operator.apply(source, test)

        operator.until(200, "the end", lambda: operator.condition("hostile", "Finished") == "True", "hostile")

        assert operator.status("hostile")["phase"] == "Failed"
        check_ends(operator)
        pods = ("get", "pods", "-n", namespace, "-l", "ray.io/node-type=worker", "-o", "name")
        (worker,) = cluster.kubectl(*pods).split()
        seen, alive = cluster.kubectl("exec", "-n", namespace, worker, "--", "python3", "-c", _LOOK).split(maxsplit=1)
        assert int(seen) > len(HOSTILE)
        assert alive.strip() == "[]"
        cluster.kubectl("delete", "-n", namespace, "batchtest", "hostile", "--timeout=30s")
        operator.until(60, "the kept place to go with its BatchTest", lambda: not operator.places())
