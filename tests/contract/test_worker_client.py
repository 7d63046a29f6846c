"""What a worker makes of each answer, over a real socket: who refuses, who is busy, and who is not the operator."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.model.wire import Directive, Manifest, Receipt
from batchyard.worker.client import (
    OutOfOrder,
    Refused,
    ResultsClient,
    Superseded,
    TooEarly,
    TooLarge,
    Unavailable,
)
from batchyard.worker.settings import WorkerSettings
from worker_fakes import BreakingServer, Step, breaking_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANIFEST = Manifest(1, "b", "docs", 1, {"spec": {"n": 2**63}}, datetime(2026, 3, 1, tzinfo=UTC), ((0, 3),), {5: 2})
HTML = b"<html>no backend</html>"


@pytest.fixture(scope="module")
def server() -> Iterator[BreakingServer]:
    with breaking_server() as running:
        running.manifest = MANIFEST.to_json()
        yield running


def settings_for(url: str, folder: Path, content: str = "secret\n", **more: Any) -> WorkerSettings:
    file = folder / "token"
    file.write_text(content)
    return WorkerSettings(url, "b", 1, file, folder, **more)


@pytest.fixture
def client(server: BreakingServer, tmp_path: Path) -> Iterator[ResultsClient]:
    with ResultsClient(settings_for(server.url, tmp_path)) as made:
        yield made
    assert server.complaints == []
    assert not server.script


def says(status: int, document: Any = None, *, raw: bytes = b"", **headers: str) -> Step:
    body = raw if document is None else json.dumps(document).encode()
    return Step("answer", status=status, body=body, headers=tuple((k.replace("_", "-"), v) for k, v in headers.items()))


def test_manifest_receipts_and_directives_arrive_as_they_were_sent(
    server: BreakingServer, client: ResultsClient
) -> None:
    server.next, server.bodies, server.directive = 1, {}, Directive.SUSPEND
    large = b'{"x": "' + b"y" * 100_000 + b'"}'

    assert client.manifest() == MANIFEST
    assert client.segment(1, b"{}") == Receipt(2, Directive.SUSPEND)
    assert client.segment(2, large) == Receipt(3, Directive.SUSPEND)
    assert client.heartbeat(4) is Directive.SUSPEND
    assert server.bodies == {1: b"{}", 2: large}
    assert server.requests[-4:] == ["GET manifest", "POST segments/1", "POST segments/2", "POST heartbeat"]


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (says(410, {"error": "over"}), Superseded),
        (says(425, {"error": "not ready"}), TooEarly),
        (says(425, raw=HTML), Unavailable),
        (says(401, {"error": "no token that is right"}), Refused),
        (says(403, {"error": "no"}), Refused),
        (says(404, {"error": "nothing here"}), Refused),
        (says(400, {"error": "no JSON"}), Refused),
        (says(415, {"error": "no JSON"}), Refused),
        (says(409, {"error": "a gap"}), Refused),
        (says(409, {"error": "a gap", "next": "3"}), Refused),
        (says(200, {"next": 0, "directive": ""}), Refused),
        (says(200, {"next": 2, "directive": "Dance"}), Refused),
        (says(200, [1]), Refused),
        (says(413, {"error": "too large"}), TooLarge),
        (says(413, raw=HTML), TooLarge),
        (says(408, {"error": "too slow"}), Unavailable),
        (says(429, {"error": "too much"}), Unavailable),
        (says(500, {"error": "a fault of the operator's own"}), Unavailable),
        (says(503, {"error": "busy"}), Unavailable),
        (says(502, raw=HTML), Unavailable),
    ],
)
def test_each_answer_to_a_segment_is_an_error_of_its_kind(
    server: BreakingServer, client: ResultsClient, step: Step, kind: type[Exception]
) -> None:
    server.script.append(step)

    with pytest.raises(kind):
        client.segment(1, b"{}")


def test_a_gap_names_the_segment_that_is_wanted(server: BreakingServer, client: ResultsClient) -> None:
    server.script.append(says(409, {"error": "a gap", "next": 7}))

    with pytest.raises(OutOfOrder) as caught:
        client.segment(1, b"{}")

    assert caught.value.next == 7


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 410])
def test_what_stands_in_for_an_operator_that_is_away_refuses_nothing_for_good(
    server: BreakingServer, client: ResultsClient, status: int
) -> None:
    server.script.append(says(status, raw=HTML))

    with pytest.raises(Unavailable):
        client.segment(1, b"{}")


@pytest.mark.parametrize("raw", [b"", b"{", HTML, b"\xff"])
def test_an_answer_that_is_no_json_is_no_receipt(server: BreakingServer, client: ResultsClient, raw: bytes) -> None:
    server.script.append(says(200, raw=raw))

    with pytest.raises(Unavailable):
        client.segment(1, b"{}")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0", 0.0), ("100000", 60.0), ("-1", None), ("soon", None), ("\u00b2", None), ("9" * 400, 60.0)],
)
def test_how_long_to_wait_is_taken_from_the_answer_within_reason(
    server: BreakingServer, client: ResultsClient, header: str, seconds: float | None
) -> None:
    server.script.append(says(503, {"error": "busy"}, Retry_After=header))

    with pytest.raises(Unavailable) as caught:
        client.heartbeat(0)

    assert caught.value.retry_after == seconds


def test_a_manifest_of_another_shape_is_refused_with_what_is_wrong(
    server: BreakingServer, client: ResultsClient
) -> None:
    server.script.append(says(200, {**MANIFEST.to_json(), "deadline_at": "soon"}))

    with pytest.raises(Refused, match=r"manifest\.deadline_at"):
        client.manifest()


def test_nobody_there_is_no_refusal(tmp_path: Path) -> None:
    with (
        ResultsClient(settings_for("http://127.0.0.1:1", tmp_path)) as client,
        pytest.raises(Unavailable, match=r"127\.0\.0\.1 did not answer manifest"),
    ):
        client.manifest()


def test_no_proxy_of_the_environment_gets_between(
    server: BreakingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    with ResultsClient(settings_for(server.url, tmp_path)) as client:
        assert client.manifest() == MANIFEST


# -- set up wrongly --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "  \n", "two\nlines", "grün", "\x00"])
def test_a_token_that_is_none_is_refused_with_the_file(tmp_path: Path, token: str) -> None:
    with pytest.raises(Refused, match=f"{tmp_path}/token"):
        ResultsClient(settings_for("http://127.0.0.1:1", tmp_path, token))


def test_a_token_that_is_not_there_is_refused_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="see that its Secret is mounted there"):
        ResultsClient(WorkerSettings("http://127.0.0.1:1", "b", 1, tmp_path / "token", tmp_path))


@pytest.mark.parametrize("url", ["http://127.0.0.1:port", "127.0.0.1:80", "ftp://x", ""])
def test_a_results_url_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(Refused, match="the results URL"), ResultsClient(settings_for(url, tmp_path)) as client:
        client.manifest()


def test_certificates_that_are_none_are_refused_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")

    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(Refused, match=name):
            ResultsClient(settings_for("https://127.0.0.1:1", tmp_path, ca_file=tmp_path / name))
