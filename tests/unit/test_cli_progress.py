"""Progress as it is counted from events, in plain lines and on a screen."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from batchyard.cli.live import render
from batchyard.cli.plain import PlainView
from batchyard.cli.progress import Progress
from batchyard.model.events import Event, EventType
from batchyard.model.outcome import Outcome

if TYPE_CHECKING:
    from batchyard.model.trial import JSON

AT = datetime(2026, 1, 1, tzinfo=UTC)


class HandClock:
    """A clock that goes on only when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return AT

    def monotonic(self) -> float:
        return self.seconds


def happened(kind: EventType, trial: str = "x/one/0", message: str = "", **details: JSON) -> Event:
    return Event(type=kind, at=AT, batch_id="b", message=message, trial_id=trial, attempt=1, details=details)


def progress_of(*events: Event, total: int = 10, parallelism: int = 2) -> Progress:
    progress = Progress(total, parallelism, HandClock(), {})
    for event in events:
        progress.on_event(event)
    return progress


@pytest.mark.proves("bug-04")
def test_progress_counts_failures_too() -> None:
    ends = [
        EventType.TRIAL_PASSED,
        EventType.TRIAL_FAILED,
        EventType.TRIAL_TIMED_OUT,
        EventType.TRIAL_ERRORED,
        EventType.TRIAL_NEEDS_INPUT,
        EventType.TRIAL_CANCELLED,
    ]

    standing = progress_of(*(happened(kind, f"x/one/{number}") for number, kind in enumerate(ends))).standing()

    assert standing.done == 6
    assert standing.counts == dict.fromkeys(set(Outcome) - {Outcome.NOT_RUN}, 1)


def test_an_attempt_that_is_made_again_is_no_end_of_its_trial() -> None:
    standing = progress_of(happened(EventType.TRIAL_ERRORED), happened(EventType.TRIAL_RETRIED)).standing()

    assert (standing.done, standing.retried) == (0, 1)


def test_an_interrupted_attempt_is_no_end_of_its_trial() -> None:
    standing = progress_of(
        happened(EventType.TRIAL_STARTED), happened(EventType.TRIAL_CANCELLED, reason="Interrupted")
    ).standing()

    assert (standing.done, standing.running) == (0, ())


def test_trials_that_were_not_run_are_counted_at_the_end() -> None:
    standing = progress_of(happened(EventType.TRIALS_NOT_RUN, "", count=7)).standing()

    assert standing.counts == {Outcome.NOT_RUN: 7}


def test_what_earlier_sessions_finished_is_counted_from_the_beginning() -> None:
    progress = Progress(10, 1, HandClock(), {Outcome.PASSED: 4})

    assert progress.standing().done == 4


def test_a_running_trial_is_shown_with_its_worker_and_since_when() -> None:
    (running,) = progress_of(happened(EventType.TRIAL_STARTED, message="e1-s0")).standing().running

    assert (running.trial, running.worker, running.since) == ("x/one/0", "e1-s0", 1000.0)


def test_the_remaining_time_is_the_mean_over_what_waits_at_this_parallelism() -> None:
    progress = progress_of(
        happened(EventType.TRIAL_PASSED, "x/one/0", milliseconds=1000),
        happened(EventType.TRIAL_PASSED, "x/one/1", milliseconds=3000),
        happened(EventType.TRIAL_STARTED, "x/one/2"),
        happened(EventType.TRIAL_STARTED, "x/one/3"),
    )

    # 2 s each for the 6 that wait and half of the 2 that run, two at a time.
    assert progress.standing().remaining_seconds == 7.0


def test_a_trial_that_runs_for_long_makes_the_remaining_time_longer() -> None:
    clock = HandClock()
    progress = Progress(10, 1, clock, {})
    progress.on_event(happened(EventType.TRIAL_PASSED, "x/one/0", milliseconds=1000))
    progress.on_event(happened(EventType.TRIAL_STARTED, "x/one/1"))

    clock.seconds += 19.0

    # (1 + 19) / 2 s each for the 8 that wait and half of the one that runs.
    assert progress.standing().remaining_seconds == 85.0


def test_no_time_remains_when_all_have_ended() -> None:
    assert progress_of(happened(EventType.TRIAL_PASSED), total=1).standing().remaining_seconds is None


def test_nothing_is_said_of_the_remaining_time_before_a_trial_ended() -> None:
    assert progress_of(happened(EventType.TRIAL_STARTED)).standing().remaining_seconds is None


class Plain:
    """A plain view with its clock and the lines it wrote."""

    def __init__(self, total: int) -> None:
        self.clock = HandClock()
        self.lines: list[str] = []
        self._progress = Progress(total, 1, self.clock, {})
        self._view = PlainView(self._progress, total, self.clock, self.lines.append)

    def hear(self, event: Event, after: float = 0.0) -> None:
        self.clock.seconds += after
        self._progress.on_event(event)
        self._view.on_event(event)


def test_ten_thousand_quick_trials_write_few_lines() -> None:
    plain = Plain(10_000)

    for number in range(10_000):
        plain.hear(happened(EventType.TRIAL_PASSED, f"x/one/{number}"), after=0.003)

    assert len(plain.lines) == 10


def test_slow_trials_are_told_of_at_most_every_five_seconds() -> None:
    plain = Plain(1000)

    for number in range(10):
        plain.hear(happened(EventType.TRIAL_PASSED, f"x/one/{number}"), after=2.0)

    assert len(plain.lines) == 3


def test_each_of_the_first_twenty_trials_that_do_not_pass_has_a_line() -> None:
    plain = Plain(100)

    for number in range(50):
        plain.hear(happened(EventType.TRIAL_FAILED, f"x/one/{number}", "wrong answer", reason="BelowThreshold"))

    named = [line for line in plain.lines if line.startswith("Failed ")]
    assert len(named) == 20
    assert named[0] == "Failed x/one/0#1 (BelowThreshold: wrong answer)"
    assert "further" in plain.lines[20]


def test_a_message_cannot_command_the_terminal() -> None:
    plain = Plain(2)

    plain.hear(happened(EventType.TRIAL_FAILED, message="\x1b[2Jgone\r", reason="NodeRaised"))

    assert "\x1b" not in plain.lines[0]
    assert "\r" not in plain.lines[0]


def screen(progress: Progress, width: int, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(render(progress.standing(), now=1012.0, height=height, note="stopping"))
    return captured.get().splitlines()


def test_the_screen_has_the_count_the_outcomes_the_running_trials_and_the_note() -> None:
    progress = progress_of(
        happened(EventType.TRIAL_PASSED, "x/one/0", milliseconds=10),
        happened(EventType.TRIAL_FAILED, "x/one/1", milliseconds=10),
        happened(EventType.TRIAL_STARTED, "x/one/2", message="e1-s0"),
    )

    shown = screen(progress, width=80)

    assert "2/10 20%" in shown[0]
    assert shown[1].strip() == "1 Passed, 1 Failed"
    assert shown[2].split() == ["12.0", "s", "e1-s0", "x/one/2"]
    assert shown[3].strip() == "stopping"


def test_the_screen_is_never_wider_or_higher_than_the_terminal() -> None:
    begun = [happened(EventType.TRIAL_STARTED, f"{'long' * 20}/one/{number}", message="w") for number in range(64)]

    shown = screen(progress_of(*begun, total=64, parallelism=64), width=30, height=10)

    assert all(len(line) <= 30 for line in shown)
    assert len(shown) < 10
