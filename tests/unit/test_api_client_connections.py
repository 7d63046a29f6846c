"""How the client of the Kubernetes API gets to its server: the pod's account, TLS, a kubeconfig's detours."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes.aio.client.configuration import Configuration

from batchyard.apiserver.client import ApiClient
from batchyard.apiserver.connecting import connect
from batchyard.apiserver.errors import Unreachable
from batchyard.model.errors import EnvironmentUnavailable
from certificates import Certificate, certificate
from fake_cluster_api import JOBS, NAMESPACE, PODS, TOKEN, FakeCluster, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

Object = dict[str, Any]


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with running(FakeCluster()) as made:
        yield made


async def everything(found: AsyncIterator[Object]) -> list[str]:
    return [one["metadata"]["name"] async for one in found]


# -- logging in ------------------------------------------------------------------------------------------------------


HERE = ("DNS:localhost", "IP:127.0.0.1")


@pytest.fixture
def authority(tmp_path: Path) -> Certificate:
    """The certificate of the cluster that a pod is in."""
    return certificate(tmp_path, "cluster", *HERE)


@pytest.fixture
def guarded(authority: Certificate) -> Iterator[FakeCluster]:
    """A cluster behind TLS."""
    with running(FakeCluster(), authority.server()) as made:
        yield made


@pytest.fixture
def service_account(
    guarded: FakeCluster, authority: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder as kubelet makes it in every pod of that cluster."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text(TOKEN + "\n")
    (folder / "namespace").write_text("batchyard-system\n")
    (folder / "ca.crt").write_text(authority.file.read_text())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", guarded.url.rpartition(":")[2])
    return folder


def test_in_a_pod_the_client_speaks_as_the_pods_account(guarded: FakeCluster, service_account: Path) -> None:
    async def scenario() -> str:
        async with await connect(service_account=service_account) as api:
            await everything(api.list(*PODS, NAMESPACE))
            return api.current_namespace

    assert asyncio.run(scenario()) == "batchyard-system"
    assert guarded.asked[-1].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_token_that_kubelet_replaces_is_used_from_the_next_request_on(
    guarded: FakeCluster, service_account: Path
) -> None:
    async def scenario() -> None:
        async with await connect(service_account=service_account) as api:
            await everything(api.list(*PODS, NAMESPACE))
            guarded.tokens = {"the-next-one"}
            (service_account / "token").write_text("the-next-one")
            await everything(api.list(*PODS, NAMESPACE))
            (service_account / "token").unlink()
            await everything(api.list(*PODS, NAMESPACE))

    asyncio.run(scenario())

    assert [one.headers["authorization"] for one in guarded.asked] == [
        f"Bearer {TOKEN}",
        "Bearer the-next-one",
        "Bearer the-next-one",
    ]


@pytest.mark.parametrize("missing", ["ca.crt", "namespace"])
def test_an_account_that_is_not_whole_is_no_cluster(service_account: Path, missing: str) -> None:
    (service_account / missing).unlink()

    with pytest.raises(EnvironmentUnavailable, match="no cluster is configured"):
        asyncio.run(connect(service_account=service_account))


# -- TLS and the way there -------------------------------------------------------------------------------------------


def configured(cluster: FakeCluster, trusted: Certificate, **more: Any) -> Configuration:
    made = Configuration(host=cluster.url, api_key={"BearerToken": f"Bearer {TOKEN}"}, ssl_ca_cert=str(trusted.file))
    for name, value in more.items():
        setattr(made, name, value)
    return made


def names_by(configuration: Configuration) -> list[str]:
    async def whole() -> list[str]:
        async with ApiClient(configuration, NAMESPACE) as api:
            return await everything(api.list(*PODS, NAMESPACE))

    return asyncio.run(whole())


def test_a_server_that_the_authority_vouches_for_is_trusted(guarded: FakeCluster, authority: Certificate) -> None:
    guarded.put(PODS, "one")

    assert names_by(configured(guarded, authority)) == ["one"]


def test_a_server_with_another_certificate_gets_no_token_and_is_asked_once(
    guarded: FakeCluster, tmp_path: Path
) -> None:
    other, heard = certificate(tmp_path, "other", *HERE), list[int | None]()

    async def scenario() -> None:
        async with ApiClient(configured(guarded, other), NAMESPACE) as api:
            api.on_request = lambda _verb, code: heard.append(code)
            await everything(api.list(*PODS, NAMESPACE))

    with pytest.raises(Unreachable, match="certificate verify failed"):
        asyncio.run(scenario())
    assert (guarded.asked, heard) == ([], [None])


def test_the_name_that_a_kubeconfig_expects_on_the_certificate_is_the_one_that_counts(tmp_path: Path) -> None:
    inner = certificate(tmp_path, "inner", "DNS:kubernetes.default")
    with running(FakeCluster(), inner.server()) as cluster:
        assert names_by(configured(cluster, inner, tls_server_name="kubernetes.default")) == []
        with pytest.raises(Unreachable, match="certificate"):
            names_by(configured(cluster, inner))


def test_a_kubeconfigs_proxy_is_used(cluster: FakeCluster) -> None:
    cluster.put(PODS, "one")
    # For plain HTTP a proxy is asked as the server would be.
    nowhere = Configuration(host="http://cluster.test", api_key={"BearerToken": f"Bearer {TOKEN}"})
    nowhere.proxy = cluster.url

    assert names_by(nowhere) == ["one"]

    assert cluster.asked[-1].headers["host"] == "cluster.test"


# -- servers that are none -------------------------------------------------------------------------------------------


@contextmanager
def answering(content: bytes) -> Iterator[str]:
    """Answer every request with this, as whatever it is that stands there instead of an API server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
                connection.sendall(head.encode() + content)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("content", [b"<html>log in</html>", b"[]", b"\xff", b""])
def test_an_answer_that_no_api_server_gives_is_told_as_such(content: bytes) -> None:
    with answering(content) as url, pytest.raises(Unreachable, match="with what no API server says"):
        asyncio.run(_get_from(url))


async def _get_from(url: str) -> None:
    async with ApiClient(Configuration(host=url), NAMESPACE) as api:
        await api.get(*JOBS, NAMESPACE, "one")
