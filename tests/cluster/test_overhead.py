"""What Batchyard adds to the same work that somebody submits to Ray by hand, side by side on one cluster."""

from __future__ import annotations

import base64
import json
import shlex
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cluster.bed.running import BedFailed
from cluster.operator_bench import OperatorProcess, batch_test
from cluster.pods import ray_cluster

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cluster.bed.client import Cluster

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

ROUNDS = 2
START_SECONDS = 1.0
FINISH_SECONDS = 2.0
# What tests/workflows/noop.py does, as somebody would write it for Ray.
BY_HAND = """
import operator, time
from typing import Annotated, TypedDict
import ray

@ray.remote(max_retries=0)
def trial():
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import END, START, StateGraph
    State = TypedDict("State", {"count": Annotated[int, operator.add]}, total=False)
    graph, names = StateGraph(State), ["one", "two", "three", "four", "five"]
    for name in names:
        graph.add_node(name, lambda state: {"count": 1})
    for here, there in zip([START, *names], [*names, END]):
        graph.add_edge(here, there)
    made = graph.compile(checkpointer=InMemorySaver())
    begun = time.time()
    made.invoke({"count": 0}, {"configurable": {"thread_id": "one"}})
    return begun

ray.init()
print("begun", ray.get([trial.remote() for _ in range(2)])[0])
"""


class Dashboard:
    """Ray's dashboard of one RayCluster, asked from this machine."""

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self._cluster, self._namespace, self._name = cluster, namespace, name

    def is_ready(self) -> bool:
        """Return whether head, worker and dashboard are ready, as somebody who waits for them would see it."""
        try:
            pods = json.loads(
                self._cluster.kubectl(
                    "get", "pods", "-n", self._namespace, "-l", f"ray.io/cluster={self._name}", "-o", "json"
                )
            )["items"]
            return len(pods) == 2 and all(map(_is_ready, pods)) and self.ask("GET", "/api/version").status_code == 200
        except (httpx.HTTPError, BedFailed):
            return False

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Return an answer."""
        head = self._cluster.get(self._namespace, "raycluster", self._name)["status"]["head"]["podIP"]
        secret = self._cluster.get(self._namespace, "secret", self._name)["data"]["auth_token"]
        headers = {"Authorization": f"Bearer {base64.b64decode(secret).decode()}"}
        return httpx.request(
            method, f"http://{head}:8265{path}", json=body, headers=headers, timeout=10, trust_env=False
        )


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def seconds_by_hand(cluster: Cluster, namespace: str, name: str) -> float:
    """Return how long after the cluster is ready the first trial begins that is submitted at once."""
    cluster.apply(namespace, ray_cluster(name))
    dashboard = Dashboard(cluster, namespace, name)
    cluster.until(120, "the cluster to be ready", dashboard.is_ready, look_at=namespace)
    ready = time.time()  # noqa: TID251 - compared with what a pod's clock says
    job = {"entrypoint": f"python3 -c {shlex.quote(BY_HAND)}", "submission_id": "by-hand"}
    assert dashboard.ask("POST", "/api/jobs/", job).status_code == 200

    def over() -> bool:
        return dashboard.ask("GET", "/api/jobs/by-hand").json()["status"] in {"SUCCEEDED", "FAILED"}

    cluster.until(60, "the job to end", over, look_at=namespace)
    words = dashboard.ask("GET", "/api/jobs/by-hand/logs").json()["logs"]
    cluster.kubectl("delete", "raycluster", name, "-n", namespace, "--wait=false")
    cluster.until(60, "its pods to go", lambda: not cluster.kubectl("get", "pods", "-n", namespace, "-o", "name"))
    return float(words.rpartition("begun")[2].split()[0]) - ready


def seconds_of_ours(operator: OperatorProcess, name: str) -> tuple[float, float]:
    """Return the same of a batch, and how long after its last result ``Finished`` is seen."""
    operator.apply(*batch_test(name, provider="KubeRay", cases=[{"name": "one"}], variants=["a", "b"]))
    operator.until(60, "a place", lambda: any(place.startswith("rayclusters/") for place in operator.places()), name)
    (made,) = [place.partition("/")[2] for place in operator.places() if place.startswith("rayclusters/")]
    dashboard = Dashboard(operator.cluster, operator.namespace, made)
    operator.until(120, "the cluster to be ready", dashboard.is_ready, name)
    ready = datetime.now(UTC)  # noqa: TID251 - compared with what a pod's clock says
    operator.until(90, "the end", lambda: operator.condition(name, "Finished") == "True", name)
    seen = datetime.now(UTC)  # noqa: TID251
    operator.finished(name)
    results = operator.results(name)
    begun, ended = min(result.started_at for result in results), max(result.ended_at for result in results)
    return (begun - ready).total_seconds(), (seen - ended).total_seconds()


def test_a_batch_begins_a_second_later_than_work_submitted_by_hand_at_most_and_is_told_as_finished_within_two(
    cluster: Cluster, namespace: str, tmp_path: Path, measured: Callable[[str], None]
) -> None:
    by_hand, ours, told = [], [], []
    with OperatorProcess(cluster, namespace, tmp_path) as operator:
        for number in range(ROUNDS):
            by_hand.append(seconds_by_hand(cluster, namespace, f"by-hand-{number}"))
            begun, seen = seconds_of_ours(operator, f"ours-{number}")
            ours.append(begun)
            told.append(seen)

    measured(f"first trial after a ready RayCluster: by hand {by_hand}, ours {ours}; Finished after the last {told}")
    assert min(ours) <= min(by_hand) + START_SECONDS
    assert min(told) <= FINISH_SECONDS
