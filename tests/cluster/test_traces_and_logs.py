"""What a collector of traces and one of logs get of a batch in a cluster: one trace, and lines that name the batch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cluster.bed.layout import GATEWAY
from cluster.operator_bench import OperatorProcess, batch_test
from cluster.pods import logs_to_the_end, wait_for_phase
from otlp_receiver import receiving
from workflows.talking import WORDS

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.bed.client import Cluster
    from otlp_receiver import Receiver

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

# What Ray's processes print is in files of Ray's own, not in what their pods print.
_OF_DRIVER = "/tmp/ray/session_latest/logs/job-driver-*.log"
_OF_TRIALS = "/var/lib/batchyard/workspaces/*/*/output.log"
_READ = "import glob, sys; print(*(open(file).read() for file in glob.glob(sys.argv[1])))"


def test_operator_and_runner_pod_send_one_trace_and_log_the_batch_and_the_operator_ends_with_0(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    # Some trials last until the pod's log is followed.
    cases = [{"name": name, "input": {"seconds": seconds}} for name, seconds in (("one", 0), ("two", 4))]
    with receiving(host=GATEWAY) as receiver:
        with OperatorProcess(cluster, namespace, tmp_path, env=_env(receiver)) as operator:
            operator.apply(*batch_test("traced", "waits", cases=cases))
            operator.until(60, "a runner pod", lambda: bool(_pods(operator)), "traced")
            (pod,) = _pods(operator)
            wait_for_phase(cluster, namespace, pod, "Running")
            said = _lines(logs_to_the_end(cluster, namespace, pod))
            operator.until(90, "the batch's end", lambda: operator.condition("traced", "Finished") == "True", "traced")
            batch_id, results = operator.record("traced").id, operator.results("traced")

            assert operator.stop() == 0

        _check_trace(receiver, batch_id, trials=4)
    assert {(line["batch"], line["place"]) for line in said} == {(batch_id, "1")}
    ended = {(line["trial"], line["attempt"]) for line in said if line.get("type") == "TrialPassed"}
    assert ended == {(result.trial_id, result.attempt) for result in results}
    lines = [json.loads(line) for line in operator.log.read_text().splitlines()]
    events = [line for line in lines if "type" in line]
    assert {(line["batch"], line["namespace"], line["name"]) for line in events} == {(batch_id, namespace, "traced")}


def test_on_ray_the_driver_sends_the_same_trace_and_the_trials_of_actors_log_which_they_are(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    # The gate fails and the place is kept, so that it can be looked into.
    environment = {
        "kubeRay": {"workers": {"replicas": 1}, "keepOnFailure": True},
        "template": {"terminationGracePeriodSeconds": 2},
    }
    gate = {"minSuccessRate": 1.0}
    test = batch_test("talks", "talking", provider="KubeRay", variants=["a"], environment=environment, gate=gate)
    with receiving(host=GATEWAY) as receiver:
        with OperatorProcess(cluster, namespace, tmp_path, env=_env(receiver)) as operator:
            operator.apply(*test)
            operator.until(180, "the batch's end", lambda: operator.condition("talks", "Finished") == "True", "talks")
            batch_id = operator.record("talks").id
            driver, trial = _file(operator, "head", _OF_DRIVER), _file(operator, "worker", _OF_TRIALS)

            assert operator.stop() == 0

        _check_trace(receiver, batch_id, trials=1)
    about = (batch_id, "1", "a/one/0", 1)
    assert {(line["batch"], line["place"]) for line in driver} == {about[:2]}
    (failed,) = [line for line in driver if line.get("type") == "TrialFailed"]
    (said,) = [line for line in trial if line["event"] == WORDS]
    for line in (failed, said):
        assert (line["batch"], line["place"], line["trial"], line["attempt"]) == about


def _env(receiver: Receiver) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "BATCHYARD_LOG_FORMAT": "json"}


def _check_trace(receiver: Receiver, batch_id: str, *, trials: int) -> None:
    (root,) = receiver.named("batch ")
    found = receiver.named("trial ")
    assert len(found) == trials
    assert {span.trace for span in receiver.spans} == {root.trace}
    assert {span.parent for span in found} == {root.id}
    assert {span.parent for span in receiver.named("node ")} == {span.id for span in found}
    assert {span.attributes["batchyard.batch"] for span in receiver.spans} == {batch_id}


def _pods(operator: OperatorProcess) -> list[str]:
    return [place.removeprefix("pods/") for place in operator.places() if place.startswith("pods/")]


def _file(operator: OperatorProcess, node: str, pattern: str) -> list[dict[str, Any]]:
    """Return the lines of JSON of what is in files of Ray's head or worker."""
    where, chosen = ("-n", operator.namespace), ("-l", f"ray.io/node-type={node}")
    (pod,) = operator.cluster.kubectl("get", "pods", *where, *chosen, "-o", "name").split()
    return _lines(operator.cluster.kubectl("exec", *where, pod, "--", "python3", "-c", _READ, pattern))


def _lines(text: str) -> list[dict[str, Any]]:
    # Ray says a word of its own, and kubelet does when a log that it follows goes with its pod.
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
