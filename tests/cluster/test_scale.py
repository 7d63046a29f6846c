"""A thousand BatchTests at once, and one of a hundred thousand trials: real API server and operator, simulated pods."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cluster.fake_workers import FakeWorkers
from cluster.operator_bench import OperatorProcess, batch_test, code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.bed.client import Cluster

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

BATCHES = 1000
MEBIBYTE = 1024
QUIET_SECONDS = 60
STATUS_BYTES = 16 * 1024
SIMULATED = {
    "nodeSelector": {"type": "kwok"},
    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists", "effect": "NoSchedule"}],
}


@pytest.fixture
def operator(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that watches a namespace of its own, beside simulated nodes."""
    nodes = cluster.one_node.fake_nodes
    nodes.add(4)
    try:
        with OperatorProcess(cluster, namespace, tmp_path) as process:
            yield process
    finally:
        nodes.remove()


def writes_of(operator: OperatorProcess, cluster: Cluster) -> Counter[str]:
    """Return how often the operator wrote about each object of its namespace, as the API server's audit log has it."""
    assert cluster.logs is not None
    counted: Counter[str] = Counter()
    for line in (cluster.logs / "audit.log").read_text(encoding="utf-8").splitlines():
        if f'"{operator.namespace}"' not in line or '"userAgent":"batchyard"' not in line:
            continue
        entry = json.loads(line)
        reference = entry["objectRef"]
        read = entry["verb"] in {"get", "list", "watch"}
        if reference.get("namespace") == operator.namespace and reference["resource"] != "leases" and not read:
            counted[_batch_of(entry)] += 1
    return counted


def _batch_of(entry: dict[str, Any]) -> str:
    """Return the batch that a write is about: everything is named after it."""
    name = entry["objectRef"].get("name") or entry.get("responseObject", {}).get("metadata", {}).get("name") or ""
    found = re.match(r"(many-\d+|vast)", name)
    return found[1] if found else name


def memory_of(operator: OperatorProcess) -> int:
    """Return the most memory the process ever held, in KiB."""
    text = Path(f"/proc/{operator.pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1])


def phases(operator: OperatorProcess) -> Counter[str]:
    """Return how many BatchTests are in each phase."""
    shown = operator.cluster.kubectl(
        "get", "batchtests", "-n", operator.namespace, "-o", "jsonpath={.items[*].status.phase}"
    )
    return Counter(shown.split())


def test_a_thousand_batchtests_at_once_are_accepted_run_and_then_cost_nothing(
    cluster: Cluster, operator: OperatorProcess, measured: Callable[[str], None]
) -> None:
    operator.apply(code("shared-code", "noop"))
    tests = []
    for number in range(BATCHES):
        (_, test) = batch_test(f"many-{number:04}", environment={"template": SIMULATED})
        test["spec"]["workflow"]["source"]["configMapRef"]["name"] = "shared-code"
        tests.append(test)
    for start in range(0, BATCHES, 250):
        listed = {"apiVersion": "v1", "kind": "List", "items": tests[start : start + 250]}
        cluster.kubectl("create", "-n", operator.namespace, "-f", "-", stdin=json.dumps(listed), timeout=300)

    operator.until(
        300, "all to have a place", lambda: operator.metrics()['batchyard_batches{phase="Running"}'] == BATCHES
    )
    batch_ids = operator.batch_ids()
    assert len(batch_ids) == BATCHES
    FakeWorkers(operator).pass_all(batch_ids)
    operator.until(300, "all to be over", lambda: phases(operator) == {"Succeeded": BATCHES})
    operator.until(120, "every place to be gone", lambda: not operator.places())
    operator.until(120, "every event to be posted", lambda: operator.metrics()["batchyard_outbox_pending"] == 0)

    writes = writes_of(operator, cluster)
    assert len([name for name in writes if name.startswith("many-")]) == BATCHES
    assert max(writes.values()) <= 12
    memory = memory_of(operator)
    threading.Event().wait(QUIET_SECONDS)
    assert writes_of(operator, cluster) == writes
    assert memory <= 150 * MEBIBYTE
    measured(f"1,000 BatchTests: {max(writes.values())} writes a batch at most, {memory / MEBIBYTE:.0f} MiB at most")


def test_a_hundred_thousand_trials_fit_into_the_status_and_a_few_writes(
    cluster: Cluster, operator: OperatorProcess, measured: Callable[[str], None]
) -> None:
    cases = "".join(f'{{"name": "case-{number:03}", "input": {{"case": "{number}"}}}}\n' for number in range(390))
    operator.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "vast-cases"}, "data": {"cases.jsonl": cases}}
    )
    source, test = batch_test("vast", environment={"template": SIMULATED})
    del test["spec"]["cases"]
    test["spec"]["casesFrom"] = [{"configMapRef": {"name": "vast-cases", "key": "cases.jsonl"}}]
    test["spec"]["variants"] = {"matrix": {"act": [f"choice-{number:03}" for number in range(256)]}}
    operator.apply(source, test)
    operator.until(120, "it to have a place", lambda: operator.status("vast").get("phase") == "Running", "vast")

    FakeWorkers(operator).pass_all(operator.batch_ids())

    status = operator.finished("vast", 240)
    total = 256 * 390
    assert status["trials"]["passed"] == total
    assert len(json.dumps(status, separators=(",", ":"))) <= STATUS_BYTES
    writes = writes_of(operator, cluster)["vast"]
    assert writes <= 12 + total / 500
    measured(f"{total} trials: {len(json.dumps(status, separators=(',', ':')))} bytes of status, {writes} writes")
