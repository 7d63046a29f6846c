"""What an operator was given from outside: missed as soon as it is taken away, and mended where that can be done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from batchyard.engine.remote import READ_SECRET
from batchyard.kube.health import Health
from batchyard.kube.settings import OperatorSettings
from batchyard.kube.upkeep import Upkeep
from batchyard.testing.fake_clock import FakeClock
from fake_cluster_api import NAMESPACE, SECRETS, running
from watched_cluster import WatchedCluster

if TYPE_CHECKING:
    from collections.abc import Callable


def after_each(cluster: WatchedCluster, *steps: Callable[[], None]) -> list[list[str]]:
    """Return which namespaces are said not to be served after each step and a look."""
    health = Health(FakeClock())
    settings = OperatorSettings(
        store="", namespace=NAMESPACE, identity="one", results_url="http://results", namespaces=("team-a", "team-b")
    )

    async def run() -> list[list[str]]:
        said = []
        async with cluster.client() as api:
            upkeep = Upkeep(settings, api, health, "token-1")
            for step in steps:
                step()
                await upkeep.look()
                said.append([*health.unserved()])
        return said

    return asyncio.run(run())


def test_a_namespace_that_may_not_be_looked_into_is_named_until_it_may_be_again() -> None:
    with running(WatchedCluster()) as cluster:
        said = after_each(cluster, lambda: None, lambda: cluster.closed.add("team-b"), cluster.closed.clear)

    assert (said[0], said[2]) == ([], [])
    (named,) = said[1]
    assert named.startswith("namespace team-b is not served")
    assert "Role is missing" in named


def test_the_secret_that_lets_people_read_results_is_made_again_if_somebody_deleted_it() -> None:
    with running(WatchedCluster()) as cluster:
        after_each(cluster, lambda: None, lambda: cluster.remove(SECRETS, READ_SECRET))

        assert cluster.get(SECRETS, READ_SECRET)["data"]
