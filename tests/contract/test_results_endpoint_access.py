"""Who is let in at the results endpoint, and what there is: tokens of one place each, few paths, one method each."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from batchyard.kube.intake import token_of
from batchyard.kube.limits import Limits
from batchyard.model.wire import Manifest, Segment
from runner_bench import CLOCK, await_true
from worker_bench import BATCH, OperatorBench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ("manifest", "segments/1", "heartbeat")
LIMITS = Limits(idle_seconds=0.5, connections=8, linger_seconds=0.2)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorBench]:
    with OperatorBench(tmp_path_factory.mktemp("operator"), bounds=LIMITS) as made:
        yield made
        assert made.finals == []
        assert made.place.segments == 0


def body_for(name: str) -> bytes | None:
    return None if name == "manifest" else b"{}"


# -- tokens ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer wrong", "Bearer \xe9", "Bearer a b", f"Bearer {'x' * 600}"],
)
def test_without_the_right_token_nothing_is_said(bench: OperatorBench, name: str, header: str | None) -> None:
    refused = bench.ask(name, body_for(name), Authorization=header)

    assert refused.status == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert refused.json == {"error": refused.json["error"]}
    assert BATCH not in refused.body.decode()


@pytest.mark.parametrize("name", NAMES)
def test_the_token_of_another_attempt_or_batch_or_key_opens_nothing(bench: OperatorBench, name: str) -> None:
    others = [bench.token(2), bench.token(1, "bench-other"), token_of(b"another key", BATCH, 1), bench.token() + "0"]

    for token in others:
        assert bench.ask(name, body_for(name), Authorization=f"Bearer {token}").status == 401


def test_a_token_opens_neither_another_attempt_nor_another_batch(bench: OperatorBench) -> None:
    headers = {"Authorization": f"Bearer {bench.token()}", "Content-Type": "application/json"}

    for path in (bench.path("manifest", 2), bench.path("manifest", 11), bench.path("manifest", 1, "bench-other")):
        assert bench.endpoint.ask(path, headers=headers).status == 401


def test_a_wrong_token_is_told_before_anything_is_said_of_the_body(bench: OperatorBench) -> None:
    refused = bench.ask("segments/1", b"no JSON", Authorization="Bearer wrong", Content_Type="text/plain")

    assert refused.status == 401


def test_the_right_token_opens_what_its_attempt_needs(bench: OperatorBench) -> None:
    answered = bench.ask("manifest")

    manifest = Manifest.from_json(answered.json)
    assert (answered.status, manifest.batch_id, manifest.attempt) == (200, BATCH, 1)
    assert bench.ask("heartbeat", b'{"running": 0}').json == {"directive": ""}


def test_the_scheme_of_the_token_may_be_written_in_any_case(bench: OperatorBench) -> None:
    assert bench.ask("manifest", Authorization=f"bearer {bench.token()}").status == 200


# -- paths and methods -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/metrics",
        "/healthz",
        "/v1/read/batches",
        f"/v1/batches/{BATCH}",
        f"/v1/batches/{BATCH}/attempts/1",
        f"/v1/batches/{BATCH}/attempts/1/manifest/",
        f"/v1/batches/{BATCH}/attempts/1/segments",
        f"/v1/batches/{BATCH}/attempts/1/segments/0",
        f"/v1/batches/{BATCH}/attempts/1/segments/01",
        f"/v1/batches/{BATCH}/attempts/1/segments/-1",
        f"/v1/batches/{BATCH}/attempts/1/segments/1e3",
        f"/v1/batches/{BATCH}/attempts/1/segments/1234567890",
        f"/v1/batches/{BATCH}/attempts/0/manifest",
        f"/v1/batches/{BATCH}/attempts/1/manifest%2e",
        f"/v1/batches/{BATCH}/../{BATCH}/attempts/1/manifest",
        f"/v1/batches/{BATCH.upper()}/attempts/1/manifest",
        f"/v1/batches/{'x' * 64}/attempts/1/manifest",
        f"//v1/batches/{BATCH}/attempts/1/manifest",
    ],
)
def test_there_is_nothing_at_any_other_path(bench: OperatorBench, path: str) -> None:
    refused = bench.endpoint.ask(path, headers={"Authorization": f"Bearer {bench.token()}"})

    assert refused.status == 404
    assert refused.json["error"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_manifest_can_only_be_read(bench: OperatorBench, method: str) -> None:
    refused = bench.endpoint.ask(bench.path("manifest"), b"", method=method)

    assert (refused.status, refused.headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize("name", ["segments/1", "heartbeat"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_results_and_heartbeats_can_only_be_posted(bench: OperatorBench, name: str, method: str) -> None:
    refused = bench.endpoint.ask(bench.path(name), b"", method=method)

    assert (refused.status, refused.headers["Allow"]) == (405, "POST")


def test_a_path_takes_no_query(bench: OperatorBench) -> None:
    assert bench.ask("manifest?x=1").status == 400


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_that_says_it_is_no_json_is_refused(bench: OperatorBench, kind: str | None) -> None:
    assert bench.ask("heartbeat", b'{"running": 0}', Content_Type=kind).status == 415


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"running": -1}', b'{"running": 1e400}', b"\xff", b"7"])
def test_a_heartbeat_that_is_none_is_refused_with_a_sentence(bench: OperatorBench, body: bytes) -> None:
    refused = bench.ask("heartbeat", body)

    assert refused.status == 400
    assert refused.json["error"]


# -- connections -----------------------------------------------------------------------------------------------------


def test_no_answer_says_what_the_server_is_made_of_or_may_be_kept(bench: OperatorBench) -> None:
    for answered in (bench.ask("manifest"), bench.endpoint.ask("/")):
        assert "Server" not in answered.headers
        assert answered.headers["Cache-Control"] == "no-store"
        assert answered.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "line", [b"GET\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"]
)
def test_what_is_no_http_is_refused_and_not_quoted(bench: OperatorBench, line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", bench.port), timeout=20) as connection:
        connection.sendall(line)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))

    assert answer.startswith(b"HTTP/1.1 400 ") or answer.startswith(b"HTTP/1.0 400 ")
    assert b"cannot be read as HTTP" in answer
    assert b"hello" not in answer
    assert b"bad header" not in answer


@pytest.mark.parametrize("sent", [b"", b"GET /v1/batches HTTP/1.1\r\nHost: x\r\n"])
def test_a_client_that_says_nothing_more_is_left(bench: OperatorBench, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", bench.port), timeout=20) as connection:
        began = CLOCK.monotonic()
        connection.sendall(sent)
        while connection.recv(4096):
            pass
        took = CLOCK.monotonic() - began

    assert took < 10


def test_more_connections_than_it_bears_are_closed_and_the_others_served(bench: OperatorBench) -> None:
    held = [socket.create_connection(("127.0.0.1", bench.port), timeout=20) for _ in range(LIMITS.connections)]
    try:
        with socket.create_connection(("127.0.0.1", bench.port), timeout=20) as one_more:
            assert one_more.recv(1) == b""
    finally:
        for connection in held:
            connection.close()

    await_true(lambda: answers(bench), "there is room again")


def answers(bench: OperatorBench) -> bool:
    try:
        return bench.ask("manifest").status == 200
    except ConnectionError:
        return False


def test_requests_are_counted_by_what_they_were_for_and_never_by_their_path(tmp_path: Path) -> None:
    with OperatorBench(tmp_path, bounds=LIMITS) as bench:
        bench.ask("manifest")
        bench.post(1, Segment(), attempt=7)
        bench.endpoint.ask("/some/secret")

        # A request is counted once its answer is out, which may be after the answer was read.
        await_true(lambda: len(bench.meter.answered) >= 3, "three requests are counted")
        assert sorted(bench.meter.answered) == [("manifest", 200), ("none", 404), ("segment", 410)]
