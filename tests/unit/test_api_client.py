"""The client of the Kubernetes API against a server that keeps objects, refuses, breaks off and forgets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from batchyard.apiserver.errors import (
    ApiError,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    Unreachable,
)
from fake_cluster_api import JOBS, NAMESPACE, PODS, SECRETS, TOKEN, FakeCluster, running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

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


def named(name: str) -> Object:
    return {"metadata": {"name": name}}


# -- objects ---------------------------------------------------------------------------------------------------------


def test_an_object_is_made_read_changed_and_deleted(cluster: FakeCluster) -> None:
    async def scenario(api: ApiClient) -> list[Any]:
        made = await api.create(*JOBS, NAMESPACE, {**named("one"), "spec": {"parallelism": 1, "suspend": True}})
        patched = await api.patch(*JOBS, NAMESPACE, "one", {"spec": {"suspend": None, "completions": 1}})
        replaced = await api.replace(*JOBS, NAMESPACE, "one", {**patched, "spec": {}})
        await api.delete(*JOBS, NAMESPACE, "one", uid=made["metadata"]["uid"])
        return [patched["spec"], replaced["spec"]]

    assert ask(cluster, scenario) == [{"parallelism": 1, "completions": 1}, {}]
    assert cluster.names(JOBS) == []
    assert [one.headers["content-type"] for one in cluster.asked][:2] == [
        "application/json",
        "application/merge-patch+json",
    ]


def test_an_object_is_deleted_only_if_it_is_the_one_that_was_meant(cluster: FakeCluster) -> None:
    cluster.put(JOBS, "one")

    with pytest.raises(Conflict):
        ask(cluster, lambda api: api.delete(*JOBS, NAMESPACE, "one", uid="another"))

    assert cluster.names(JOBS) == ["one"]
    assert cluster.asked[-1].body == {"propagationPolicy": "Background", "preconditions": {"uid": "another"}}


def test_an_object_that_was_changed_meanwhile_is_not_replaced(cluster: FakeCluster) -> None:
    known = cluster.put(JOBS, "one")
    cluster.change(JOBS, "one", spec={"suspend": True})

    with pytest.raises(Conflict):
        ask(cluster, lambda api: api.replace(*JOBS, NAMESPACE, "one", known))


def test_an_object_that_exists_is_not_made_again(cluster: FakeCluster) -> None:
    cluster.put(JOBS, "one")

    with pytest.raises(Conflict) as refused:
        ask(cluster, lambda api: api.create(*JOBS, NAMESPACE, named("one")))

    assert refused.value.reason == "AlreadyExists"


@pytest.mark.parametrize(
    "name", ["../../team-b/secrets/theirs", "..", ".", "", "a/b", "one?watch=true", "one#two", "%2e%2e", "a\\b", "a b"]
)
@pytest.mark.parametrize("place", ["name", "namespace"])
def test_a_name_that_would_lead_elsewhere_names_nothing(cluster: FakeCluster, name: str, place: str) -> None:
    namespace, wanted = (NAMESPACE, name) if place == "name" else (name, "one")

    with pytest.raises(NotFound, match="not found: that is no name") as refused:
        ask(cluster, lambda api: api.get(*SECRETS, namespace, wanted))

    assert not refused.value.is_of_kind
    assert cluster.asked == []


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, "BadRequest", ApiError),
        (401, "Unauthorized", ApiError),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (410, "Expired", Expired),
        (422, "Invalid", Invalid),
    ],
)
def test_what_the_server_refuses_is_an_error_of_its_kind(
    cluster: FakeCluster, status: int, reason: str, kind: type[ApiError]
) -> None:
    cluster.fail("GET", "jobs", status, reason=reason, message="its own words", times=9)

    with pytest.raises(ApiError) as refused:
        ask(cluster, lambda api: api.get(*JOBS, NAMESPACE, "one"))

    assert type(refused.value) is kind
    assert (refused.value.status, refused.value.reason, str(refused.value)) == (status, reason, "its own words")
    assert cluster.count("GET", "jobs") == 1


def test_a_kind_that_is_not_known_is_told_from_an_object_that_is_not_there(cluster: FakeCluster) -> None:
    async def scenario(api: ApiClient) -> list[bool]:
        found = []
        for group, plural in (JOBS, ("batch/v1", "cronjobs"), ("ray.io/v2", "rayclusters")):
            with pytest.raises(NotFound) as missing:
                await api.get(group, plural, NAMESPACE, "one")
            found.append(missing.value.is_of_kind)
        return found

    assert ask(cluster, scenario) == [False, True, True]


def test_no_error_has_the_token_in_it(cluster: FakeCluster) -> None:
    cluster.fail("GET", "jobs", 403, reason="Forbidden")

    with pytest.raises(Forbidden) as refused:
        ask(cluster, lambda api: api.get(*JOBS, NAMESPACE, "one"))

    assert TOKEN not in repr(refused.value)


# -- asking again ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_question_is_asked_again_after_what_passes(cluster: FakeCluster, status: int) -> None:
    cluster.put(JOBS, "one")
    cluster.fail("GET", "jobs", status)

    assert ask(cluster, lambda api: api.get(*JOBS, NAMESPACE, "one"))["metadata"]["name"] == "one"

    assert cluster.count("GET", "jobs") == 2


@pytest.mark.parametrize("late", [False, True])
def test_a_question_is_asked_again_after_a_broken_connection(cluster: FakeCluster, late: bool) -> None:
    cluster.put(JOBS, "one")
    cluster.fail("GET", "jobs", late=late)

    assert ask(cluster, lambda api: api.get(*JOBS, NAMESPACE, "one"))["metadata"]["name"] == "one"


def test_a_question_is_not_asked_for_ever(cluster: FakeCluster) -> None:
    cluster.fail("GET", "jobs", 503, reason="ServiceUnavailable", times=99)

    with pytest.raises(ApiError) as refused:
        ask(cluster, lambda api: api.get(*JOBS, NAMESPACE, "one"))

    assert refused.value.status == 503
    assert cluster.count("GET", "jobs") == 4


@pytest.mark.parametrize("late", [False, True], ids=["unheard", "answer lost"])
def test_a_write_is_not_repeated_when_its_answer_is_lost(cluster: FakeCluster, late: bool) -> None:
    """Whether it was done is not known: its caller has to look."""
    cluster.fail("POST", "jobs", late=late)

    with pytest.raises(Unreachable) as broken:
        ask(cluster, lambda api: api.create(*JOBS, NAMESPACE, named("one")))

    assert broken.value.sent
    assert cluster.count("POST", "jobs") == 1
    assert cluster.names(JOBS) == (["one"] if late else [])


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_no_change_is_made_twice_when_its_answer_is_lost(cluster: FakeCluster, method: str) -> None:
    """The second time it would conflict with what the first one did."""
    cluster.fail(method, "jobs", late=True)

    async def scenario(api: ApiClient) -> None:
        known = await api.create(*JOBS, NAMESPACE, named("one"))
        acts: dict[str, Callable[[], Awaitable[object]]] = {
            "PUT": lambda: api.replace(*JOBS, NAMESPACE, "one", known),
            "PATCH": lambda: api.patch(*JOBS, NAMESPACE, "one", {}),
            "DELETE": lambda: api.delete(*JOBS, NAMESPACE, "one"),
        }
        with pytest.raises(Unreachable):
            await acts[method]()

    ask(cluster, scenario)

    assert cluster.count(method, "jobs") == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_write_is_not_repeated_after_an_error_of_the_server(cluster: FakeCluster, status: int) -> None:
    cluster.fail("POST", "jobs", status)

    with pytest.raises(ApiError) as refused:
        ask(cluster, lambda api: api.create(*JOBS, NAMESPACE, named("one")))

    assert refused.value.status == status
    assert cluster.count("POST", "jobs") == 1


def test_a_write_that_was_turned_away_unheard_is_repeated(cluster: FakeCluster) -> None:
    cluster.fail("POST", "jobs", 429, reason="TooManyRequests", times=2)

    ask(cluster, lambda api: api.create(*JOBS, NAMESPACE, named("one")))

    assert cluster.names(JOBS) == ["one"]


def test_a_write_that_never_left_is_repeated_once_the_server_listens() -> None:
    with closing(socket.socket()) as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    cluster, heard = FakeCluster(), list[int | None]()
    cluster.url = f"http://127.0.0.1:{port}"

    with ExitStack() as stack:

        async def scenario(api: ApiClient) -> None:
            def then_listen(_verb: str, code: int | None) -> None:
                heard.append(code)
                if code is None:
                    stack.enter_context(running(cluster, port=port))

            api.on_request = then_listen
            await api.create(*JOBS, NAMESPACE, named("one"))

        ask(cluster, scenario)

    assert heard == [None, 201]
    assert cluster.names(JOBS) == ["one"]


def test_the_server_says_how_long_to_wait(cluster: FakeCluster) -> None:
    cluster.put(JOBS, "one")
    cluster.fail("GET", "jobs", 429, headers={"Retry-After": "1"})

    async def scenario(api: ApiClient) -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await api.get(*JOBS, NAMESPACE, "one")
        return loop.time() - begun

    assert ask(cluster, scenario) >= 1


def test_a_wait_that_is_too_long_is_left_to_the_caller(cluster: FakeCluster) -> None:
    cluster.fail("GET", "jobs", 429, headers={"Retry-After": "30"})

    with pytest.raises(ApiError) as refused:
        ask(cluster, lambda api: api.get(*JOBS, NAMESPACE, "one"))

    assert refused.value.retry_after == 30
    assert cluster.count("GET", "jobs") == 1


def test_a_time_that_is_no_number_of_seconds_is_not_waited_for(cluster: FakeCluster) -> None:
    cluster.fail("POST", "jobs", 503, headers={"Retry-After": "Fri, 02 Jan 2026 03:04:05 GMT"})

    with pytest.raises(ApiError) as refused:
        ask(cluster, lambda api: api.create(*JOBS, NAMESPACE, named("one")))

    assert refused.value.retry_after is None


def test_a_server_that_is_not_there_is_unreachable() -> None:
    nowhere = FakeCluster()
    nowhere.url = "http://127.0.0.1:1"

    with pytest.raises(Unreachable, match="did not answer get /api/v1/") as broken:
        ask(nowhere, lambda api: api.get(*PODS, NAMESPACE, "one"))

    assert (broken.value.status, broken.value.sent) == (0, False)


def test_every_request_is_counted_with_what_came_of_it(cluster: FakeCluster) -> None:
    heard: list[tuple[str, int | None]] = []
    cluster.fail("GET", "jobs")
    cluster.fail("GET", "jobs", 503)

    async def scenario(api: ApiClient) -> None:
        api.on_request = lambda verb, code: heard.append((verb, code))
        with pytest.raises(NotFound):
            await api.get(*JOBS, NAMESPACE, "one")
        await api.create(*JOBS, NAMESPACE, named("one"))

    ask(cluster, scenario)

    assert heard == [("get", None), ("get", 503), ("get", 404), ("create", 201)]
