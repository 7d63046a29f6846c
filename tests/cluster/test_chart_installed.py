"""The packaged chart in the real cluster, from its installation to its end."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchyard import __version__
from batchyard.decide.finish import EXIT_PLACE_FAILED, EXIT_SUCCEEDED
from cluster.account import kubeconfig_of
from cluster.operator_bench import batch_test
from cluster.postgres_bench import database_for_pods
from cluster.release_bench import NEW_FIELD, Release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.bed.client import Cluster
    from cluster.chart_bench import Programs

pytestmark = [pytest.mark.cluster, pytest.mark.alone, pytest.mark.timeout(600)]

WITHIN_SECONDS = 30
CASES = [{"name": f"case-{number}", "input": {"seconds": 1.5}} for number in range(24)]
ENDLESS = [{"name": "endless", "input": {"seconds": 300}}]
# A worker that is told to end tries to hand in its results for twenty seconds more, and nobody is there to take them.
SOON = {"template": {"terminationGracePeriodSeconds": 2}}
_RBAC = "rbac.authorization.k8s.io"


@pytest.fixture
def release(programs: Programs, cluster: Cluster, namespace: str) -> Iterator[Release]:
    """A release that is not installed yet, in a namespace that enforces the restricted profile; removed afterwards."""
    # Not below pytest's folders: only root may look into those.
    folder = Path(tempfile.mkdtemp(prefix="batchyard-release-", dir="/tmp"))
    folder.chmod(0o755)
    made = Release(programs, cluster, f"{namespace}-system", folder)
    cluster.make_namespace(made.namespace)
    made.make_volume()
    yield made
    made.remove()


@pytest.mark.proves("next-kubernetes")
def test_a_release_runs_the_example_is_upgraded_in_the_middle_of_a_batch_and_leaves_nothing(
    release: Release, cluster: Cluster, namespace: str, tmp_path: Path, measured: Callable[[str], None]
) -> None:
    release.install_previous()
    assert NEW_FIELD not in release.fields()
    assert "Phase:          Succeeded" in release.helm("test", "batchyard", "--timeout=120s")

    release.apply_example(namespace)
    assert release.finished(namespace, "docs-search")["phase"] == "Succeeded"
    shown = release.asked("show", "docs-search", "--namespace", namespace)
    assert shown["batch"]["phase"] == "Succeeded"

    cluster.apply(namespace, *batch_test("long", "waits", cases=CASES, variants=["a"]))
    cluster.until(60, "the batch to run", lambda: _phase(cluster, namespace, "long") == "Running", look_at=namespace)
    before = release.pods()
    reader = {"kind": "ServiceAccount", "name": "reader", "namespace": namespace}
    release.upgrade(release.packed(), rbac={"readers": [reader]})
    _check_nothing_was_lost(release, namespace, before)
    assert NEW_FIELD in release.fields()
    _check_who_may_read(release, namespace, tmp_path)

    cluster.apply(namespace, *batch_test("runs", "waits", cases=ENDLESS, variants=["a"], environment=SOON))
    cluster.until(60, "a batch to run", lambda: _phase(cluster, namespace, "runs") == "Running", look_at=namespace)
    began = time.monotonic()
    release.helm("uninstall", "batchyard", "--wait", "--timeout=60s")
    assert {name.partition("/")[0] for name in release.left_of_batches(namespace)} == {"job.batch", "pod", "secret"}
    cluster.kubectl("delete", "batchtests", "--all", "-n", namespace, "--timeout=20s")
    cluster.until(20, "the batch's pod to go", lambda: not release.left_of_batches(namespace), look_at=namespace)
    remaining = release.left([namespace, release.namespace])
    cluster.kubectl("delete", "namespace", namespace, release.namespace, "--timeout=60s", timeout=70)
    took = time.monotonic() - began
    measured(f"helm uninstall and the deletion of both namespaces: {took:.1f} s")
    assert remaining == []
    assert took < WITHIN_SECONDS


def test_of_two_operators_with_postgresql_the_other_goes_on_when_the_one_that_leads_is_killed(
    release: Release, cluster: Cluster, namespace: str
) -> None:
    with database_for_pods(name="store") as (_, secret):
        cluster.apply(release.namespace, secret)
        release.install(
            release.packed(),
            replicas=2,
            postgresql={"existingSecret": "store"},
            watchNamespaces=[namespace],
            networkPolicy={"enabled": True},
            monitoring={"dashboard": {"enabled": True}},
        )
        cluster.apply(namespace, *batch_test("long", "waits", cases=CASES, variants=["a"]))
        cluster.until(
            60, "the batch to run", lambda: _phase(cluster, namespace, "long") == "Running", look_at=namespace
        )
        led = release.leader()

        release.kill(led)

        status = release.finished(namespace, "long")
        assert release.leader() != led
        assert (status["phase"], status["trials"]["passed"]) == ("Succeeded", len(CASES))
        shown = release.asked("show", "long", "--trials", "--namespace", namespace)
        assert [trial["attempt"] for trial in shown["trials"]] == [1] * len(CASES)
        assert release.asked("audit", "verify", "long", "--namespace", namespace)
        assert {"configmap", "poddisruptionbudget.policy"} <= {one.partition("/")[0] for one in _left(release)}
        # Before its server goes.
        release.helm("uninstall", "batchyard", "--wait", "--timeout=60s")
        # No claim keeps Helm waiting for the pods.
        cluster.until(45, "all of the release to go", lambda: not _left(release), look_at=release.namespace)


def _check_nothing_was_lost(release: Release, namespace: str, before: dict[str, str]) -> None:
    """Check that another operator took over while the batch ran, and that every trial ran once."""
    status = release.finished(namespace, "long")
    after = release.pods()
    assert not before.keys() & after.keys()
    assert all(status["startTime"] < made < status["completionTime"] for made in after.values())
    assert (status["phase"], status["trials"]["passed"]) == ("Succeeded", len(CASES))
    shown = release.asked("show", "long", "--trials", "--namespace", namespace)
    assert [trial["attempt"] for trial in shown["trials"]] == [1] * len(CASES)
    assert release.asked("audit", "verify", "long", "--namespace", namespace)
    assert __version__ in release.helm("list", "--output", "json")
    # What the older version kept is there too.
    assert release.asked("show", "docs-search", "--namespace", namespace)["batch"]["phase"] == "Succeeded"


def _check_who_may_read(release: Release, namespace: str, folder: Path) -> None:
    """Check what they may who are among the readers, or have one of the cluster's roles in the namespace."""
    cluster, people = release.cluster, ("reader", "viewer")
    accounts = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}} for name in people]
    cluster.apply(namespace, *accounts, _binding("view", "viewer", namespace), _binding("edit", "editor", namespace))
    tests = ("batchtests.batchyard.dev", "-n", namespace)
    for account, *may in (
        ("reader", "get", "secrets/batchyard-read", "-n", release.namespace),
        ("viewer", "list", *tests),
        ("editor", "create", *tests),
    ):
        cluster.until(30, f"the {account} to be let in", partial(_may, cluster, namespace, account, *may))
    reader, viewer = (kubeconfig_of(cluster, name, namespace, folder / name) for name in people)
    words = ("show", "docs-search", "--namespace", namespace)

    everything = release.asked(*words, "--trials", kubeconfig=reader)
    code, said = release.told(*words, kubeconfig=viewer)
    refused, why = release.told(*words, "--trials", kubeconfig=viewer)

    assert len(everything["trials"]) == everything["counts"]["total"] > 0
    assert (code, "this is what the status of the BatchTest says" in said) == (EXIT_SUCCEEDED, True)
    assert refused == EXIT_PLACE_FAILED
    assert why.startswith("error: you may not read the operator's results; a Role in namespace")
    assert 'resources: ["secrets"], resourceNames: ["batchyard-read"], verbs: ["get"]' in why
    assert not _may(cluster, namespace, "viewer", "create", *tests)


def _binding(role: str, account: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": account},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }


def _may(cluster: Cluster, namespace: str, account: str, *what: str) -> bool:
    user = f"--as=system:serviceaccount:{namespace}:{account}"
    return cluster.attempt("auth", "can-i", *what, user).returncode == 0


def _left(release: Release) -> list[str]:
    return release.left([release.namespace])


def _phase(cluster: Cluster, namespace: str, name: str) -> str:
    found: str = cluster.get(namespace, "batchtest", name).get("status", {}).get("phase", "")
    return found
