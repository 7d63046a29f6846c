"""A whole operator as a process: how it ends, and namespaces that come and go under it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import httpx
import pytest

from batchyard.model.outcome import Phase
from fake_cluster_api import CONFIG_MAPS, JOBS, running
from kube_world import a_batch_test
from operator_process import OperatorRun, an_operator
from watched_cluster import BATCH_TESTS, WatchedCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAY_COME_AND_GO = ("--watch-namespace", "team-a", "--watch-namespace", "team-b")


@pytest.fixture
def cluster() -> Iterator[WatchedCluster]:
    with running(WatchedCluster()) as made:
        yield made


def apply(cluster: WatchedCluster, name: str, namespace: str) -> None:
    """Apply a BatchTest and the code that it needs."""
    cluster.put(CONFIG_MAPS, "code", {"data": {"graph.py": "build = None"}}, namespace=namespace)
    body = a_batch_test()
    cluster.put(BATCH_TESTS, name, {**body, "metadata": {}}, namespace=namespace, generation=1)


def phase(cluster: WatchedCluster, name: str, namespace: str) -> str:
    found = cluster.get(BATCH_TESTS, name, namespace).get("status") or {}
    return str(found.get("phase", ""))


def readiness(operator: OperatorRun) -> tuple[bool, list[str]]:
    """Return whether an operator says that it is ready, and the beginnings of its problems."""
    answer = httpx.get(f"http://127.0.0.1:{operator.metrics_port}/readyz", timeout=5).json()
    return answer["ok"], [problem.partition(" is not")[0] for problem in answer["problems"]]


def watches(cluster: WatchedCluster, namespace: str = "") -> int:
    return sum("watch" in asked.query and namespace in asked.path for asked in list(cluster.asked))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_operator_that_leads_ends_with_0_when_it_is_told_to(
    cluster: WatchedCluster, tmp_path: Path, number: signal.Signals
) -> None:
    with an_operator(cluster, tmp_path) as operator:
        operator.until("Kopf to watch", lambda: watches(cluster, "batchtests") and watches(cluster, "jobs"))

        operator.process.send_signal(number)

        assert operator.process.wait(30) == 0, operator.log()


def test_a_chosen_namespace_that_is_not_there_yet_is_watched_once_it_is(
    cluster: WatchedCluster, tmp_path: Path
) -> None:
    cluster.closed.add("team-b")
    with an_operator(cluster, tmp_path, *MAY_COME_AND_GO) as operator:
        apply(cluster, "first", "team-a")
        operator.until("the one that is there to be served", lambda: phase(cluster, "first", "team-a"))

        apply(cluster, "later", "team-b")
        cluster.closed.clear()

        operator.until("the new one to be served", lambda: phase(cluster, "later", "team-b") == "Provisioning")


@pytest.mark.parametrize("told", [True, False], ids=["told-of-it", "only-shut-out"])
def test_a_chosen_namespace_that_is_deleted_and_made_again_is_watched_again(
    cluster: WatchedCluster, tmp_path: Path, told: bool
) -> None:
    with an_operator(cluster, tmp_path, *MAY_COME_AND_GO) as operator:
        apply(cluster, "old", "team-b")
        operator.until("a place", lambda: cluster.names(JOBS))

        cluster.vanish("team-b", told=told)
        operator.until("its watch to be refused", lambda: "403" in operator.log())
        apply(cluster, "new", "team-b")
        cluster.closed.clear()

        operator.until("the new one to be served", lambda: phase(cluster, "new", "team-b") == "Provisioning")


def test_a_chosen_namespace_that_the_operator_may_not_look_into_is_named_and_costs_no_readiness(
    cluster: WatchedCluster, tmp_path: Path
) -> None:
    cluster.closed.add("team-b")

    with an_operator(cluster, tmp_path, *MAY_COME_AND_GO) as operator:
        operator.until("the namespace to be named", lambda: readiness(operator) == (True, ["namespace team-b"]))


def test_a_batchtest_that_went_with_its_namespace_is_ended(cluster: WatchedCluster, tmp_path: Path) -> None:
    with an_operator(cluster, tmp_path, *MAY_COME_AND_GO) as operator:
        apply(cluster, "old", "team-b")
        operator.until("a place", lambda: cluster.names(JOBS))

        cluster.vanish("team-b", told=True)

        operator.until("its end", lambda: operator.record("old").phase is Phase.CANCELLED)
        operator.until("its place to be given up", lambda: operator.places("old")[-1].released_at is not None)
        assert "team-b" in [entry.entry.message.rpartition(" ")[2] for entry in operator.trail("old")]
