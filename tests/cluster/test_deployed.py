"""The operator as people install it: its image in a pod, with the rights of ``deploy/operator.yaml``."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from batchyard.engine.remote import READ_HEADER, READ_SECRET
from batchyard.store.opening import open_store
from cluster.bed.settings import process_environment
from cluster.operator_bench import batch_test
from cluster.postgres_bench import PASSWORD, database_for_pods

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import httpx

    from cluster.bed.client import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.alone, pytest.mark.timeout(300)]

DEPLOY = Path(__file__).parents[2] / "deploy" / "operator.yaml"
SYSTEM = "batchyard-system"


class Deployed:
    """An operator that runs in the cluster."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self._folder = cluster, folder

    def install(self, *more: dict[str, Any]) -> None:
        """Apply the documents with the images of the tests, and wait until the operator is ready."""
        text = re.sub(r"[\w.-]+/batchyard/(operator|runner):[\w.]+", r"docker.io/batchyard/\1:test", DEPLOY.read_text())
        documents = list(yaml.safe_load_all(text))
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "batchyard-test"},
            "spec": {
                "capacity": {"storage": "10Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": str(self._folder)},
                "claimRef": {"namespace": SYSTEM, "name": "batchyard"},
            },
        }
        # A path of the node is not given to the pod's group, as a real volume would be.
        self._folder.chmod(0o777)
        documents[1:1] = [volume, *more]
        self.cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))
        self.cluster.kubectl("rollout", "status", "-n", SYSTEM, "deployment/batchyard", "--timeout=120s", timeout=130)

    def remove(self) -> None:
        """Remove everything."""
        self.cluster.kubectl("delete", "-f", str(DEPLOY), "--ignore-not-found", "--timeout=60s", timeout=90)
        self.cluster.kubectl("delete", "pv", "batchyard-test", "--ignore-not-found", "--timeout=30s")

    def kill(self) -> None:
        """Kill the operator's pod; its Deployment makes another."""
        self.cluster.kubectl(
            "delete", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=batchyard", "--grace-period=0", "--force"
        )

    def asked(self, *words: str) -> Any:
        """Return what ``batchyard`` says of the cluster."""
        return json.loads(self.told(*words, "--output", "json"))

    def told(self, *words: str) -> str:
        """Return what ``batchyard`` prints of the cluster."""
        # Its Service leads nowhere after a kill, or a moment in which it was too busy to say that it is ready.
        self.cluster.kubectl("rollout", "status", "-n", SYSTEM, "deployment/batchyard", "--timeout=60s", timeout=70)
        command = [sys.executable, "-m", "batchyard", *words, "--kube"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self._environment())
        assert done.returncode == 0, done.stderr + self.logs()
        return done.stdout

    def served(self, query: Mapping[str, str], *, allowed: bool = True) -> httpx.Response:
        """Return what the operator answers whoever asks for a report, with the token for reading or without."""
        access = self.cluster.get(SYSTEM, "secret", READ_SECRET)["data"]
        token, service = (b64decode(access[key]).decode() for key in ("token", "service"))
        path = f"/api/v1/namespaces/{SYSTEM}/services/{service}/proxy/v1/read/report"
        return self.cluster.ask(path, query, {READ_HEADER: f"Bearer {token}"} if allowed else None)

    def _environment(self) -> dict[str, str]:
        return process_environment(KUBECONFIG=str(self.cluster.kubeconfig))

    def logs(self) -> str:
        """Return what the operator said."""
        return self.cluster.kubectl("logs", "-n", SYSTEM, "deployment/batchyard", "--tail=60")

    def finished(self, namespace: str, name: str, seconds: int = 120) -> dict[str, Any]:
        """Wait for the end as people do and return the status."""
        wait = ("wait", "-n", namespace, f"batchtest/{name}", "--for=condition=Finished", f"--timeout={seconds}s")
        self.cluster.kubectl(*wait, timeout=seconds + 10)
        status: dict[str, Any] = self.cluster.get(namespace, "batchtest", name)["status"]
        return status


@pytest.fixture
def deployed(cluster: Cluster) -> Iterator[Deployed]:
    """An operator that is not installed yet; removed afterwards."""
    # Not below pytest's folders: only root may look into those.
    folder = Path(tempfile.mkdtemp(prefix="batchyard-volume-", dir="/tmp"))
    made = Deployed(cluster, folder)
    made.remove()
    yield made
    made.remove()
    shutil.rmtree(folder)


@pytest.fixture
def namespaces(cluster: Cluster, namespace: str) -> Iterator[Sequence[str]]:
    """Two new namespaces."""
    other = f"{namespace}-other"
    cluster.make_namespace(other)
    yield namespace, other
    cluster.kubectl("delete", "namespace", other, "--wait=false")


def test_an_installed_operator_serves_all_namespaces_and_the_command_line_and_survives_its_pods_death(
    deployed: Deployed, namespaces: Sequence[str]
) -> None:
    deployed.install()
    cases = [{"name": f"case-{number}", "input": {"seconds": 1.0}} for number in range(8)]
    for namespace in namespaces:
        deployed.cluster.apply(namespace, *batch_test("anywhere", "waits", cases=cases, variants=["a"]))
    deployed.cluster.until(
        60,
        "a first result",
        lambda: _running(deployed, namespaces[0]),
        look_at=namespaces[0],
    )

    deployed.kill()

    for namespace in namespaces:
        status = deployed.finished(namespace, "anywhere")
        assert (status["phase"], status["trials"]["passed"]) == ("Succeeded", len(cases))
        shown = deployed.asked("show", "anywhere", "--trials", "--namespace", namespace)
        assert shown["batch"]["phase"] == "Succeeded"
        assert [trial["attempt"] for trial in shown["trials"]] == [1] * len(cases)
        assert deployed.asked("audit", "verify", "anywhere", "--namespace", namespace)
        compared = deployed.asked("compare", "anywhere", "--namespace", namespace)
        assert compared["combinations"] == shown["combinations"]
    of = {"reference": "anywhere", "namespace": namespaces[0]}
    report, summary = deployed.served(of), deployed.served(of | {"format": "markdown"})
    assert "<h1>Passed." in report.text
    assert report.headers["Content-Security-Policy"].endswith("; frame-ancestors 'none'; sandbox allow-scripts")
    assert summary.text == deployed.told("report", "anywhere", "--format", "markdown", "--namespace", namespaces[0])
    assert [deployed.served(of, allowed=False).status_code, deployed.served({"reference": "nope"}).status_code] == [
        401,
        404,
    ]


def test_an_installed_operator_keeps_its_store_in_the_postgresql_that_a_secret_names(
    deployed: Deployed, namespace: str
) -> None:
    with database_for_pods(name="batchyard-store", namespace=SYSTEM) as (local, secret):
        deployed.install(secret)
        deployed.cluster.apply(namespace, *batch_test("stored"))

        assert deployed.finished(namespace, "stored")["phase"] == "Succeeded"

        with open_store(local, upgrade=False) as store:
            assert store.batch("stored").phase == "Succeeded"
        assert PASSWORD not in deployed.logs()
        deployed.remove()


def _running(deployed: Deployed, namespace: str) -> bool:
    trials = deployed.cluster.get(namespace, "batchtest", "anywhere").get("status", {}).get("phase")
    return bool(trials == "Running")
