"""What the endpoint bears: bodies of a size, gzip that does not explode, so much at once, so much from each worker."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchyard.kube.body_budget import shares_of
from batchyard.kube.http import results_app
from batchyard.kube.limits import Limits
from batchyard.model.wire import Directive, Manifest, Receipt, Segment
from endpoint_bench import Answered, Served, served
from runner_bench import CLOCK, LONG, await_true
from wire_builders import a_wire_result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.kube.body_budget import Shares
    from batchyard.kube.server import App

KIB, MIB = 1024, 1024**2
LIMITS = Limits(
    body_bytes=256 * KIB,
    inflated_bytes=2 * MIB,
    memory_bytes=4 * MIB,
    bodies=2,
    patience_seconds=0.3,
    read_seconds=1.0,
    linger_seconds=0.2,
    at_once=2,
    burst=20,
    rate=5.0,
)
EMPTY = json.dumps(Segment().to_json()).encode()
TOKEN, OTHER = "first", "other"


class GatedIntake:
    """A fake of the intake that takes everything, and holds segments back while its gate is closed."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.segments: list[Segment] = []
        self.waiting = 0

    def token_ok(self, batch_id: str, attempt: int, token: str) -> bool:
        return token == {"b": TOKEN, "other": OTHER}[batch_id]

    async def account(self, batch_id: str, attempt: int) -> Shares:
        return shares_of("team-a", batch_id)

    async def manifest(self, batch_id: str, attempt: int, pod: str) -> Manifest:
        raise NotImplementedError

    async def segment(self, batch_id: str, attempt: int, seq: int, segment: Segment) -> Receipt:
        self.waiting += 1
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        self.segments.append(segment)
        return Receipt(seq + 1)

    async def heartbeat(self, batch_id: str, attempt: int, running: int) -> Directive:
        return Directive.NONE


class Endpoint:
    """A served endpoint, and what workers of two batches send to it."""

    def __init__(self, running: Served, intake: GatedIntake) -> None:
        self.running, self.intake = running, intake

    def post(self, body: bytes = EMPTY, *, batch: str = "b", number: int = 1, **headers: str | None) -> Answered:
        return self.running.ask(self.path(batch, f"segments/{number}"), body, headers=self.headers(batch, **headers))

    def beat(self, batch: str = "b") -> Answered:
        return self.running.ask(self.path(batch, "heartbeat"), b'{"running": 1}', headers=self.headers(batch))

    def path(self, batch: str, name: str) -> str:
        return f"/v1/batches/{batch}/attempts/1/{name}"

    def headers(self, batch: str = "b", **more: str | None) -> dict[str, str | None]:
        token = {"b": TOKEN, "other": OTHER}[batch]
        plain: dict[str, str | None] = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return plain | {name.replace("_", "-"): value for name, value in more.items()}

    def open_gate(self, is_open: bool) -> None:
        self.running.call(self.intake.gate.set if is_open else self.intake.gate.clear)

    def raw(self, *lines: str, body: bytes = b"") -> bytes:
        """Send a request byte by byte as given, and return all that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.running.port), timeout=LONG) as connection:
            head = [f"POST {self.path('b', 'segments/1')} HTTP/1.1", "Host: x", f"Authorization: Bearer {TOKEN}"]
            connection.sendall("\r\n".join([*head, "Content-Type: application/json", *lines, "", ""]).encode() + body)
            return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with an_endpoint(LIMITS) as made:
        yield made


@contextmanager
def an_endpoint(limits: Limits) -> Iterator[Endpoint]:
    made: list[GatedIntake] = []

    def app() -> App:
        made.append(GatedIntake())
        return results_app(made[0], clock=CLOCK, limits=limits)

    with served(app) as running:
        yield Endpoint(running, made[0])


def segment_of(size: int) -> bytes:
    """Return a segment of so many bytes."""
    plain = len(json.dumps(Segment(results=((a_wire_result(output=""), True),)).to_json()))
    return json.dumps(Segment(results=((a_wire_result(output="x" * (size - plain)), True),)).to_json()).encode()


# -- size ------------------------------------------------------------------------------------------------------------


def test_a_body_may_be_as_large_as_the_limit_and_no_larger(endpoint: Endpoint) -> None:
    assert endpoint.post(segment_of(LIMITS.body_bytes)).status == 200

    refused = endpoint.post(segment_of(LIMITS.body_bytes + 1))

    assert (refused.status, refused.json["most"]) == (413, LIMITS.body_bytes)
    assert len(endpoint.intake.segments) == 1


def test_a_body_that_does_not_announce_its_size_is_read_no_further_than_the_limit(endpoint: Endpoint) -> None:
    large = segment_of(LIMITS.body_bytes + 1)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (large[:100], large[100:])) + b"0\r\n\r\n"

    answer = endpoint.raw("Transfer-Encoding: chunked", "Connection: close", body=chunks)

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_is_taken_as_any_other(endpoint: Endpoint) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in EMPTY) + b"0\r\n\r\n"

    answer = endpoint.raw("Transfer-Encoding: chunked", "Connection: close", body=chunks)

    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_heartbeat_is_small(endpoint: Endpoint) -> None:
    large = b'{"running": 1, "x": "' + b"x" * LIMITS.small_bytes + b'"}'

    refused = endpoint.running.ask(endpoint.path("b", "heartbeat"), large, headers=endpoint.headers())

    assert refused.status == 413


def test_whoever_asks_first_is_spared_sending_what_is_too_large(endpoint: Endpoint) -> None:
    answer = endpoint.raw(f"Content-Length: {LIMITS.body_bytes + 1}", "Expect: 100-continue", "Connection: close")

    assert answer.startswith(b"HTTP/1.1 413 ")


# -- gzip ------------------------------------------------------------------------------------------------------------


def test_a_packed_body_is_unpacked(endpoint: Endpoint) -> None:
    large = segment_of(LIMITS.body_bytes * 3)

    taken = endpoint.post(gzip.compress(large), Content_Encoding="gzip")

    assert taken.status == 200
    assert endpoint.intake.segments == [Segment.from_json(json.loads(large))]


def test_what_a_worker_packs_is_taken_however_well_it_packs(endpoint: Endpoint) -> None:
    large = segment_of(LIMITS.inflated_bytes - KIB)

    assert endpoint.post(gzip.compress(large, 1), Content_Encoding="gzip").status == 200


def test_a_bomb_is_refused_before_it_explodes(endpoint: Endpoint) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(MIB)) for _ in range(200)) + packer.flush()
    assert len(bomb) < LIMITS.body_bytes

    refused = endpoint.post(bomb, Content_Encoding="gzip")

    assert refused.status == 413
    assert endpoint.post().status == 200


def test_a_small_bomb_is_refused_for_its_inflation(endpoint: Endpoint) -> None:
    bomb = gzip.compress(bytes(MIB + MIB // 2), 9)
    assert len(bomb) * LIMITS.inflation < MIB

    refused = endpoint.post(bomb, Content_Encoding="gzip")

    assert (refused.status, refused.json["most"]) == (413, MIB)


@pytest.mark.parametrize(
    "body",
    [
        b"no gzip",
        b"",
        gzip.compress(EMPTY)[:-4],
        gzip.compress(EMPTY)[:10],
        gzip.compress(EMPTY) + b"x",
        gzip.compress(EMPTY) * 2,
        zlib.compress(EMPTY),
    ],
    # What gzip makes holds the time of day.
    ids=["text", "nothing", "cut at the end", "cut at the head", "more", "twice", "zlib"],
)
def test_what_is_no_whole_gzip_is_refused(endpoint: Endpoint, body: bytes) -> None:
    assert endpoint.post(body, Content_Encoding="gzip").status == 400


@pytest.mark.parametrize("encoding", ["deflate", "br", "zstd", "gzip, gzip", "x-gzip"])
def test_another_encoding_is_refused(endpoint: Endpoint, encoding: str) -> None:
    assert endpoint.post(gzip.compress(EMPTY), Content_Encoding=encoding).status == 415


# -- time ------------------------------------------------------------------------------------------------------------


def test_a_body_that_does_not_come_is_not_waited_for_and_may_be_sent_again(endpoint: Endpoint) -> None:
    began = CLOCK.monotonic()
    answer = endpoint.raw("Content-Length: 1000", body=b"{")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert CLOCK.monotonic() - began < LIMITS.read_seconds + 5
    assert endpoint.post().status == 200


def test_a_body_that_breaks_off_takes_nothing_with_it(endpoint: Endpoint) -> None:
    for _ in range(2 * LIMITS.bodies):
        with socket.create_connection(("127.0.0.1", endpoint.running.port), timeout=LONG) as connection:
            head = [f"POST {endpoint.path('b', 'segments/1')} HTTP/1.1", "Host: x", f"Authorization: Bearer {TOKEN}"]
            lines = [*head, "Content-Type: application/json", "Content-Length: 1000", "", "{"]
            connection.sendall("\r\n".join(lines).encode())

    await_true(lambda: endpoint.post().status == 200, "a place for the next body")
    assert endpoint.intake.segments == [Segment()] * len(endpoint.intake.segments)


# -- back-pressure ---------------------------------------------------------------------------------------------------


@pytest.mark.proves("backpressure")
def test_more_bodies_than_there_are_places_for_are_asked_to_come_again(endpoint: Endpoint) -> None:
    endpoint.open_gate(False)
    with ThreadPoolExecutor(LIMITS.bodies) as workers:
        held = [workers.submit(endpoint.post) for _ in range(LIMITS.bodies)]
        await_true(lambda: endpoint.intake.waiting == LIMITS.bodies, "every place to be taken")

        refused = endpoint.post(batch="other")

        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert endpoint.beat("other").status == 200
        endpoint.open_gate(True)
        assert [request.result(LONG).status for request in held] == [200] * LIMITS.bodies
    assert endpoint.post(batch="other").status == 200


def test_a_body_that_waits_for_its_place_is_taken_once_there_is_one() -> None:
    with (
        an_endpoint(replace(LIMITS, patience_seconds=LONG)) as endpoint,
        ThreadPoolExecutor(LIMITS.bodies + 1) as workers,
    ):
        endpoint.open_gate(False)
        held = [workers.submit(endpoint.post) for _ in range(LIMITS.bodies)]
        await_true(lambda: endpoint.intake.waiting == LIMITS.bodies, "every place to be taken")
        held.append(workers.submit(endpoint.post, batch="other"))
        endpoint.open_gate(True)

        assert [request.result(LONG).status for request in held] == [200] * (LIMITS.bodies + 1)


def test_more_memory_than_there_is_for_all_bodies_is_not_promised(endpoint: Endpoint) -> None:
    large = gzip.compress(segment_of(LIMITS.inflated_bytes - KIB), 1)
    endpoint.open_gate(False)
    with ThreadPoolExecutor(1) as workers:
        held = workers.submit(endpoint.post, large, Content_Encoding="gzip")
        await_true(lambda: endpoint.intake.waiting == 1, "the first to hold its memory")

        refused = endpoint.post(large, batch="other", Content_Encoding="gzip")

        endpoint.open_gate(True)
        assert held.result(LONG).status == 200
    assert refused.status == 503
    assert endpoint.post(large, batch="other", Content_Encoding="gzip").status == 200


def test_one_worker_has_so_many_requests_under_way_and_the_others_are_served(endpoint: Endpoint) -> None:
    endpoint.open_gate(False)
    with ThreadPoolExecutor(LIMITS.at_once) as workers:
        held = [workers.submit(endpoint.post) for _ in range(LIMITS.at_once)]
        await_true(lambda: endpoint.intake.waiting == LIMITS.at_once, "all of them to be under way")

        refused = endpoint.post()
        beat = endpoint.beat()

        endpoint.open_gate(True)
        assert [request.result(LONG).status for request in held] == [200] * LIMITS.at_once

    assert refused.status == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert "send this again" in refused.json["error"]
    assert beat.status == 200
    assert endpoint.post().status == 200


def test_a_worker_that_never_pauses_is_slowed_down_and_the_others_are_not(endpoint: Endpoint) -> None:
    statuses = []
    with closing(endpoint.running.connection()) as connection:
        for _ in range(LIMITS.burst * 3):
            headers = {name: value for name, value in endpoint.headers().items() if value is not None}
            connection.request("POST", endpoint.path("b", "heartbeat"), b'{"running": 1}', headers)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)

    assert statuses[: LIMITS.burst] == [200] * LIMITS.burst
    assert set(statuses) <= {200, 429}
    assert 429 in statuses
    assert endpoint.beat("other").status == 200
    await_true(lambda: endpoint.beat().status == 200, "its next turn")


def test_a_token_that_is_wrong_uses_up_no_turn_of_who_has_the_right_one(endpoint: Endpoint) -> None:
    for _ in range(LIMITS.burst * 2):
        assert endpoint.post(Authorization="Bearer wrong").status == 401

    assert endpoint.post().status == 200
