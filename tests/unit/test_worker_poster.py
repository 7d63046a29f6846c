"""The thread that sends: in order, each segment until it is taken, and what it does when it cannot be."""

from __future__ import annotations

import json
import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from batchyard.clock import SystemClock
from batchyard.model.trial import NodeBoundary
from batchyard.model.wire import Directive, Receipt, Segment
from batchyard.worker.client import OutOfOrder, Refused, Superseded, TooLarge, Unavailable
from batchyard.worker.poster import Poster
from batchyard.worker.settings import Pace
from batchyard.worker.spool import Spool
from runner_bench import CLOCK, LONG, await_true
from wire_builders import a_wire_result
from worker_fakes import QUICK, AnswerLost, FakeOperator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Posting:
    """A poster at work, and what it said."""

    poster: Poster
    spool: Spool
    directives: list[Directive] = field(default_factory=list)
    ends: list[Exception | None] = field(default_factory=list)
    put: int = 0

    def spooled(self, *bodies: bytes) -> None:
        """Put segments into the spool and tell the poster of each."""
        for body in bodies:
            self.put += 1
            self.spool.put(self.put, body)
            self.poster.queued(self.put)

    def spooled_at_once(self, *bodies: bytes) -> None:
        """Put segments into the spool and tell the poster of the last, so that it hears of all at once."""
        for body in bodies:
            self.put += 1
            self.spool.put(self.put, body)
        self.poster.queued(self.put)

    def until_end(self) -> Exception | None:
        """Wait until nothing can be sent any more, and return what was said of it."""
        await_true(lambda: self.ends, "the end of sending")
        (end,) = self.ends
        return end


@contextmanager
def posting(operator: FakeOperator, folder: Path, pace: Pace = QUICK, *, running: int = 0) -> Iterator[Posting]:
    spool = Spool(folder / "spool")
    directives: list[Directive] = []
    ends: list[Exception | None] = []
    poster = Poster(
        operator, spool, SystemClock(), pace,
        running=lambda: running, on_directive=directives.append, on_end=ends.append,
    )  # fmt: skip
    poster.start()
    yield Posting(poster, spool, directives, ends)
    poster.close()
    assert not poster.is_alive()


# -- sending ---------------------------------------------------------------------------------------------------------


def test_segments_are_sent_in_order_and_leave_the_spool(tmp_path: Path) -> None:
    operator = FakeOperator()

    with posting(operator, tmp_path) as sending:
        sending.spooled(b"one", b"two", b"three")
        sent = sending.poster.wait_sent(LONG)

    assert sent
    assert operator.bodies == {1: b"one", 2: b"two", 3: b"three"}
    assert operator.asked == [1, 2, 3]
    assert sending.spool.size == 0
    assert not [*(tmp_path / "spool").iterdir()]


def test_a_segment_is_sent_again_until_it_is_taken_and_none_overtakes_it(tmp_path: Path) -> None:
    operator = FakeOperator(deque([Unavailable("away")] * 4))

    with posting(operator, tmp_path) as sending:
        sending.spooled(b"one", b"two")
        sent = sending.poster.wait_sent(LONG)

    assert sent
    assert operator.asked == [1, 1, 1, 1, 1, 2]


def test_a_segment_whose_receipt_was_lost_is_taken_once(tmp_path: Path) -> None:
    operator = FakeOperator(deque([AnswerLost(), None, AnswerLost()]))

    with posting(operator, tmp_path) as sending:
        sending.spooled(b"one", b"two", b"three")
        sent = sending.poster.wait_sent(LONG)

    assert sent
    assert operator.bodies == {1: b"one", 2: b"two", 3: b"three"}


def test_an_operator_that_asks_to_wait_is_waited_for_and_hears_heartbeats_meanwhile(tmp_path: Path) -> None:
    operator = FakeOperator(deque([Unavailable("busy", retry_after=0.4)]))

    with posting(operator, tmp_path, running=3) as sending:
        began = CLOCK.monotonic()
        sending.spooled(b"one")
        sent = sending.poster.wait_sent(LONG)
        took = CLOCK.monotonic() - began

    assert sent
    assert took >= 0.4
    assert set(operator.beats) == {3}
    assert len(operator.beats) >= 3


def test_an_operator_that_is_away_is_not_asked_for_heartbeats_between_two_tries(tmp_path: Path) -> None:
    operator = FakeOperator(deque([Unavailable("away")] * 20))

    with posting(operator, tmp_path, Pace(heartbeat=30, first_pause=0.001, longest_pause=0.01)) as sending:
        sending.spooled(b"one")
        sent = sending.poster.wait_sent(LONG)

    assert sent
    assert operator.beats == []


def test_waiting_for_what_cannot_be_sent_ends_in_time(tmp_path: Path) -> None:
    with posting(FakeOperator(away=True), tmp_path) as sending:
        sending.spooled(b"one")

        assert not sending.poster.wait_sent(0.05)


@pytest.mark.parametrize("failures", [0, 1, 5, 1000])
def test_pauses_grow_and_are_spread_over_half_their_length(failures: int) -> None:
    pace = Pace(first_pause=0.5, longest_pause=8)
    whole = min(8, 0.5 * 2.0 ** min(failures, 30))

    assert [pace.pause(failures, spread) for spread in (0, 0.5, 1)] == [whole, whole * 0.75, whole * 0.5]


def test_a_pause_that_was_asked_for_is_never_shortened_and_none_at_all_is_no_hurry() -> None:
    pace = Pace(first_pause=0.5, longest_pause=8)

    assert pace.pause(0, 1, 3.0) == 3.0
    assert pace.pause(10, 0, 3.0) == 8
    assert pace.pause(0, 1, 0.0) == 0.25


# -- an operator with another idea of the order ----------------------------------------------------------------------


def test_what_the_operator_has_already_is_not_sent_again(tmp_path: Path) -> None:
    operator = FakeOperator(deque([Unavailable("away"), OutOfOrder(3)]), next=3)

    with posting(operator, tmp_path) as sending:
        sending.spooled_at_once(b"one", b"two", b"three")
        sent = sending.poster.wait_sent(LONG)

    assert sent
    assert operator.bodies == {3: b"three"}
    assert sending.spool.size == 0


def test_an_operator_that_lost_what_it_took_ends_the_sending_loudly(tmp_path: Path) -> None:
    operator = FakeOperator()

    with posting(operator, tmp_path) as sending:
        sending.spooled(b"one", b"two")
        assert sending.poster.wait_sent(LONG)
        operator.next = 1
        sending.spooled(b"three")
        end = sending.until_end()

    assert isinstance(end, Refused)
    assert "wants segment 1" in str(end)
    assert not sending.poster.wait_sent(LONG)


@pytest.mark.parametrize("step", [OutOfOrder(5), Receipt(5)])
def test_an_operator_that_has_more_than_was_made_has_it_from_another_worker(
    tmp_path: Path, step: Exception | Receipt
) -> None:
    with posting(FakeOperator(deque([step])), tmp_path) as sending:
        sending.spooled(b"one", b"two")
        end = sending.until_end()

    assert isinstance(end, Refused)
    assert "another worker" in str(end)


def test_a_receipt_that_wants_the_same_segment_again_is_no_reason_to_send_it_for_ever(tmp_path: Path) -> None:
    with posting(FakeOperator(deque([Receipt(1)])), tmp_path) as sending:
        sending.spooled(b"one")
        end = sending.until_end()

    assert isinstance(end, Refused)
    assert "wants segment 1 next" in str(end)


def test_a_segment_that_is_out_of_order_for_itself_is_tried_again_after_a_pause(tmp_path: Path) -> None:
    operator = FakeOperator(deque([OutOfOrder(1), OutOfOrder(1)]))

    with posting(operator, tmp_path, Pace(heartbeat=30, first_pause=0.1, longest_pause=0.1)) as sending:
        began = CLOCK.monotonic()
        sending.spooled(b"one")
        sent = sending.poster.wait_sent(LONG)
        took = CLOCK.monotonic() - began

    assert sent
    assert operator.asked == [1, 1, 1]
    assert took >= 0.1


# -- too large -------------------------------------------------------------------------------------------------------

BOUNDARY = NodeBoundary("node", "completed", 0.1)
LARGE = Segment(
    results=(
        (a_wire_result(0, output={"long": "text"}, boundaries=(BOUNDARY,)), True),
        (a_wire_result(1, output=None, boundaries=()), True),
    )
)


def as_body(segment: Segment) -> bytes:
    return json.dumps(segment.to_json()).encode()


def test_of_a_segment_that_is_too_large_the_final_states_are_given_up_first(tmp_path: Path) -> None:
    operator = FakeOperator(deque([TooLarge("too large")]))

    with posting(operator, tmp_path) as sending:
        sending.spooled(as_body(LARGE))
        sent = sending.poster.wait_sent(LONG)

    (taken,) = operator.segments
    assert sent
    assert [result.output for result, _ in taken.results] == [{"truncated": True}, None]
    assert [result.boundaries for result, _ in taken.results] == [(BOUNDARY,), ()]


def test_then_the_boundaries_are_given_up_but_never_the_results(tmp_path: Path) -> None:
    operator = FakeOperator(deque([TooLarge("too large"), TooLarge("still")]))

    with posting(operator, tmp_path) as sending:
        sending.spooled(as_body(LARGE))
        sent = sending.poster.wait_sent(LONG)

    (taken,) = operator.segments
    assert sent
    assert [result.boundaries for result, _ in taken.results] == [(), ()]
    assert [result.outcome for result, _ in taken.results] == [result.outcome for result, _ in LARGE.results]


def test_what_cannot_be_made_smaller_ends_the_sending_loudly(tmp_path: Path) -> None:
    with posting(FakeOperator(deque([TooLarge("too large")] * 3)), tmp_path) as sending:
        sending.spooled(as_body(LARGE))
        end = sending.until_end()

    assert isinstance(end, Refused)
    assert "segment 1 is larger than the operator takes" in str(end)


# -- ends ------------------------------------------------------------------------------------------------------------


def test_a_superseded_worker_ends_quietly(tmp_path: Path) -> None:
    operator = FakeOperator(deque([Superseded("another has the batch")]))

    with posting(operator, tmp_path) as sending:
        sending.spooled(b"one", b"two")
        end = sending.until_end()
        sent = sending.poster.wait_sent(LONG)

    assert end is None
    assert sending.poster.over
    assert not sent
    assert operator.asked == [1]


def test_a_refused_worker_ends_loudly(tmp_path: Path) -> None:
    refusal = Refused("wrong token")

    with posting(FakeOperator(deque([refusal])), tmp_path) as sending:
        sending.spooled(b"one")
        end = sending.until_end()

    assert end is refusal


def test_a_spool_that_somebody_emptied_ends_the_sending_loudly(tmp_path: Path) -> None:
    operator = FakeOperator(away=True)

    with posting(operator, tmp_path) as sending:
        sending.spooled(b"one", b"two")
        await_true(lambda: operator.asked, "the first try")
        (tmp_path / "spool" / "00000002.json").unlink()
        operator.away = False
        end = sending.until_end()

    assert isinstance(end, FileNotFoundError)


@pytest.mark.parametrize("end", [Superseded("over"), Refused("wrong token")])
def test_a_heartbeat_may_bring_the_end_too(tmp_path: Path, end: Exception) -> None:
    operator = FakeOperator(heartbeat_script=deque([end]))

    with posting(operator, tmp_path) as sending:
        heard = sending.until_end()

    assert heard is (None if isinstance(end, Superseded) else end)


def test_closing_does_not_wait_for_an_operator_that_never_answers(tmp_path: Path) -> None:
    answer = threading.Event()

    class Silent(FakeOperator):
        def segment(self, number: int, body: bytes) -> Receipt:
            answer.wait(LONG)
            return super().segment(number, body)

    with posting(Silent(), tmp_path) as sending:
        sending.spooled(b"one")
        began = CLOCK.monotonic()
        sending.poster.close()
        took = CLOCK.monotonic() - began
        answer.set()
        sending.poster.join(LONG)

    assert took < 5


# -- heartbeats and directives ---------------------------------------------------------------------------------------


def test_without_news_the_operator_hears_that_the_worker_lives_and_how_much_runs(tmp_path: Path) -> None:
    operator = FakeOperator()

    with posting(operator, tmp_path, running=7):
        await_true(lambda: len(operator.beats) >= 3, "three heartbeats")

    assert set(operator.beats) == {7}


def test_a_heartbeat_that_is_not_heard_is_passed_over(tmp_path: Path) -> None:
    operator = FakeOperator(heartbeat_script=deque([Unavailable("away")]))

    with posting(operator, tmp_path) as sending:
        await_true(lambda: len(operator.beats) >= 2, "another heartbeat")
        sending.spooled(b"one")
        sent = sending.poster.wait_sent(LONG)

    assert sent
    assert sending.ends == []


@pytest.mark.parametrize("directive", [Directive.CANCEL, Directive.SUSPEND])
def test_a_directive_is_heard_with_a_receipt_and_with_a_heartbeat(tmp_path: Path, directive: Directive) -> None:
    operator = FakeOperator(directive=directive)

    with posting(operator, tmp_path, Pace(heartbeat=60, first_pause=0.001, longest_pause=0.01)) as sending:
        sending.spooled(b"one")
        await_true(lambda: sending.directives, "the directive with a receipt")
    with posting(operator, tmp_path) as beating:
        await_true(lambda: beating.directives, "the directive with a heartbeat")

    assert sending.directives == [directive]
    assert set(beating.directives) == {directive}
    assert operator.beats
