"""Every page that installs the operator, and takes it away again, does so with the commands that stand there."""

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


@pytest.fixture(autouse=True)
def nothing_installed(cluster: Cluster) -> Iterator[None]:
    """A cluster with volumes and without an operator, before and after."""
    page_bench.removed(cluster)
    with page_bench.volumes(cluster):
        yield
        page_bench.removed(cluster)
        cluster.know_definitions()


@pytest.mark.parametrize("page", with_commands(Place.BARE_CLUSTER), ids=lambda page: page.name)
def test_every_command_of_a_page_runs_from_an_empty_cluster(
    page: Page, cluster: Cluster, programs: Programs, namespace: str, tmp_path: Path
) -> None:
    shell = page_bench.reader(cluster, programs, namespace, page, tmp_path)

    ran = shell.run(page.commands(Place.BARE_CLUSTER), seconds=360)

    assert ran
    assert not faults_of(ran)
