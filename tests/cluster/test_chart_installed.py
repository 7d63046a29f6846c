"""The packaged chart in the real cluster, from its installation to its end."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchyard import __version__
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
    release: Release, cluster: Cluster, namespace: str, measured: Callable[[str], None]
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
    release.upgrade(release.packed())
    _check_nothing_was_lost(release, namespace, before)
    assert NEW_FIELD in release.fields()

    began = time.monotonic()
    release.helm("uninstall", "batchyard", "--wait", "--timeout=60s")
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
        # Before its server goes.
        release.helm("uninstall", "batchyard", "--wait", "--timeout=60s")


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


def _phase(cluster: Cluster, namespace: str, name: str) -> str:
    found: str = cluster.get(namespace, "batchtest", name).get("status", {}).get("phase", "")
    return found
