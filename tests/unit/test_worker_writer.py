"""From a session's steps to numbered segments: when one is closed, what is in it, and when trials are held up."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.clock import SystemClock
from batchyard.engine.attempts import Ended
from batchyard.model.audit import AuditEntry
from batchyard.model.errors import StoreError
from batchyard.model.events import EventType, Severity
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.wire import Done, Hello, Segment
from batchyard.model.wire_checks import MAX_ENTRIES
from batchyard.worker.poster import Poster
from batchyard.worker.spool import Spool
from batchyard.worker.writer import SegmentWriter
from runner_bench import LONG, await_true
from wire_builders import a_wire_result
from worker_fakes import QUICK, FakeOperator, results_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELLO = Hello(1, "1.0", "3.11")


class FakeFullDisk(Spool):
    """A spool whose disk is full while ``full`` is set."""

    full = False

    def put(self, number: int, body: bytes) -> None:
        if self.full:
            raise StoreError("no space left on device")
        super().put(number, body)


@dataclass
class Writing:
    """A writer at work, with the operator at the other end."""

    writer: SegmentWriter
    poster: Poster
    spool: FakeFullDisk
    operator: FakeOperator
    over: threading.Event

    def submit(self, *ordinals: int, **fields: Any) -> None:
        """Write one step with these results."""
        self.writer.submit(results=[(a_wire_result(ordinal, **fields), True) for ordinal in ordinals])

    def begin(self, *ordinals: int) -> threading.Thread:
        """Write one step from another thread."""
        thread = threading.Thread(target=self.submit, args=ordinals)
        thread.start()
        return thread

    def finish(self, done: Done | None = None) -> None:
        """Close the last segment and wait until all was taken."""
        self.writer.finish(done or Done(""))
        assert self.poster.wait_sent(LONG)

    @property
    def ordinals(self) -> list[int]:
        """The results that were taken, by their trials' numbers."""
        return [result.ordinal for result in results_of(self.operator.segments)]


@contextmanager
def writing(folder: Path, *, spool_bytes: int = 1024**3, away: bool = False) -> Iterator[Writing]:
    spool, operator, over = FakeFullDisk(folder / "spool"), FakeOperator(away=away), threading.Event()
    poster = Poster(
        operator, spool, SystemClock(), QUICK,
        running=lambda: 0, on_directive=lambda _directive: None, on_end=lambda _error: None,
    )  # fmt: skip
    poster.start()
    with SegmentWriter(spool, poster, HELLO, spool_bytes=spool_bytes, may_hold_up=lambda: not over.is_set()) as writer:
        yield Writing(writer, poster, spool, operator, over)
    poster.close()


def an_entry(number: int = 0) -> AuditEntry:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    return AuditEntry(at, EventType.TRIAL_PASSED, Severity.SUCCESS, f"entry {number}", "b")


def stays_held_up(thread: threading.Thread) -> bool:
    """Return whether the thread still waits after a moment in which it could have gone on."""
    thread.join(0.5)
    return thread.is_alive()


# -- segments --------------------------------------------------------------------------------------------------------


def test_the_first_segment_says_what_the_worker_is_and_no_other_does(tmp_path: Path) -> None:
    with writing(tmp_path) as at_work:
        at_work.writer.flush()
        at_work.submit(0)
        at_work.finish()

    assert [segment.hello for segment in at_work.operator.segments] == [HELLO, None]


def test_a_step_is_on_its_way_soon_without_another_one(tmp_path: Path) -> None:
    with writing(tmp_path) as at_work:
        at_work.submit(0)

        await_true(lambda: at_work.ordinals == [0], "the result at the operator")


def test_steps_that_come_together_share_a_segment_in_their_order(tmp_path: Path) -> None:
    with writing(tmp_path, away=True) as at_work:
        at_work.writer.flush()
        for ordinal in range(400):
            at_work.submit(ordinal)
        at_work.operator.away = False
        at_work.finish()

    assert at_work.ordinals == [*range(400)]
    assert len(at_work.operator.bodies) < 40


@pytest.mark.parametrize(("steps", "fields"), [(500, {}), (20, {"output": "x" * 60_000})])
def test_a_segment_is_closed_at_once_when_it_is_large(tmp_path: Path, steps: int, fields: dict[str, Any]) -> None:
    with writing(tmp_path, away=True) as at_work:
        at_work.writer.flush()
        at_work.writer.submit(results=[(a_wire_result(n, **fields), True) for n in range(steps)])

        assert len(Segment.from_json(json.loads(at_work.spool.get(2) or b"")).results) == steps


def test_more_than_one_segment_holds_goes_in_several_and_counts_are_told_once(tmp_path: Path) -> None:
    count = 2 * MAX_ENTRIES + 5

    with writing(tmp_path) as at_work:
        at_work.writer.submit(entries=[an_entry(number) for number in range(count)], dropped=3)
        at_work.finish(Done(Reason.FAIL_FAST))

    segments = at_work.operator.segments
    assert [entry.message for segment in segments for entry in segment.entries] == [f"entry {n}" for n in range(count)]
    assert sum(segment.dropped for segment in segments) == 3
    assert [segment.done.stop for segment in segments if segment.done] == ["FailFast"]
    assert segments[-1].done is not None


def test_what_it_took_to_end_attempts_is_told_once_with_what_follows(tmp_path: Path) -> None:
    late = a_wire_result(outcome=Outcome.TIMED_OUT, reason=Reason.TRIAL_DEADLINE_EXCEEDED)
    with writing(tmp_path, away=True) as at_work:
        at_work.writer.note(Ended(late, confirmed=False, signals=("TERM", "KILL"), overrun_seconds=1.5))
        at_work.writer.note(Ended(replace(late, reason=Reason.NODE_DEADLINE_EXCEEDED), True, ("TERM",), 0.5))
        at_work.writer.note(Ended(replace(late, reason=Reason.BATCH_DEADLINE_EXCEEDED), True, (), 0.25))
        at_work.writer.note(Ended(a_wire_result()))
        at_work.writer.note_retry()
        at_work.writer.running = 2
        at_work.submit(0)
        at_work.writer.flush()
        at_work.submit(1)
        at_work.operator.away = False
        at_work.finish()

    segments = at_work.operator.segments
    assert [segment.kills for segment in segments if segment.kills] == [{"TERM": 2, "KILL": 1}]
    assert [pair for segment in segments for pair in segment.overruns] == [
        ("trial", 1.5),
        ("node", 0.5),
        ("batch", 0.25),
    ]
    assert sum(segment.abandoned for segment in segments) == sum(segment.retried for segment in segments) == 1
    assert segments[-1].running == 2


def test_nothing_is_sent_when_there_is_nothing_to_say(tmp_path: Path) -> None:
    with writing(tmp_path) as at_work:
        at_work.writer.flush()
        at_work.writer.flush()
        at_work.writer.submit()
        at_work.finish()

    assert len(at_work.operator.bodies) == 2


# -- back-pressure ---------------------------------------------------------------------------------------------------


def test_a_full_spool_holds_trials_up_and_lets_them_go_when_there_is_room_again(tmp_path: Path) -> None:
    with writing(tmp_path, spool_bytes=1000, away=True) as at_work:
        at_work.submit(0, 1)
        at_work.writer.flush()
        held_up = at_work.begin(2)

        assert stays_held_up(held_up)

        at_work.operator.away = False
        held_up.join(LONG)
        at_work.finish()

    assert at_work.ordinals == [0, 1, 2]


def test_trials_are_not_held_up_any_more_once_the_batch_is_over(tmp_path: Path) -> None:
    with writing(tmp_path, spool_bytes=1, away=True) as at_work:
        at_work.submit(0)
        at_work.writer.flush()
        held_up = at_work.begin(1)
        assert stays_held_up(held_up)

        at_work.over.set()

        held_up.join(LONG)
        assert not held_up.is_alive()
        at_work.operator.away = False
        at_work.finish()

    assert at_work.ordinals == [0, 1]


def test_trials_are_not_held_up_any_more_once_nothing_can_be_sent(tmp_path: Path) -> None:
    with writing(tmp_path, spool_bytes=1, away=True) as at_work:
        at_work.submit(0)
        at_work.writer.flush()
        held_up = at_work.begin(1)
        assert stays_held_up(held_up)

        at_work.poster.close()
        at_work.poster.over = True

        held_up.join(LONG)
        assert not held_up.is_alive()


# -- a full disk -----------------------------------------------------------------------------------------------------


def test_a_full_disk_holds_trials_up_until_sending_made_room_and_loses_nothing(tmp_path: Path) -> None:
    with writing(tmp_path, away=True) as at_work:
        at_work.submit(0)
        at_work.writer.flush()
        at_work.spool.full = True
        at_work.submit(1)
        await_true(lambda: at_work.writer.is_broken, "the full disk to be noticed")
        held_up = at_work.begin(2)
        assert stays_held_up(held_up)

        at_work.spool.full = False

        held_up.join(LONG)
        at_work.operator.away = False
        at_work.finish()

    assert at_work.ordinals == [0, 1, 2]


def test_a_disk_that_is_full_of_other_things_is_an_error_of_the_place(tmp_path: Path) -> None:
    with writing(tmp_path) as at_work:
        at_work.writer.flush()
        assert at_work.poster.wait_sent(LONG)
        at_work.spool.full = True
        at_work.submit(0)
        await_true(lambda: at_work.writer.is_broken, "the full disk to be noticed")

        with pytest.raises(StoreError, match="no space left"):
            at_work.submit(1)


def test_the_last_word_can_be_said_again_after_it_found_no_room(tmp_path: Path) -> None:
    with writing(tmp_path) as at_work:
        at_work.writer.flush()
        at_work.spool.full = True
        at_work.submit(0)
        with pytest.raises(StoreError):
            at_work.writer.finish(Done(""))

        at_work.spool.full = False
        at_work.finish()

    assert at_work.ordinals == [0]
    assert at_work.operator.segments[-1].done == Done("")
