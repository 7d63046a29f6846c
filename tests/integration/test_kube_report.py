"""``report --kube``: the same as of a store here, and the same as the operator serves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from command_line import Bench
from kube_cli_bench import TOKEN, a_cluster_with, a_filled_bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fake_api_server import FakeApiServer

KUBE = ("--kube", "--namespace", "team-a")
# What the page packs has the commands' options too, out of sight.
PACKED = re.compile('id="about">.*?<')


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A bench whose store has one finished batch."""
    return a_filled_bench(tmp_path_factory.mktemp("filled"))


@pytest.fixture(scope="module")
def cluster(filled: Bench) -> Iterator[FakeApiServer]:
    """A cluster whose operator has that batch."""
    with a_cluster_with(filled) as server:
        yield server


@pytest.fixture
def bench(cluster: FakeApiServer, tmp_path: Path) -> Bench:
    """The command line with a kubeconfig for that cluster and no store of its own."""
    return Bench(tmp_path, {"KUBECONFIG": str(cluster.kubeconfig(tmp_path))})


@pytest.mark.parametrize("wanted", ["markdown", "csv"])
def test_a_report_of_a_batch_there_is_that_of_a_batch_here(filled: Bench, bench: Bench, wanted: str) -> None:
    here = filled.run("report", "small", "--format", wanted)

    there = bench.run("report", "small", "--format", wanted, *KUBE)

    assert (there.returncode, there.stdout) == (here.returncode, here.stdout), there.stderr


def test_the_html_of_a_batch_there_is_what_the_operator_serves_and_its_commands_name_the_cluster(
    cluster: FakeApiServer, filled: Bench, bench: Bench
) -> None:
    assert cluster.operator is not None
    here = filled.run("report", "small", "--out", "-").stdout

    there = bench.run("report", "small", "--out", "-", *KUBE).stdout
    served = cluster.operator.ask(
        "/v1/read/report?reference=small&namespace=team-a", headers={"Authorization": f"Bearer {TOKEN}"}
    )

    assert "<h1>Passed. " in there
    assert there == served.body.decode()
    assert PACKED.sub("", there).replace(f" {' '.join(KUBE)}", "") == PACKED.sub("", here)
