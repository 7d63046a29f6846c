"""Whatever becomes of connections, every result arrives once and in order: over real sockets that break anywhere."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchyard.clock import SystemClock
from batchyard.model.wire import Directive, Done, Hello
from batchyard.worker.client import ResultsClient
from batchyard.worker.poster import Poster
from batchyard.worker.settings import WorkerSettings
from batchyard.worker.spool import Spool
from batchyard.worker.writer import SegmentWriter
from runner_bench import LONG
from wire_builders import a_wire_result
from worker_fakes import QUICK, BreakingServer, Step, breaking_server, results_of, segments_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELLO = Hello(1, "1.0", "3.11")

_bytes = st.integers(0, 400) | st.integers(0, 3000)
_breaks = st.builds(Step, kind=st.sampled_from(["deaf", "mute"]), at=_bytes, reset=st.booleans())
_answers = st.builds(
    Step,
    kind=st.just("answer"),
    status=st.sampled_from([200, 404, 408, 410, 429, 500, 502, 503, 504]),
    body=st.sampled_from([b"", b"<html>no backend</html>", b"{"]),
    headers=st.sampled_from([(), (("Retry-After", "0"),)]),
)
_steps = st.lists(_breaks | _answers | st.just(Step()), max_size=12)
_sizes = st.lists(st.lists(st.sampled_from([0, 20, 3000, 60_000]), max_size=3), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def server() -> Iterator[BreakingServer]:
    with breaking_server() as running:
        yield running


@contextmanager
def writing_to(server: BreakingServer, folder: Path) -> Iterator[tuple[SegmentWriter, Poster]]:
    """Write to a server that begins anew."""
    server.next, server.bodies, server.complaints, server.directive = 1, {}, [], Directive.NONE
    (folder / "token").write_text("secret")
    spool, clock = Spool(folder / "spool"), SystemClock()
    with ResultsClient(WorkerSettings(server.url, "b", 1, folder / "token", folder)) as client:
        poster = Poster(
            client, spool, clock, QUICK,
            running=lambda: 1, on_directive=lambda _directive: None, on_end=lambda _error: None,
        )  # fmt: skip
        poster.start()
        with SegmentWriter(spool, poster, HELLO, spool_bytes=10**9, may_hold_up=lambda: True) as writer:
            yield writer, poster
        poster.close()
        assert not poster.is_alive()
    assert spool.size == 0


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=_steps, steps=_sizes)
def test_nothing_is_lost_and_nothing_comes_twice(
    server: BreakingServer, tmp_path: Path, script: list[Step], steps: list[list[int]]
) -> None:
    server.script = deque(script)
    made = [
        [a_wire_result(100 * number + index, output="x" * size) for index, size in enumerate(sizes)]
        for number, sizes in enumerate(steps)
    ]

    with writing_to(server, tmp_path) as (writer, poster):
        for results in made:
            writer.submit(results=[(result, True) for result in results])
            writer.flush()
        writer.finish(Done(""))
        sent = poster.wait_sent(LONG)

    segments = segments_of(server.bodies)
    assert sent
    assert server.complaints == []
    assert results_of(segments) == [result for results in made for result in results]
    assert [segment.hello for segment in segments] == [HELLO, *[None] * (len(segments) - 1)]
    assert [segment.done for segment in segments] == [*[None] * (len(segments) - 1), Done("")]


@pytest.mark.parametrize("kind", ["deaf", "mute"])
def test_a_connection_may_break_at_any_byte(server: BreakingServer, tmp_path: Path, kind: str) -> None:
    """Each byte of a segment's request, or of its answer, is once the last one that passes."""
    server.script = deque()
    with writing_to(server, tmp_path) as (writer, poster):
        writer.flush()
        assert poster.wait_sent(LONG)
        sent = 0
        for at in range(0, 1200 if kind == "deaf" else 160, 7 if kind == "deaf" else 1):
            server.script.append(Step(kind, at))
            writer.submit(results=[(a_wire_result(sent), True)])
            writer.flush()
            assert poster.wait_sent(LONG)
            sent += 1

    results = results_of(segments_of(server.bodies))
    assert server.complaints == []
    assert [result.ordinal for result in results] == [*range(sent)]
