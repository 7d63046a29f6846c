"""The real cluster that cluster tests run in. Bring it up with ``make cluster``."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from cluster.bed import settings, tools
from cluster.bed.choice import choose
from cluster.bed.client import Cluster, go_without
from cluster.bed.running import BedFailed
from cluster.chart_bench import Programs
from cluster.operator_bench import OperatorProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


# What it says is of all tests before it.
_LAST = "test_rights.py"
_MEASURED = pytest.StashKey[list[str]]()


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Tell what a test measured: it is shown at the end of the run."""
    return request.config.stash.setdefault(_MEASURED, []).append


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests last that say something of all others."""
    items.sort(key=lambda item: item.path.name == _LAST)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was measured."""
    lines = terminalreporter.config.stash.get(_MEASURED, [])
    if lines:
        terminalreporter.section("measured on the cluster")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Kubernetes with KubeRay and the images batchyard/operator:test and batchyard/runner:test."""
    try:
        bed = choose(settings.read())
        faults = bed.faults()
    except BedFailed as err:
        faults = [str(err)]
    if faults:
        go_without(f"no cluster: {'; '.join(faults)}")
    found = Cluster(bed)
    yield found
    found.close()


@pytest.fixture(scope="session")
def programs() -> Programs:
    """What renders and checks the chart; it is built if need be, and needs no cluster."""
    wanted = settings.read()
    try:
        tools.build(wanted, "helm", "kubeconform", "schemas")
        kubectl = choose(wanted).kubectl
    except BedFailed as err:
        go_without(f"the chart's programs cannot be had: {err}")
    built = tools.located(wanted)
    return Programs(
        helm=built.program("helm", "helm"),
        kubeconform=built.program("kubeconform", "kubeconform"),
        kubectl=kubectl,
        schemas=built.files("schemas"),
    )


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A new namespace, deleted afterwards with all that is in it; nobody waits for that."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.make_namespace(name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture
def operator(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that watches a namespace of its own."""
    with OperatorProcess(cluster, namespace, tmp_path) as process:
        yield process
