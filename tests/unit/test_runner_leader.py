"""The leader of one worker, second by second: deadlines, stops, lost workers, and what becomes of each attempt.

The clock is a fake and so is the worker: every instant here is exact.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from batchyard.engine.attempts import Ended, Started
from batchyard.model.outcome import Outcome, Reason
from batchyard.runners.workers import Gone
from batchyard.testing.fake_worker import Script, reply
from leader_bench import LOST, NEVER_ENDS, Lead
from runner_bench import FolderProvider, an_order

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
@pytest.mark.proves("bug-02")
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


@pytest.mark.proves("bug-13")
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
