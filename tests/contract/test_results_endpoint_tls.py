"""The results endpoint over TLS: who may trust it, and certificates that are renewed while it runs."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from batchyard.kube.tls import TlsFiles
from batchyard.model.errors import EnvironmentUnavailable
from batchyard.worker.client import ResultsClient, Unavailable
from batchyard.worker.settings import WorkerSettings
from runner_bench import LONG, await_true
from tls_authority import Authority, authority
from worker_bench import BATCH, OperatorBench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def certificate(trusted: Authority, tmp_path: Path) -> Path:
    trusted.sign(tmp_path / "tls.crt", tmp_path / "tls.key", "first")
    return tmp_path / "tls.crt"


@pytest.fixture
def files(certificate: Path) -> TlsFiles:
    return TlsFiles(certificate, certificate.with_suffix(".key"))


@pytest.fixture
def bench(files: TlsFiles, tmp_path: Path) -> Iterator[OperatorBench]:
    made = OperatorBench(tmp_path)
    made.tls = files.context
    with made:
        yield made


def client_of(bench: OperatorBench, ca_file: Path | None, scheme: str = "https") -> ResultsClient:
    token = bench.folder / "token"
    token.write_text(bench.token())
    return ResultsClient(
        WorkerSettings(f"{scheme}://127.0.0.1:{bench.port}", BATCH, 1, token, bench.folder, ca_file=ca_file)
    )


def shown_to(bench: OperatorBench, trusted: Authority) -> str:
    """Return whose certificate a new connection is shown."""
    context = ssl.create_default_context(cafile=trusted.certificate)
    with (
        socket.create_connection(("127.0.0.1", bench.port), timeout=LONG) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        subject = (wrapped.getpeercert() or {})["subject"]
        return str(dict(pair for part in subject for pair in part)["commonName"])  # type: ignore[misc]


def renewed(trusted: Authority, certificate: Path, name: str) -> None:
    """Put another certificate in place, as a mounted Secret is replaced."""
    trusted.sign(certificate.with_name("new.crt"), certificate.with_name("new.key"), name)
    certificate.with_name("new.key").replace(certificate.with_suffix(".key"))
    certificate.with_name("new.crt").replace(certificate)


def test_a_worker_that_trusts_the_authority_gets_its_manifest(bench: OperatorBench, trusted: Authority) -> None:
    with client_of(bench, trusted.certificate) as client:
        assert client.manifest().batch_id == BATCH


def test_a_worker_tells_its_token_to_nobody_it_does_not_trust(bench: OperatorBench, tmp_path: Path) -> None:
    other = authority(tmp_path / "other")

    for ca_file in (other.certificate, None):
        with client_of(bench, ca_file) as client, pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            client.manifest()
    assert bench.meter.answered == []


def test_without_tls_there_is_no_answer(bench: OperatorBench) -> None:
    with client_of(bench, None, "http") as client, pytest.raises(Unavailable):
        client.manifest()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_versions_of_tls_are_refused(bench: OperatorBench, trusted: Authority) -> None:
    context = ssl.create_default_context(cafile=trusted.certificate)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")

    with socket.create_connection(("127.0.0.1", bench.port), timeout=LONG) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="localhost")


def test_a_renewed_certificate_is_shown_to_new_connections_and_old_ones_go_on(
    bench: OperatorBench, files: TlsFiles, trusted: Authority, certificate: Path
) -> None:
    with client_of(bench, trusted.certificate) as client:
        client.heartbeat(0)
        assert shown_to(bench, trusted) == "first"
        assert bench.endpoint.call(files.reload) is False

        renewed(trusted, certificate, "second")

        assert bench.endpoint.call(files.reload) is True
        assert shown_to(bench, trusted) == "second"
        client.heartbeat(0)
        assert bench.endpoint.call(files.reload) is False


def test_a_key_whose_certificate_is_still_to_come_changes_nothing_yet(
    bench: OperatorBench, files: TlsFiles, trusted: Authority, certificate: Path
) -> None:
    trusted.sign(certificate.with_name("new.crt"), certificate.with_suffix(".key"), "second")

    assert bench.endpoint.call(files.reload) is False
    assert shown_to(bench, trusted) == "first"

    certificate.with_name("new.crt").replace(certificate)

    assert bench.endpoint.call(files.reload) is True
    assert shown_to(bench, trusted) == "second"


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_files_that_were_spoiled_change_nothing(
    bench: OperatorBench, files: TlsFiles, trusted: Authority, certificate: Path, content: str | None
) -> None:
    shutil.copy(certificate, certificate.with_name("kept.crt"))
    certificate.unlink()
    if content is not None:
        certificate.write_text(content)

    assert bench.endpoint.call(files.reload) is False
    assert shown_to(bench, trusted) == "first"

    shutil.copy(certificate.with_name("kept.crt"), certificate)
    bench.endpoint.call(files.reload)
    assert shown_to(bench, trusted) == "first"


def test_files_are_looked_at_while_they_are_watched(
    bench: OperatorBench, files: TlsFiles, trusted: Authority, certificate: Path
) -> None:
    async def watch() -> None:
        async with files.watched(0.01):
            renewed(trusted, certificate, "second")
            await asyncio.to_thread(await_true, lambda: shown_to(bench, trusted) == "second", "the new certificate")

    bench.do(watch())


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_text("no certificate")
    (tmp_path / "tls.key").write_text("no key")

    for name in ("tls.crt", "missing.crt"):
        with pytest.raises(EnvironmentUnavailable, match=f"{name} with the key .*tls.key cannot be used"):
            TlsFiles(tmp_path / name, tmp_path / "tls.key")
