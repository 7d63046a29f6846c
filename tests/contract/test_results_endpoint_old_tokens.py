"""What the token of an attempt that is over still opens: one entry about what came too late, and then nothing."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.kube.limits import Limits
from batchyard.model.outcome import Reason
from batchyard.model.wire import Segment
from runner_bench import LONG
from worker_bench import BATCH, OperatorBench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CASES = [{"name": name} for name in ("one", "two", "three")]
LIMITS = Limits(read_seconds=LONG, patience_seconds=0.2)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[OperatorBench]:
    with OperatorBench(tmp_path, cases=CASES, bounds=LIMITS) as made:
        yield made


def final(*results: Any) -> Segment:
    return Segment(results=tuple((result, True) for result in results))


def announced(bench: OperatorBench, stack: ExitStack, *, attempt: int = 1) -> socket.socket:
    """Announce the largest body there may be, and send none of it."""
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", bench.port), timeout=LONG))
    head = [
        f"POST {bench.path('segments/9', attempt)} HTTP/1.1", "Host: x",
        f"Authorization: Bearer {bench.token(attempt)}", "Content-Type: application/json",
        f"Content-Length: {LIMITS.body_bytes}", "", "",
    ]  # fmt: skip
    connection.sendall("\r\n".join(head).encode())
    return connection


def is_put_away(bench: OperatorBench) -> bool:
    return bench.batches.known(BATCH) is None and bench.store.live_owner(BATCH) is None


# -- before the body -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", ["place", "batch", "put away"])
def test_once_it_was_told_of_an_attempt_that_is_over_is_refused_before_its_body_comes(
    bench: OperatorBench, over: str
) -> None:
    if over == "place":
        bench.next_place()
    else:
        bench.conclude()
    if over == "put away":
        bench.put_away()
    assert bench.post(1, final(bench.result(0))).status == 410

    with ExitStack() as stack:
        connection = announced(bench, stack)

        assert connection.recv(4096).startswith(b"HTTP/1.1 410 ")


def test_a_token_of_an_attempt_that_never_was_is_refused_before_the_body_comes(bench: OperatorBench) -> None:
    with ExitStack() as stack:
        connection = announced(bench, stack, attempt=7)

        assert connection.recv(4096).startswith(b"HTTP/1.1 410 ")


def test_bodies_of_older_places_that_do_not_come_keep_the_newest_from_nothing(bench: OperatorBench) -> None:
    older = [bench.next_place() - 1 for _ in range(4)]

    with ExitStack() as stack:
        for attempt in older:
            for _ in range(LIMITS.at_once):
                announced(bench, stack, attempt=attempt)
        taken = [bench.post(number, attempt=5).status for number in (1, 2, 3)]

    assert taken == [200, 200, 200]


# -- once ------------------------------------------------------------------------------------------------------------


def test_an_older_place_is_told_of_once_however_it_numbers_what_it_sends(bench: OperatorBench) -> None:
    bench.next_place()

    answers = [bench.post(number, final(bench.result(0))).status for number in (1, 2, 77, 999_999_999)]

    assert answers == [410] * 4
    assert len(bench.told("LateResult")) == 1


def test_each_older_place_is_told_of(bench: OperatorBench) -> None:
    bench.next_place()
    bench.next_place()

    for attempt in (1, 2, 1, 2):
        bench.post(5, final(replace(bench.result(0), epoch=attempt)), attempt=attempt)

    assert len(bench.told("LateResult")) == 2


def test_a_batch_that_is_over_is_opened_once_for_what_comes_too_late(bench: OperatorBench) -> None:
    bench.conclude(Reason.BATCH_DEADLINE_EXCEEDED)
    bench.put_away()
    assert bench.post(1, final(bench.result(0))).status == 410
    sessions = bench.store.batch(BATCH).epoch

    answers = [bench.post(number, final(bench.result(0))).status for number in range(2, 12)]

    assert answers == [410] * 10
    assert bench.store.batch(BATCH).epoch == sessions
    assert is_put_away(bench)


def test_what_comes_too_late_and_contradicts_the_plan_leaves_the_batch_put_away(bench: OperatorBench) -> None:
    bench.conclude()
    bench.put_away()

    answers = [bench.post(number, final(bench.result(0, trial_id="x"))).status for number in (1, 2)]

    assert answers == [400, 410]
    assert bench.told("LateResult") == []
    assert is_put_away(bench)
