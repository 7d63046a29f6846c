"""Every way in which a leader ends an attempt but its own deadline: nodes, the batch, stops, a place that breaks."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

import pytest

from batchyard.engine.attempts import Ended, Order, RunnerEvent, Started, Stop
from batchyard.model.errors import EnvironmentUnavailable
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.trial import NodeBoundary
from batchyard.runners.frames import NotAFrame
from batchyard.runners.leader import Leader, Limits
from batchyard.runners.worker import Setup
from batchyard.runners.workers import Gone
from batchyard.testing.fake_clock import FakeClock
from batchyard.testing.fake_worker import Script, reply
from leader_bench import LOST, NEVER_ENDS, Lead, Led
from runner_bench import FolderProvider, an_order

if TYPE_CHECKING:
    from pathlib import Path

    from batchyard.runners.workers import LedWorker


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
    def spawn(_wanted: object) -> LedWorker:
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
