"""The Secret by which people are let in to read results."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

import pytest

from batchyard.engine.remote import READ_SECRET
from batchyard.kube.read_access import proxied_service, publish_read_access
from fake_cluster_api import NAMESPACE, SECRETS, FakeCluster, running

if TYPE_CHECKING:
    from collections.abc import Iterator

URL = "http://batchyard.batchyard-system.svc:8787"


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with running(FakeCluster()) as served:
        yield served


def publish(cluster: FakeCluster, token: str, url: str = URL) -> None:
    async def run() -> None:
        async with cluster.client() as api:
            await publish_read_access(api, NAMESPACE, token, url)

    asyncio.run(run())


def kept(cluster: FakeCluster) -> dict[str, str]:
    data = cluster.get(SECRETS, READ_SECRET)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def test_the_token_and_the_service_are_kept_in_a_secret(cluster: FakeCluster) -> None:
    publish(cluster, "token-1")

    assert kept(cluster) == {"token": "token-1", "service": "http:batchyard:8787"}


def test_a_secret_that_is_right_is_not_written_again(cluster: FakeCluster) -> None:
    publish(cluster, "token-1")
    version = cluster.get(SECRETS, READ_SECRET)["metadata"]["resourceVersion"]

    publish(cluster, "token-1")

    assert cluster.get(SECRETS, READ_SECRET)["metadata"]["resourceVersion"] == version


def test_another_stores_token_takes_the_place_of_the_old_one(cluster: FakeCluster) -> None:
    publish(cluster, "token-1")

    publish(cluster, "token-2")

    assert kept(cluster) == {"token": "token-2", "service": "http:batchyard:8787"}


def test_an_operator_that_may_not_write_the_secret_goes_on_without(cluster: FakeCluster) -> None:
    cluster.fail("POST", "secrets", 403, reason="Forbidden")

    publish(cluster, "token-1")

    assert READ_SECRET not in cluster.names(SECRETS)


@pytest.mark.parametrize(
    ("url", "service"),
    [
        (URL, "http:batchyard:8787"),
        ("https://results.team", "https:results:443"),
        ("http://results", "http:results:80"),
        ("http://10.0.0.5:8787", ""),
        ("http://[fd00::1]:8787", ""),
    ],
)
def test_the_service_is_the_one_that_workers_use(url: str, service: str) -> None:
    assert proxied_service(url) == service
