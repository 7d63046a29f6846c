"""Faults once found in the leader of a worker and in its probe: each test failed before its fault was mended."""

from __future__ import annotations

import queue
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchyard.engine.attempts import Ended, Late, Order, RunnerEvent, Started, Stop
from batchyard.model.outcome import Outcome, Reason
from batchyard.runners.leader import Leader, Limits
from batchyard.runners.meter import Meter
from batchyard.runners.worker import Setup, SlotProbe
from batchyard.runners.workers import Gone
from batchyard.testing.fake_clock import FakeClock
from batchyard.testing.fake_worker import FakeWorker, Script, reply
from runner_bench import FolderProvider, an_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.model.usage import Usage
    from batchyard.runners.workers import LedWorker

LOST = Gone(-9, confirmed=True)
INTERRUPT = Stop(Outcome.CANCELLED, Reason.INTERRUPTED)
FAIL_FAST = Stop(Outcome.CANCELLED, Reason.FAIL_FAST)
BATCH_OVER = Stop(Outcome.TIMED_OUT, Reason.BATCH_DEADLINE_EXCEEDED)


class BrokenWorker(FakeWorker):
    """Raises when it is closed, or asked to save what was printed."""

    def __init__(self, script: Script, clock: FakeClock, breaks: str) -> None:
        super().__init__(script, clock)
        self._breaks = breaks

    def save_output(self, path: Path) -> None:
        super().save_output(path)
        if "save" in self._breaks:
            raise OSError("no space left on device")

    def close(self) -> None:
        super().close()
        if "close" in self._breaks:
            raise OSError("cannot be closed")


class BrokenProvider(FolderProvider):
    """Cannot put folders away."""

    def release_workspace(self, path: Path, *, keep: bool) -> None:
        super().release_workspace(path, keep=keep)
        raise OSError("device or resource busy")


@dataclass
class Led:
    """A leader that has led all its orders; ``stop`` comes as soon as the first attempt's begin is told."""

    provider: FolderProvider
    breaks: str = ""
    limits: tuple[float, float, float] = (100.0, 5.0, 3600.0)
    stop: Stop | None = None
    clock: FakeClock = field(default_factory=FakeClock)
    events: list[RunnerEvent] = field(default_factory=list)
    workers: list[FakeWorker] = field(default_factory=list)

    def lead(self, *orders: Order, scripts: Sequence[Script]) -> None:
        """Lead the orders on workers with these scripts; the last one serves all further workers, unbroken."""
        inbox: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        for order in (*orders, None):
            inbox.put(order)
        remaining = list(scripts)

        def spawn(_wanted: object) -> LedWorker:
            breaks, script = (self.breaks, remaining.pop(0)) if remaining[1:] else ("", remaining[0])
            self.workers.append(BrokenWorker(script, self.clock, breaks))
            return self.workers[-1]

        def hear(event: RunnerEvent) -> None:
            self.events.append(event)
            if self.stop is not None and isinstance(event, Started):
                leader.stop_running(self.stop)

        trial, grace, batch = self.limits
        folder = self.provider.folder
        leader = Leader(
            0, inbox=inbox, outbox=hear, provider=self.provider, spawn=spawn,
            setup=Setup("f", "", str(folder), [], 0.5, 100, "sync"),
            limits=Limits(trial, grace, 600.0, self.clock.monotonic() + batch), batch_id="b", clock=self.clock,
            read_boundaries=lambda _file, _thread: (),
        )  # fmt: skip
        leader.run()

    @property
    def ended(self) -> list[Ended]:
        return [event for event in self.events if isinstance(event, Ended)]

    @property
    def ends(self) -> list[tuple[Outcome, str]]:
        return [(ended.result.outcome, ended.result.reason) for ended in self.ended]

    @property
    def late(self) -> list[str]:
        return [event.outcome for event in self.events if isinstance(event, Late)]


@pytest.fixture
def provider(tmp_path: Path) -> FolderProvider:
    return FolderProvider(tmp_path)


def orders(count: int = 2) -> list[Order]:
    return [an_order("pass", number) for number in range(count)]


# -- clean-up that breaks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("breaks", ["save", "close", "save close"])
@pytest.mark.parametrize(
    ("first", "end"),
    [
        (Script(run=(1.0, reply("Failed", reason="NodeRaised")), unfit=True), (Outcome.FAILED, Reason.NODE_RAISED)),
        (Script(run=(1.0, LOST)), (Outcome.ERRORED, Reason.WORKER_LOST)),
        (Script(run=None), (Outcome.TIMED_OUT, Reason.TRIAL_DEADLINE_EXCEEDED)),
        (Script(run=(1.0, reply(left=True))), (Outcome.PASSED, "")),
    ],
    ids=["failed", "lost", "timed out", "left a process"],
)
def test_a_worker_that_cannot_be_tidied_up_changes_no_outcome_and_the_next_trial_runs(
    provider: FolderProvider, breaks: str, first: Script, end: tuple[Outcome, str]
) -> None:
    led = Led(provider, breaks)

    led.lead(*orders(), scripts=[first, Script()])

    assert led.ends == [end, (Outcome.PASSED, "")]
    assert sorted(provider.kept + provider.removed) == ["pass_case_0_1", "pass_case_1_1"]


def test_a_folder_that_cannot_be_put_away_changes_no_outcome_and_the_next_trial_runs(tmp_path: Path) -> None:
    led = Led(BrokenProvider(tmp_path))

    led.lead(*orders(), scripts=[Script(run=(1.0, reply("Failed"))), Script()])

    assert led.ends == [(Outcome.FAILED, ""), (Outcome.PASSED, "")]
    assert [type(event) for event in led.events] == [Started, Ended] * 2


def test_a_worker_that_may_still_be_there_keeps_its_checkpoint_file_to_itself(provider: FolderProvider) -> None:
    led = Led(provider, "close")

    led.lead(*orders(), scripts=[Script(run=(1.0, reply(left=True))), Script()])

    files = [Path(worker.messages[0]["setup"]["checkpoints"]).name for worker in led.workers]
    assert files == ["e1-s0.db", "e1-s0-g1.db"]


@pytest.mark.parametrize("ends_idle", [True, False], ids=["ended while idle", "of another environment"])
def test_an_idle_worker_that_cannot_be_closed_costs_no_trial(tmp_path: Path, ends_idle: bool) -> None:
    led = Led(FolderProvider(tmp_path, {} if ends_idle else {"raises": {"SIDE": "left"}}), "close")

    led.lead(an_order("pass", 0), an_order("raises", 1), scripts=[Script(unfit=ends_idle), Script()])

    assert led.ends == [(Outcome.PASSED, "")] * 2
    assert len(led.workers) == 2


def test_a_worker_that_neither_starts_nor_closes_is_told_by_why_it_did_not_start(provider: FolderProvider) -> None:
    led = Led(provider, "close")

    led.lead(*orders(), scripts=[Script(starts="the evaluator cannot be found"), Script()])

    assert [(ended.result.outcome, ended.result.message) for ended in led.ended] == [
        (Outcome.ERRORED, "the evaluator cannot be found"),
        (Outcome.PASSED, ""),
    ]


# -- results while the batch is ending ---------------------------------------------------------------------------------


def test_a_result_after_the_batchs_deadline_is_late_though_the_session_saw_the_deadline_first(
    provider: FolderProvider,
) -> None:
    led = Led(provider, stop=BATCH_OVER)

    led.lead(an_order(), scripts=[Script(run=(4.0, reply()))])

    assert led.ends == [(Outcome.TIMED_OUT, Reason.BATCH_DEADLINE_EXCEEDED)]
    assert led.late == ["Passed"]


@pytest.mark.parametrize("stop", [INTERRUPT, FAIL_FAST])
@pytest.mark.parametrize(
    ("limits", "reason"),
    [((10.0, 30.0, 3600.0), Reason.TRIAL_DEADLINE_EXCEEDED), ((100.0, 30.0, 10.0), Reason.BATCH_DEADLINE_EXCEEDED)],
)
def test_the_grace_of_a_stop_does_not_lengthen_a_deadline(
    provider: FolderProvider, stop: Stop, limits: tuple[float, float, float], reason: str
) -> None:
    led = Led(provider, limits=limits, stop=stop)

    led.lead(an_order(), scripts=[Script(run=(12.0, reply()))])

    assert led.ends == [(Outcome.TIMED_OUT, reason)]
    assert led.ended[0].overrun_seconds == pytest.approx(2.0)
    assert led.late == ["Passed"]


@pytest.mark.parametrize("outcome", ["Failed", "Passed"])
def test_an_answer_that_needed_a_signal_of_an_interruption_is_none(provider: FolderProvider, outcome: str) -> None:
    led = Led(provider, stop=INTERRUPT)

    led.lead(an_order(), scripts=[Script(run=None, on_term=(0.1, reply(outcome)))])

    assert led.ends == [(Outcome.CANCELLED, Reason.INTERRUPTED)]
    assert led.ended[0].signals == ("TERM",)
    assert led.late == [outcome]


@pytest.mark.parametrize(
    ("script", "stop", "overrun"),
    [
        (Script(run=None), None, 5.25),
        (Script(run=None), INTERRUPT, None),
        (Script(run=None, on_stop=(1.0, reply("Cancelled", stopped=True))), FAIL_FAST, None),
        (Script(run=(1.0, LOST)), None, None),
    ],
    ids=["timed out", "interrupted", "failed fast", "lost"],
)
def test_only_a_time_out_has_an_overrun(
    provider: FolderProvider, script: Script, stop: Stop | None, overrun: float | None
) -> None:
    led = Led(provider, stop=stop)

    led.lead(an_order(), scripts=[script])

    assert led.ended[0].overrun_seconds == (pytest.approx(overrun) if overrun else None)


def test_a_trial_killed_for_its_memory_has_no_overrun(tmp_path: Path) -> None:
    led = Led(FolderProvider(tmp_path, memory_bytes=1000))

    led.lead(an_order(), scripts=[Script(run=None, memory=lambda _seconds: 2000)])

    assert led.ends == [(Outcome.ERRORED, Reason.OUT_OF_MEMORY)]
    assert led.ended[0].overrun_seconds is None


# -- threads that a run left behind ------------------------------------------------------------------------------------


class Page:
    """Where a probe tells which node runs."""

    def __init__(self) -> None:
        self.node, self.since_ns = "", 0
        self.stop_asked = False

    def set_node(self, node: str, since_ns: int) -> None:
        assert bool(node) == bool(since_ns)
        self.node, self.since_ns = node, since_ns

    def set_usage(self, used: Usage, at_ns: int) -> None:
        raise AssertionError("nothing was reported")


def test_a_thread_left_behind_neither_clears_nor_sets_the_node_of_the_next_run() -> None:
    page = Page()
    left = SlotProbe(page, Meter(page))
    left.node_started("old", "old")
    left.retire()
    SlotProbe(page, Meter(page)).node_started("new", "new")

    left.node_finished("old", "old")
    after_its_end = page.node
    left.node_started("older", "older")

    assert (after_its_end, page.node) == ("new", "new")


def test_a_run_that_is_over_shows_no_node() -> None:
    page = Page()
    probe = SlotProbe(page, Meter(page))
    probe.node_started("old", "old")

    probe.retire()

    assert page.node == ""


def test_a_stop_of_the_next_run_does_not_reach_the_one_before() -> None:
    page, asked = Page(), []
    left = SlotProbe(page, Meter(page))
    left.on_stop(lambda: asked.append("left"))
    left.retire()
    SlotProbe(page, Meter(page)).on_stop(lambda: asked.append("next"))
    page.stop_asked = True

    left.node_started("old", "old")

    assert asked == []


def test_a_node_that_hangs_is_the_one_shown_while_others_of_its_name_come_and_go_beside_it() -> None:
    page = Page()
    probe = SlotProbe(page, Meter(page))
    probe.node_started("fetch", "hangs")
    since = page.since_ns

    for task in ("first", "second"):
        probe.node_started("fetch", task)
        probe.node_finished("fetch", task)

    assert (page.node, page.since_ns) == ("fetch", since)
    probe.node_finished("fetch", "hangs")
    assert page.node == ""
