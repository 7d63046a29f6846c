"""Every command of the documentation that takes an installed operator for granted runs as it stands there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cluster import page_bench
from docs.pages import Page, Place, with_commands
from docs.shell import faults_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.bed.client import Cluster
    from cluster.chart_bench import Programs

pytestmark = [pytest.mark.cluster, pytest.mark.alone, pytest.mark.timeout(420)]


PAGES = with_commands(Place.CLUSTER)
RUNBOOK = [page for page in PAGES if page.name.startswith("docs/runbook/")]


@pytest.fixture(scope="module", autouse=True)
def operator_of_the_cluster(cluster: Cluster) -> Iterator[None]:
    """An operator for all namespaces, installed once for all pages."""
    with page_bench.installed(cluster):
        yield


@pytest.mark.parametrize("page", [page for page in PAGES if page not in RUNBOOK], ids=lambda page: page.name)
def test_every_command_of_a_page_runs_with_an_installed_operator(
    page: Page, cluster: Cluster, programs: Programs, namespace: str, tmp_path: Path
) -> None:
    shell = page_bench.reader(cluster, programs, namespace, page, tmp_path)

    ran = shell.run(page.commands(Place.CLUSTER), seconds=360)

    assert ran
    assert not faults_of(ran)


def test_every_command_of_the_runbook_runs_against_an_operator_that_lives(
    cluster: Cluster, programs: Programs, namespace: str, tmp_path: Path
) -> None:
    shell = page_bench.reader(cluster, programs, namespace, RUNBOOK[0], tmp_path)
    # Many pages begin with the same look at the logs.
    commands = {command.text: command for page in RUNBOOK for command in page.commands(Place.CLUSTER)}

    ran = shell.run(list(commands.values()), seconds=360)

    assert len(ran) > len(RUNBOOK)
    assert not faults_of(ran)
