"""What the client of the Kubernetes API lists and watches: page by page, metadata alone, piece by piece."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from batchyard.apiserver.errors import Expired
from fake_cluster_api import NAMESPACE, PODS, FakeCluster, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from batchyard.apiserver.client import ApiClient

T = TypeVar("T")
Object = dict[str, Any]


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with running(FakeCluster()) as made:
        yield made


def ask(cluster: FakeCluster, act: Callable[[ApiClient], Awaitable[T]]) -> T:
    async def whole() -> T:
        async with cluster.client() as api:
            return await act(api)

    return asyncio.run(whole())


async def everything(found: AsyncIterator[Object]) -> list[str]:
    return [one["metadata"]["name"] async for one in found]


def fill(cluster: FakeCluster, count: int = 7) -> list[str]:
    names = [f"pod-{number}" for number in range(count)]
    for name in names:
        cluster.put(PODS, name, labels={"batchyard.dev/uid": "ours"})
    return names


def test_a_list_is_read_page_by_page(cluster: FakeCluster) -> None:
    names = fill(cluster)

    assert ask(cluster, lambda api: everything(api.list(*PODS, NAMESPACE, page=3))) == names

    assert [one.query.get("continue") for one in cluster.asked] == [None, "3", "6"]
    assert {one.query["limit"] for one in cluster.asked} == {"3"}


def test_a_list_that_the_server_forgets_meanwhile_is_read_whole_and_tells_nothing_twice(cluster: FakeCluster) -> None:
    names = fill(cluster)
    cluster.expire_pages = 1

    assert ask(cluster, lambda api: everything(api.list(*PODS, NAMESPACE, page=3))) == names

    assert [one.query.get("limit") for one in cluster.asked] == ["3", "3", None]


def test_a_first_page_that_has_expired_is_an_error(cluster: FakeCluster) -> None:
    cluster.fail("GET", "pods", 410, reason="Expired")

    with pytest.raises(Expired):
        ask(cluster, lambda api: everything(api.list(*PODS, NAMESPACE)))


def test_a_list_may_be_of_the_metadata_alone(cluster: FakeCluster) -> None:
    cluster.put(PODS, "one", {"spec": {"nodeName": "here"}})

    async def scenario(api: ApiClient) -> list[list[str]]:
        found = [[one async for one in api.list(*PODS, NAMESPACE, metadata_only=only)] for only in (False, True)]
        return [sorted(one) for [one] in found]

    assert ask(cluster, scenario) == [["metadata", "spec"], ["metadata"]]


def test_an_empty_list_has_no_items(cluster: FakeCluster) -> None:
    assert ask(cluster, lambda api: everything(api.list(*PODS, NAMESPACE))) == []


def test_a_list_is_of_what_was_asked_for(cluster: FakeCluster) -> None:
    fill(cluster, 2)
    cluster.put(PODS, "theirs", labels={"batchyard.dev/uid": "theirs"})
    cluster.put(PODS, "elsewhere", namespace="team-b", labels={"batchyard.dev/uid": "ours"})

    async def scenario(api: ApiClient) -> list[list[str]]:
        label = "batchyard.dev/uid=ours"
        return [
            await everything(api.list(*PODS, NAMESPACE, label_selector=label)),
            await everything(api.list(*PODS, None, label_selector=label)),
            await everything(api.list(*PODS, NAMESPACE, field_selector="metadata.name=theirs")),
        ]

    assert ask(cluster, scenario) == [["pod-0", "pod-1"], ["pod-0", "pod-1", "elsewhere"], ["theirs"]]


def test_a_watch_yields_each_change_however_it_is_cut_into_pieces(cluster: FakeCluster) -> None:
    changes = [{"type": "ADDED", "object": {"metadata": {"name": "é" * 50}}}, {"type": "BOOKMARK", "object": {}}]
    text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in changes).encode()
    cluster.watched = [text[:17], text[17:31], text[31:100], text[100:], b"\n", b'{"cut off']

    async def scenario(api: ApiClient) -> list[Any]:
        return [one async for one in api.watch(*PODS, NAMESPACE, resource_version="7", field_selector="type!=Normal")]

    assert ask(cluster, scenario) == changes
    assert cluster.asked[-1].query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "7",
        "timeoutSeconds": "240",
        "fieldSelector": "type!=Normal",
    }
