"""The test bed itself: what the other cluster tests take for granted."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cluster.bed import settings
from cluster.bed.choice import choose
from cluster.bed.kuberay import VERSIONS
from cluster.pods import in_namespace, logs, ray_cluster, restricted_pod, wait_for_phase

if TYPE_CHECKING:
    from cluster.bed.client import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.alone, pytest.mark.timeout(300)]


def test_bringing_up_a_running_cluster_changes_nothing(cluster: Cluster) -> None:
    before = {program.name: program.pid for program in cluster.one_node.programs()}

    cluster.one_node.up()

    assert {program.name: program.pid for program in cluster.one_node.programs()} == before


def test_a_program_that_died_is_started_again_and_the_cluster_keeps_its_objects(
    cluster: Cluster, namespace: str
) -> None:
    scheduler = cluster.one_node.program("kube-scheduler")
    scheduler.stop(grace=0)
    assert any("kube-scheduler" in fault for fault in choose(settings.read()).faults())

    cluster.one_node.up()

    assert scheduler.pid is not None
    assert cluster.get("default", "namespace", namespace)["status"]["phase"] == "Active"


def test_pods_and_this_machine_reach_a_service_and_pods_find_it_by_name(cluster: Cluster, namespace: str) -> None:
    server = restricted_pod("server", "operator", ["python", "-m", "http.server", "8000"], restart="Always")
    server["metadata"]["labels"] = {"app": "server"}
    service = {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8000}]}
    cluster.apply(namespace, server, _object("v1", "Service", "server", service))
    wait_for_phase(cluster, namespace, "server", "Running")
    address = cluster.get(namespace, "service", "server")["spec"]["clusterIP"]
    pod_address = cluster.get(namespace, "pod", "server")["status"]["podIP"]
    urls = [f"http://server.{namespace}.svc", f"http://{address}"]
    script = f"import urllib.request as r; print(*[r.urlopen(u, timeout=20).status for u in {urls!r}])"

    cluster.until(30, "the service", lambda: _reachable(address, 80), look_at=namespace)
    cluster.apply(namespace, restricted_pod("client", "operator", ["python", "-c", script]))
    wait_for_phase(cluster, namespace, "client", "Succeeded")

    assert logs(cluster, namespace, "client").split() == ["200", "200"]
    assert httpx.get(f"http://{pod_address}:8000", trust_env=False).status_code == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ray_cluster_with_token_authentication_becomes_ready(cluster: Cluster, namespace: str, version: str) -> None:
    kuberay = cluster.one_node.kuberay
    kuberay.start(version)
    try:
        cluster.apply(namespace, ray_cluster("small"))
        cluster.until(120, "the RayCluster", lambda: _provisioned(cluster, namespace, "small"), look_at=namespace)
        head = cluster.get(namespace, "raycluster", "small")["status"]["head"]["podIP"]
        token = cluster.kubectl(
            "get", "secret", "small", *in_namespace(namespace), "-o", "go-template={{.data.auth_token|base64decode}}"
        )
        url = f"http://{head}:8265/api/version"
        answers = [
            httpx.get(url, headers=headers, trust_env=False, timeout=30)
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {token}"})
        ]
    finally:
        kuberay.start()

    assert [answer.status_code for answer in answers] == [401, 403, 200]
    assert answers[2].json()["ray_version"]


def test_simulated_nodes_run_pods_that_cost_nothing(cluster: Cluster, namespace: str) -> None:
    nodes = cluster.one_node.fake_nodes
    try:
        nodes.add(2)
        pod = restricted_pod("simulated", "runner", ["never", "run"])
        pod["spec"]["tolerations"] = [{"operator": "Exists"}]
        pod["spec"]["nodeSelector"] = {"type": "kwok"}
        cluster.apply(namespace, pod)

        wait_for_phase(cluster, namespace, "simulated", "Running")
    finally:
        nodes.remove()

    assert nodes.program().pid is None


def test_every_write_is_in_the_audit_log_and_no_read_is(cluster: Cluster, namespace: str) -> None:
    cluster.apply(namespace, _object("v1", "ConfigMap", "written", None))
    cluster.get(namespace, "configmap", "written")

    log = (cluster.one_node.state / "logs" / "audit.log").read_text(encoding="utf-8")

    entries = [json.loads(line) for line in log.splitlines() if namespace in line and '"written"' in line]
    assert [entry["verb"] for entry in entries] == ["create"]


def _object(api: str, kind: str, name: str, spec: dict[str, Any] | None) -> dict[str, Any]:
    rest = {} if spec is None else {"spec": spec}
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **rest}


def _reachable(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=2):
            return True
    except OSError:
        return False


def _provisioned(cluster: Cluster, namespace: str, name: str) -> bool:
    conditions = cluster.get(namespace, "raycluster", name).get("status", {}).get("conditions", [])
    return any(one["type"] == "RayClusterProvisioned" and one["status"] == "True" for one in conditions)
