"""The leader of one worker, second by second: deadlines, stops, lost workers, and what becomes of each attempt.

The clock is a fake and so is the worker: every instant here is exact.
"""

from __future__ import annotations

import queue
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.engine.attempts import Ended, Late, Order, RunnerEvent, Started, Stop
from batchyard.model.errors import EnvironmentUnavailable
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.trial import NodeBoundary
from batchyard.runners.frames import NotAFrame
from batchyard.runners.leader import Leader, Limits
from batchyard.runners.worker import Setup
from batchyard.runners.workers import Gone
from batchyard.testing.fake_clock import FakeClock
from batchyard.testing.fake_worker import FakeWorker, Script, reply
from runner_bench import FolderProvider, an_order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchyard.runners.workers import LedWorker

LOST = Gone(-9, confirmed=True)
NEVER_ENDS = Script(run=None)


@dataclass
class Led:
    """A leader that has led all its orders: what it told and the workers it had."""

    provider: FolderProvider
    clock: FakeClock = field(default_factory=FakeClock)
    events: list[RunnerEvent] = field(default_factory=list)
    workers: list[FakeWorker] = field(default_factory=list)
    began: float = 0.0

    @property
    def ended(self) -> list[Ended]:
        return [event for event in self.events if isinstance(event, Ended)]

    @property
    def only(self) -> Ended:
        (ended,) = self.ended
        return ended

    @property
    def late(self) -> list[Late]:
        return [event for event in self.events if isinstance(event, Late)]

    def calls(self, worker: int = 0) -> list[tuple[float, str]]:
        """What was asked of a worker, in seconds after the beginning."""
        return [(round(at - self.began, 6), what) for at, what in self.workers[worker].calls]


Lead = Any


@pytest.fixture
def lead(tmp_path: Path) -> Lead:
    """Lead orders on workers with these scripts, one after the other; the last script serves all further workers."""

    def lead(
        *scripts: Script,
        orders: Sequence[Order] = (an_order(),),
        provider: FolderProvider | None = None,
        stop: Stop | None = None,
        stop_after: Callable[[Led], bool] | None = None,
        boundaries: Callable[[Path, str], tuple[NodeBoundary, ...]] = lambda _file, _thread: (),
        **changes: float | None,
    ) -> Led:
        led = Led(provider or FolderProvider(tmp_path / "workspaces"))
        led.began = led.clock.monotonic()
        remaining = list(scripts)

        def spawn(_late: object) -> LedWorker:
            script = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            led.workers.append(FakeWorker(script, led.clock))
            return led.workers[-1]

        inbox: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        for order in orders:
            inbox.put(order)
        inbox.put(None)

        def hear(event: RunnerEvent) -> None:
            led.events.append(event)
            if stop is not None and stop_after is not None and stop_after(led):
                leader.stop_running(stop)

        batch = changes.pop("batch", 3600.0) or 0.0
        fields: Any = {"trial": 100.0, "grace": 5.0, "environment": 600.0, "node": None, **changes}
        leader = Leader(
            0,
            inbox=inbox,
            outbox=hear,
            provider=led.provider,
            spawn=spawn,
            setup=Setup("f", "", str(tmp_path), [], 0.5, 100, "sync"),
            limits=Limits(batch_until=led.began + batch, **fields),
            batch_id="b",
            clock=led.clock,
            read_boundaries=boundaries,
        )
        leader.run()
        return led

    return lead


# -- in time ---------------------------------------------------------------------------------------------------------


def test_an_attempt_that_ends_in_time_is_left_alone(lead: Lead) -> None:
    led = lead(Script(run=(99.999, reply())))

    assert led.only.result.outcome is Outcome.PASSED
    assert led.only.result.duration_seconds == pytest.approx(99.999)
    assert led.only.overrun_seconds is None
    assert led.calls() == [(99.999, "close")]


def test_a_worker_is_kept_and_each_workflow_built_once_in_it(lead: Lead) -> None:
    led = lead(Script(), orders=[an_order("pass", 0), an_order("asks", 1), an_order("pass", 2)])

    assert [message["op"] for message in led.workers[0].messages] == [
        "setup", "prepare", "run", "prepare", "run", "run",
    ]  # fmt: skip
    assert len(led.workers) == 1
    assert [type(event) for event in led.events] == [Started, Ended] * 3


def test_another_environment_needs_another_worker(lead: Lead, tmp_path: Path) -> None:
    provider = FolderProvider(tmp_path / "workspaces", {"raises": {"SIDE": "left"}})
    orders = [an_order("pass", 0), an_order("raises", 1), an_order("raises", 2), an_order("pass", 3)]

    led = lead(Script(), orders=orders, provider=provider)

    assert [worker.messages[0]["setup"]["env"] for worker in led.workers] == [{}, {"SIDE": "left"}, {}]


def test_a_worker_that_ended_while_idle_is_replaced_before_it_can_cost_a_trial(lead: Lead) -> None:
    led = lead(Script(unfit=True), Script(), orders=[an_order("pass", 0), an_order("pass", 1)])

    assert [ended.result.outcome for ended in led.ended] == [Outcome.PASSED, Outcome.PASSED]
    assert led.workers[0].asked == ["close"]
    assert len(led.workers) == 2


def test_a_worker_in_which_a_trial_left_something_behind_is_replaced(lead: Lead) -> None:
    led = lead(Script(run=(1.0, reply(left=True))), Script(), orders=[an_order("pass", 0), an_order("pass", 1)])

    assert [ended.result.outcome for ended in led.ended] == [Outcome.PASSED, Outcome.PASSED]
    assert led.workers[0].asked == ["KILL", "close"]
    assert led.ended[0].signals == ()


# -- over the deadline -----------------------------------------------------------------------------------------------


def test_a_deadline_is_followed_by_a_soft_stop_then_term_after_the_grace_then_kill(lead: Lead) -> None:
    led = lead(NEVER_ENDS, trial=10.0, grace=5.0)

    assert led.calls()[:3] == [(10.0, "stop"), (15.0, "TERM"), (15.25, "KILL")]
    assert led.only.signals == ("TERM", "KILL")
    assert led.only.overrun_seconds == pytest.approx(5.25)
    assert led.only.confirmed


@pytest.mark.parametrize("tick", [0.0, 0.001, 4.999])
def test_a_result_at_the_deadline_or_after_it_is_late_and_changes_nothing(lead: Lead, tick: float) -> None:
    led = lead(Script(run=(10.0 + tick, reply())), trial=10.0)

    result = led.only.result
    assert (result.outcome, result.reason) == (Outcome.TIMED_OUT, Reason.TRIAL_DEADLINE_EXCEEDED)
    assert result.score is None
    assert [late.outcome for late in led.late] == ["Passed"]
    assert led.late[0].order.trial_id == result.trial_id


def test_a_result_just_before_the_deadline_counts(lead: Lead) -> None:
    led = lead(Script(run=(9.999, reply())), trial=10.0)

    assert led.only.result.outcome is Outcome.PASSED
    assert led.late == []


def test_a_trial_that_stops_when_asked_needs_no_signal_and_leaves_its_worker_in_place(lead: Lead) -> None:
    boundary = {"node": "one", "status": "completed", "duration_seconds": 1.0}
    stopped = reply("Cancelled", stopped=True, message="asked to stop", boundaries=[boundary])
    led = lead(Script(run=None, on_stop=(2.0, stopped)), orders=[an_order("pass", 0), an_order("pass", 1)], trial=10.0)

    first = led.ended[0]
    assert (first.result.outcome, first.result.message) == (Outcome.TIMED_OUT, "over its deadline of 10 s")
    assert [boundary.node for boundary in first.result.boundaries] == ["one"]
    assert (first.signals, first.overrun_seconds) == ((), pytest.approx(2.0))
    assert led.late == []
    assert len(led.workers) == 1


def test_a_trial_that_answers_term_with_a_result_is_late_and_its_worker_not_trusted(lead: Lead) -> None:
    script = Script(run=None, on_term=(0.1, reply()))

    led = lead(script, Script(), orders=[an_order("pass", 0), an_order("pass", 1)], trial=10.0)

    assert led.ended[0].result.outcome is Outcome.TIMED_OUT
    assert led.ended[0].signals == ("TERM",)
    assert len(led.late) == 1
    assert len(led.workers) == 2


def test_the_message_names_the_node_in_which_the_trial_was_killed(lead: Lead) -> None:
    led = lead(Script(run=None, nodes=((0.0, "retrieve"), (3.0, "read"))), trial=10.0)

    assert led.only.result.message == "over its deadline of 10 s in node 'read'"


def test_the_orders_own_deadline_comes_before_the_general_one(lead: Lead) -> None:
    led = lead(NEVER_ENDS, orders=[an_order(deadline_seconds=2.5)], trial=10.0)

    assert led.calls()[0] == (2.5, "stop")
    assert "2.5 s" in led.only.result.message


def test_a_deadline_counts_from_each_attempts_beginning(lead: Lead) -> None:
    led = lead(Script(run=(9.0, reply())), orders=[an_order("pass", n) for n in range(20)], trial=10.0)

    assert {ended.result.outcome for ended in led.ended} == {Outcome.PASSED}


def test_a_kill_that_nobody_confirms_is_given_up_and_said_to_be(lead: Lead) -> None:
    led = lead(Script(run=None, on_kill=None), trial=10.0, grace=5.0)

    assert led.calls()[2:4] == [(15.25, "KILL"), (30.25, "force")]
    assert not led.only.confirmed
    assert led.only.result.message.endswith("; its end could not be confirmed")


def test_a_worker_whose_end_was_not_confirmed_keeps_its_checkpoint_file_to_itself(lead: Lead) -> None:
    lost = Script(run=(1.0, Gone(None, confirmed=False)))

    led = lead(lost, Script(run=(1.0, LOST)), Script(), orders=[an_order("pass", n) for n in range(3)])

    files = [Path(worker.messages[0]["setup"]["checkpoints"]).name for worker in led.workers]
    assert files == ["e1-s0.db", "e1-s0-g1.db", "e1-s0-g1.db"]


# -- nodes -----------------------------------------------------------------------------------------------------------


def test_a_node_over_its_deadline_ends_its_trial_and_is_named(lead: Lead) -> None:
    led = lead(Script(run=None, nodes=((0.0, "quick"), (3.0, "slow"))), node=4.0)

    result = led.only.result
    assert (result.outcome, result.reason) == (Outcome.TIMED_OUT, Reason.NODE_DEADLINE_EXCEEDED)
    assert result.message == "node 'slow' over its deadline of 4 s"
    assert led.calls()[0] == (7.0, "stop")


def test_many_nodes_may_together_take_longer_than_one_may(lead: Lead) -> None:
    nodes = tuple((3.0 * number, f"node-{number}") for number in range(10))

    led = lead(Script(run=(30.0, reply()), nodes=nodes), node=4.0)

    assert led.only.result.outcome is Outcome.PASSED


def test_no_node_is_over_its_deadline_between_nodes(lead: Lead) -> None:
    led = lead(Script(run=(50.0, reply()), nodes=((0.0, "one"), (1.0, ""))), node=4.0)

    assert led.only.result.outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("trial", "node", "reason"),
    [(10.0, 12.0, Reason.TRIAL_DEADLINE_EXCEEDED), (12.0, 10.0, Reason.NODE_DEADLINE_EXCEEDED)],
)
def test_whichever_deadline_passes_first_gives_the_reason(lead: Lead, trial: float, node: float, reason: str) -> None:
    led = lead(Script(run=None, nodes=((0.0, "one"),)), trial=trial, node=node)

    assert led.only.result.reason == reason


# -- the batch -------------------------------------------------------------------------------------------------------


def test_the_batchs_deadline_ends_what_runs_and_nothing_begins_after_it(lead: Lead) -> None:
    led = lead(NEVER_ENDS, orders=[an_order("pass", 0), an_order("pass", 1)], batch=20.0)

    first, second = (ended.result for ended in led.ended)
    assert (first.outcome, first.reason) == (Outcome.TIMED_OUT, Reason.BATCH_DEADLINE_EXCEEDED)
    assert led.calls()[0] == (20.0, "stop")
    assert second.outcome is Outcome.NOT_RUN
    assert len([event for event in led.events if isinstance(event, Started)]) == 1


@pytest.mark.parametrize("unready", [Script(starts=None), Script(prepares=None)])
def test_the_batchs_deadline_while_a_worker_is_made_ready_leaves_the_trial_unrun(lead: Lead, unready: Script) -> None:
    led = lead(unready, batch=20.0)

    assert led.only.result.outcome is Outcome.NOT_RUN
    assert led.calls() == [(20.0, "close")]


# -- stops -----------------------------------------------------------------------------------------------------------

INTERRUPT = Stop(Outcome.CANCELLED, Reason.INTERRUPTED)


def when_started(led: Led) -> bool:
    return isinstance(led.events[-1], Started)


def test_a_stopped_trial_gets_the_stops_outcome_and_the_same_grace(lead: Lead) -> None:
    led = lead(NEVER_ENDS, stop=INTERRUPT, stop_after=when_started, grace=5.0)

    result = led.only.result
    assert (result.outcome, result.reason) == (Outcome.CANCELLED, Reason.INTERRUPTED)
    assert "resume" in result.message
    (stopped, stop), (terminated, term), (killed, kill), *_ = led.calls()
    assert (stop, term, kill) == ("stop", "TERM", "KILL")
    assert (terminated - stopped, killed - stopped) == (pytest.approx(5.0), pytest.approx(5.25))


def test_a_trial_that_completes_within_a_stops_grace_keeps_its_result(lead: Lead) -> None:
    led = lead(Script(run=(4.0, reply())), stop=INTERRUPT, stop_after=when_started)

    assert led.only.result.outcome is Outcome.PASSED
    assert led.late == []


def test_nothing_begins_after_a_stop(lead: Lead) -> None:
    orders = [an_order("pass", 0), an_order("pass", 1)]

    led = lead(Script(), orders=orders, stop=INTERRUPT, stop_after=lambda led: isinstance(led.events[-1], Ended))

    assert [ended.result.outcome for ended in led.ended] == [Outcome.PASSED, Outcome.NOT_RUN]


# -- the place breaks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "text"),
    [(7, "exit code 7"), (-11, "SIGSEGV"), (-9, "SIGKILL (out of memory"), (-31, "signal 31"), (None, "cause unknown")],
)
def test_a_lost_worker_is_an_error_of_the_place_that_says_how_and_where(
    lead: Lead, status: int | None, text: str
) -> None:
    led = lead(Script(run=(1.0, Gone(status, confirmed=True)), nodes=((0.0, "read"),)))

    result = led.only.result
    assert (result.outcome, result.reason) == (Outcome.ERRORED, Reason.WORKER_LOST)
    assert result.message.startswith("the worker process ended in node 'read': ")
    assert text in result.message


def test_the_next_trial_after_a_lost_worker_has_a_new_one(lead: Lead) -> None:
    led = lead(Script(run=(1.0, LOST)), Script(), orders=[an_order("pass", 0), an_order("pass", 1)])

    assert [ended.result.outcome for ended in led.ended] == [Outcome.ERRORED, Outcome.PASSED]
    assert led.workers[0].asked == ["close"]


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (Script(starts=None), "did not start within 30 s; raise spec.deadlines.environmentSeconds"),
        (Script(prepares=None), "did not prepare the workflow for pass within 30 s"),
        (Script(starts=Gone(9, confirmed=True)), "ended (exit code 9) when it was to start; its last words: 'alas'"),
        (Script(prepares=Gone(-9, confirmed=True)), "when it was to prepare the workflow for pass"),
        (Script(starts="the evaluator cannot be found"), "the evaluator cannot be found"),
    ],
)
def test_a_worker_that_does_not_get_ready_is_an_error_of_the_environment(lead: Lead, script: Script, text: str) -> None:
    led = lead(script, Script(), orders=[an_order("pass", 0), an_order("pass", 1)], environment=30.0)

    first, second = (ended.result for ended in led.ended)
    assert (first.outcome, first.reason) == (Outcome.ERRORED, Reason.ENVIRONMENT_FAILED)
    assert text in first.message
    assert led.workers[0].asked == ["close"]
    assert second.outcome is Outcome.PASSED


def test_a_workflow_that_cannot_be_built_fails_its_trial_and_keeps_the_worker(lead: Lead) -> None:
    led = lead(Script(prepares="the factory raised"), orders=[an_order("pass", 0), an_order("raises", 1)])

    assert [(ended.result.outcome, ended.result.reason) for ended in led.ended] == [
        (Outcome.FAILED, Reason.WORKFLOW_INVALID)
    ] * 2
    assert len(led.workers) == 1


def test_an_order_that_cannot_be_sent_is_an_error_and_the_next_one_runs(lead: Lead) -> None:
    refused = Script(refuses=NotAFrame("its 99 bytes are over the limit"))

    led = lead(refused, Script(), orders=[an_order("pass", 0), an_order("pass", 1)])

    first, second = (ended.result for ended in led.ended)
    assert (first.outcome, first.reason) == (Outcome.ERRORED, Reason.ENVIRONMENT_FAILED)
    assert "over the limit" in first.message
    assert second.outcome is Outcome.PASSED


def test_a_workspace_that_cannot_be_made_is_an_error_of_the_environment(lead: Lead, tmp_path: Path) -> None:
    led = lead(Script(), provider=FolderProvider(tmp_path / "workspaces", broken="no space left"))

    assert (led.only.result.outcome, led.only.result.message) == (Outcome.ERRORED, "no space left")


def test_a_spawn_that_fails_is_an_error_of_the_environment(tmp_path: Path) -> None:
    def spawn(_late: object) -> LedWorker:
        raise EnvironmentUnavailable("no more processes")

    events: list[RunnerEvent] = []
    inbox: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
    inbox.put(an_order())
    inbox.put(None)
    Leader(
        0, inbox=inbox, outbox=events.append, provider=FolderProvider(tmp_path), spawn=spawn,
        setup=Setup("f", "", str(tmp_path), [], 0.5, 100, "sync"), limits=Limits(1.0, 1.0, 1.0, 1e9),
        batch_id="b", clock=FakeClock(), read_boundaries=lambda _file, _thread: (),
    ).run()  # fmt: skip

    (ended,) = events
    assert isinstance(ended, Ended)
    assert (ended.result.outcome, ended.result.message) == (Outcome.ERRORED, "no more processes")


def test_a_trial_over_its_memory_is_killed_without_a_grace(lead: Lead, tmp_path: Path) -> None:
    provider = FolderProvider(tmp_path / "workspaces", memory_bytes=1000)

    led = lead(Script(run=None, memory=lambda seconds: round(seconds * 100)), provider=provider)

    result = led.only.result
    assert (result.outcome, result.reason) == (Outcome.ERRORED, Reason.OUT_OF_MEMORY)
    assert "1000 bytes" in result.message
    (at, what), *_ = led.calls()
    assert what == "KILL"
    assert at == pytest.approx(10.1, abs=0.2)


def test_memory_within_the_bound_ends_nothing(lead: Lead, tmp_path: Path) -> None:
    provider = FolderProvider(tmp_path / "workspaces", memory_bytes=1000)

    led = lead(Script(run=(5.0, reply()), memory=lambda _seconds: 1000), provider=provider)

    assert led.only.result.outcome is Outcome.PASSED


# -- what is left of an attempt --------------------------------------------------------------------------------------


def test_the_boundaries_of_a_killed_attempt_are_those_stored_and_the_node_it_was_in(lead: Lead) -> None:
    stored = (NodeBoundary("one", "completed", 2.0, "c0", "c1", 1),)
    asked: list[tuple[str, str]] = []

    def read(file: Path, thread: str) -> tuple[NodeBoundary, ...]:
        asked.append((file.name, thread))
        return stored

    led = lead(Script(run=None, nodes=((3.0, "two"),)), boundaries=read, trial=10.0, grace=5.0)

    assert asked == [("e1-s0.db", an_order().thread_id)]
    assert led.only.result.boundaries == (*stored, NodeBoundary("two", "running", 12.25, "c1", None, 2))


def test_boundaries_that_cannot_be_read_do_not_hide_how_the_attempt_ended(lead: Lead) -> None:
    def broken(_file: Path, _thread: str) -> tuple[NodeBoundary, ...]:
        raise ValueError("torn")

    led = lead(Script(run=(1.0, LOST), nodes=((0.0, "two"),)), boundaries=broken)

    assert led.only.result.reason == Reason.WORKER_LOST
    assert [boundary.node for boundary in led.only.result.boundaries] == ["two"]


@pytest.mark.parametrize(
    ("script", "kept"),
    [
        (Script(), False),
        (Script(run=(1.0, reply("Failed"))), True),
        (Script(run=(1.0, reply("NeedsInput"))), True),
        (Script(run=(1.0, LOST)), True),
        (NEVER_ENDS, True),
    ],
)
def test_the_folder_and_the_output_stay_of_a_trial_worth_looking_at(lead: Lead, script: Script, kept: bool) -> None:
    led = lead(script)

    folder = "pass_case_0_1"
    assert (led.provider.kept, led.provider.removed) == (([folder], []) if kept else ([], [folder]))
    assert [path.name for path in led.workers[0].saved] == (["output.log"] if kept else [])
