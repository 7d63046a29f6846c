"""What happens to a running batch when the API server, etcd, the network or the operator itself is away."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.clock import SystemClock
from cluster import fault_table
from cluster.bed.layout import GATEWAY
from cluster.operator_bench import OperatorProcess, batch_test, check_trail

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.bed.client import Cluster
    from cluster.bed.programs import Program

pytestmark = pytest.mark.timeout(400)
BOTH = pytest.mark.parametrize(
    "provider",
    [
        pytest.param("InProcess", marks=[pytest.mark.cluster, pytest.mark.alone]),
        pytest.param("KubeRay", marks=pytest.mark.soak),
    ],
)

OVERRUN_SECONDS = 2.0


def trials(count: int, seconds: float) -> list[dict[str, Any]]:
    """Return cases that take this long each."""
    return [{"name": f"case-{number:02}", "input": {"seconds": seconds / 2}} for number in range(count)]


def begin(operator: OperatorProcess, name: str, **batch: Any) -> None:
    """Apply a batch and wait for its first result."""
    operator.apply(*batch_test(name, "waits", variants=["a"], **batch))
    operator.until(120, "a first result", lambda: operator.has_begun(name) and bool(operator.results(name)), name)


def check_good_end(operator: OperatorProcess, name: str, total: int) -> None:
    """Check that everything ran, once, in one place."""
    status = operator.finished(name, 150)
    assert (status["phase"], status["reason"]) == ("Succeeded", "")
    assert len(operator.attempts(name)) == total
    check_trail(operator, name)


def pause_for(seconds: float) -> None:
    """Let a fault last."""
    threading.Event().wait(seconds)


@BOTH
def test_a_batch_goes_on_while_the_api_server_is_down_for_half_a_minute(
    operator: OperatorProcess, provider: str
) -> None:
    begin(operator, "cut-off", provider=provider, cases=trials(24, 2.0))
    api_server = operator.cluster.one_node.program("kube-apiserver")

    api_server.stop()
    try:
        pause_for(30)
    finally:
        api_server.start()
        api_server.await_ready()
    operator.start_again_if_ended()

    check_good_end(operator, "cut-off", 24)
    fault_table.tell(f"the API server is down for 30 s ({provider})", operator, "cut-off")


@pytest.mark.cluster
@pytest.mark.alone
def test_a_slow_etcd_changes_nothing(operator: OperatorProcess) -> None:
    etcd = operator.cluster.one_node.program("etcd")
    with Slowed(etcd):
        begin(operator, "sluggish", cases=trials(10, 1.0))

        def is_over() -> bool:
            operator.start_again_if_ended()
            return operator.condition("sluggish", "Finished") == "True"

        operator.until(150, "the end", is_over, "sluggish")

    operator.start_again_if_ended()
    check_good_end(operator, "sluggish", 10)
    fault_table.tell("etcd answers slowly all the time", operator, "sluggish")


class Slowed:
    """Freezes a program for most of each second."""

    def __init__(self, program: Program) -> None:
        self._program, self._end = program, threading.Event()
        self._thread = threading.Thread(target=self._slow)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _slow(self) -> None:
        while not self._end.is_set():
            self._program.pause()
            self._end.wait(0.6)
            self._program.resume()
            self._end.wait(0.3)


@pytest.mark.cluster
@pytest.mark.alone
def test_results_wait_while_the_operators_endpoint_cannot_be_reached_for_a_minute(operator: OperatorProcess) -> None:
    begin(operator, "unheard", cases=trials(30, 1.0))
    before = len(operator.results("unheard"))

    rule = ("INPUT", "-p", "tcp", "--dport", str(operator.results_port), "-j", "DROP")
    subprocess.run(["iptables", "-I", *rule], check=True)
    try:
        pause_for(60)
        assert len(operator.results("unheard")) <= before + 2
    finally:
        subprocess.run(["iptables", "-D", *rule], check=True)

    check_good_end(operator, "unheard", 30)
    fault_table.tell("the results endpoint cannot be reached for 60 s", operator, "unheard")


@BOTH
def test_the_worker_enforces_the_batchs_deadline_while_the_operator_is_down(
    operator: OperatorProcess, provider: str
) -> None:
    seconds = 60 if provider == "KubeRay" else 20
    limits = {"batchSeconds": seconds, "trialSeconds": seconds, "graceSeconds": 1}
    cases = [{"name": "quick"}, *({"name": f"long-{number}", "input": {"seconds": 300}} for number in range(3))]
    begin(operator, "orphaned", provider=provider, cases=cases, deadlines=limits)

    operator.kill()
    deadline = operator.record("orphaned").deadline_at
    pause_for(max(0.0, (deadline - SystemClock().now()).total_seconds()) + 1 + OVERRUN_SECONDS)
    operator.start()

    status = operator.finished("orphaned", 60)
    assert (status["phase"], status["reason"]) == ("Failed", "BatchDeadlineExceeded")
    ends = {result.trial_id.split("/")[1]: result for result in operator.results("orphaned")}
    assert Counter(result.outcome.value for result in ends.values()) == {"Passed": 1, "TimedOut": 2, "NotRun": 1}
    for result in ends.values():
        if result.outcome == "TimedOut":
            assert result.ended_at is not None
            assert 0 <= (result.ended_at - deadline).total_seconds() <= 1 + OVERRUN_SECONDS
    check_trail(operator, "orphaned")
    fault_table.tell(f"the batch's deadline passes while the operator is down ({provider})", operator, "orphaned")


def service_of(*operators: OperatorProcess) -> list[dict[str, Any]]:
    """Return a Service before these operators, as a Deployment of theirs would have."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "results"},
        "spec": {"ports": [{"name": "results", "port": 8787}]},
    }
    slices = [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"results-{number}", "labels": {"kubernetes.io/service-name": "results"}},
            "addressType": "IPv4",
            "ports": [{"name": "results", "port": operator.results_port}],
            "endpoints": [{"addresses": [GATEWAY]}],
        }
        for number, operator in enumerate(operators)
    ]
    return [service, *slices]


@pytest.mark.cluster
@pytest.mark.alone
def test_of_two_operators_one_acts_and_a_leader_that_was_paused_is_refused_by_the_store(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    url, store = f"http://results.{namespace}.svc:8787", str(tmp_path / "store.db")
    with (
        OperatorProcess(
            cluster, namespace, tmp_path / "one", store=store, results_url=url, lease_seconds=10
        ) as operator,
        OperatorProcess(
            cluster, namespace, tmp_path / "other", store=store, results_url=url, lease_seconds=10
        ) as other,
    ):
        cluster.apply(namespace, *service_of(operator, other))
        begin(operator, "contended", cases=trials(16, 2.0))
        assert other.leads() is False
        epoch = operator.epoch()

        operator.signal(signal.SIGSTOP)
        other.until(60, "the other to lead", other.leads)
        operator.signal(signal.SIGCONT)

        operator.until(30, "the old leader to end", lambda: operator.exit_code is not None)
        assert operator.exit_code == 4
        assert other.epoch() == epoch + 1
        assert "another operator took over" in operator.log.read_text()
        status = other.finished("contended", 120)
        assert status["phase"] == "Succeeded"
        check_trail(other, "contended")
        fault_table.tell("the leader is paused, another takes over, the old one wakes up", other, "contended")
