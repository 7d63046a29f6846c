"""A runner that keeps threads elsewhere tells a result once its thread is kept, and begins attempts with others."""

from __future__ import annotations

import base64
import threading
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.clock import SystemClock
from batchyard.decide.forking import ForkPoint
from batchyard.engine.attempts import Ended, Order, Stop
from batchyard.model.errors import CheckpointsUnavailable, NotKept
from batchyard.model.execution import CheckpointNotFound
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.spec_forking import ForkFrom
from batchyard.runners.keeping import KeepingRunner
from batchyard.testing.fake_clock import FakeClock
from batchyard.testing.fake_runner import FakeRunner, ended

if TYPE_CHECKING:
    from collections.abc import Iterator

POINT = ForkPoint("left/one/0", "first/left/one/0#1@1", "c1", "e1-s0")
FORK = ForkFrom(batch_test="first", node="two", set={"limit": 3})


@dataclass
class FakeThreads:
    """Threads in memory; ``trouble`` is raised instead of an answer, ``held`` has whoever asks wait."""

    kept: dict[str, bytes] = field(default_factory=dict)
    trouble: Exception | None = None
    held: threading.Event | None = None
    asked: int = 0

    def keep(self, thread_id: str, piece: bytes) -> None:
        self._ask()
        self.kept[thread_id] = piece

    def fetch(self, point: ForkPoint) -> bytes:
        self._ask()
        return self.kept[point.thread_id]

    def tidy(self) -> None:
        raise CheckpointsUnavailable("old threads are of no interest here")

    def _ask(self) -> None:
        self.asked += 1
        if self.held is not None:
            assert self.held.wait(30)
        if self.trouble is not None:
            raise self.trouble


@dataclass
class Stage:
    threads: FakeThreads
    inner: FakeRunner
    runner: KeepingRunner

    def end(self, order: Order) -> Ended:
        """Return how an order ends."""
        self.runner.submit(order)
        for _ in range(1000):
            event = self.runner.next_event(0.1)
            if isinstance(event, Ended):
                return event
        raise AssertionError(f"{order.trial_id} did not end")


@pytest.fixture
def stage() -> Iterator[Stage]:
    threads, clock = FakeThreads(), FakeClock()
    inner = FakeRunner(clock, lambda order: replace(ended(order, clock), thread=b"a thread"))
    runner = KeepingRunner(inner, threads, FORK, SystemClock())
    with closing(runner):
        yield Stage(threads, inner, runner)


def an_order(number: int = 0, **fields: Any) -> Order:
    plain: dict[str, Any] = {
        "trial_id": f"left/one/{number}", "ordinal": number, "combination": "left", "variants": {"side": "left"},
        "case": "one", "repeat": number, "attempt": 1, "epoch": 1, "state": {},
        "thread_id": f"second/left/one/{number}#1@1",
    }  # fmt: skip
    return Order(**{**plain, **fields})


def test_a_result_is_told_when_its_thread_is_kept(stage: Stage) -> None:
    told = stage.end(an_order())

    assert stage.threads.kept == {"second/left/one/0#1@1": b"a thread"}
    assert (told.kept, told.not_kept, told.thread) == (True, "", None)


@pytest.mark.parametrize("trouble", [NotKept("there is no room"), CheckpointsUnavailable("it is away")])
def test_a_result_stands_though_its_thread_is_not_kept_and_says_why(stage: Stage, trouble: Exception) -> None:
    stage.threads.trouble = trouble

    told = stage.end(an_order())

    assert told.result.outcome is Outcome.PASSED
    assert (told.kept, told.not_kept) == (False, str(trouble))


def test_a_place_that_is_away_is_not_asked_again_for_every_thread(stage: Stage) -> None:
    stage.threads.trouble = CheckpointsUnavailable("it is away")

    told = [stage.end(an_order(number)) for number in range(3)]

    assert [one.not_kept for one in told] == ["it is away"] * 3
    assert stage.threads.asked == 1


def test_an_attempt_begins_from_the_thread_that_was_fetched_with_what_is_to_be_set(stage: Stage) -> None:
    stage.threads.kept[POINT.thread_id] = b"an older thread"

    stage.end(an_order(fork=POINT))

    (given,) = stage.inner.submitted
    assert given.fork is None
    assert given.start is not None
    assert base64.b64decode(given.start.piece) == b"an older thread"
    assert (given.start.edits, given.start.as_node) == ({"limit": 3}, "two")


@pytest.mark.parametrize(
    ("point", "trouble", "ending"),
    [
        (ForkPoint("left/one/0"), None, (Outcome.FAILED, Reason.START_REFUSED)),
        (POINT, CheckpointNotFound("it is not kept"), (Outcome.FAILED, Reason.START_REFUSED)),
        (POINT, CheckpointsUnavailable("it is away"), (Outcome.ERRORED, Reason.ENVIRONMENT_FAILED)),
        (POINT, RuntimeError("a secret"), (Outcome.ERRORED, Reason.ENVIRONMENT_FAILED)),
    ],
)
def test_an_attempt_without_its_thread_never_runs(
    stage: Stage, point: ForkPoint, trouble: Exception | None, ending: tuple[Outcome, Reason]
) -> None:
    stage.threads.trouble = trouble

    told = stage.end(an_order(fork=point))

    assert (told.result.outcome, told.result.reason) == ending
    assert "secret" not in told.result.message
    assert stage.inner.submitted == []


def test_what_is_being_fetched_when_all_ends_is_not_begun(stage: Stage) -> None:
    stage.threads.held, stage.threads.kept[POINT.thread_id] = threading.Event(), b"an older thread"
    stage.runner.submit(an_order(fork=POINT))

    assert stage.runner.stop(Stop(Outcome.CANCELLED, Reason.CANCELLED)) == []
    stage.threads.held.set()
    told = next(event for event in iter(lambda: stage.runner.next_event(0.1), object()) if isinstance(event, Ended))

    assert told.result.outcome is Outcome.NOT_RUN
    assert stage.inner.submitted == []
