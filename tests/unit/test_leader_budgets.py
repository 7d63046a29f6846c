"""How a leader ends an attempt that is over its budget or makes no progress, to the instant, without its help."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.engine.attempts import Stop, Used
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.usage import Allowance, Usage
from batchyard.runners.workers import Gone
from batchyard.testing.fake_worker import Script, reply
from leader_bench import Lead, leading_in

if TYPE_CHECKING:
    from pathlib import Path

LOST = Gone(-9, confirmed=True)


@pytest.fixture
def lead(tmp_path: Path) -> Lead:
    return leading_in(tmp_path)


@pytest.mark.parametrize(
    ("allowed", "used", "reason", "text"),
    [
        (Allowance(steps=3), Usage(steps=4), Reason.STEP_BUDGET_EXCEEDED, "used 4 steps of 3 allowed"),
        (Allowance(tokens=1000), Usage(tokens=1500), Reason.TOKEN_BUDGET_EXCEEDED, "used 1,500 tokens of 1,000"),
        (Allowance(cost=0.5), Usage(cost=0.75), Reason.COST_BUDGET_EXCEEDED, "used 0.75 cost of 0.5 allowed"),
    ],
)
def test_an_attempt_over_its_budget_is_stopped_softly_then_by_term_then_by_kill(
    lead: Lead, allowed: Allowance, used: Usage, reason: Reason, text: str
) -> None:
    led = lead(Script(run=None, usage=((2.0, used),)), allowed=allowed, grace=5.0)

    result = led.only.result
    assert (result.outcome, result.reason) == (Outcome.FAILED, reason)
    assert text in result.message
    (stop, _), (term, _), (kill, _) = led.calls()[:3]
    assert [what for _, what in led.calls()][:3] == ["stop", "TERM", "KILL"]
    assert 2.0 <= stop <= 2.1 + 1e-6
    assert (term - stop, kill - stop) == (pytest.approx(5.0), pytest.approx(5.25))
    assert led.only.signals == ("TERM", "KILL")
    assert led.only.overrun_seconds is None


def test_what_a_killed_attempt_had_used_is_in_its_metrics(lead: Lead) -> None:
    script = Script(run=None, usage=((1.0, Usage(2, 900, 0.5)), (4.0, Usage(3, 1700, 0.5))))

    led = lead(script, allowed=Allowance(tokens=800), grace=5.0)

    assert led.only.result.metrics == {"steps": 3, "tokens": 1700, "cost": 0.5}


def test_a_result_that_comes_after_its_budget_was_exceeded_is_late_and_changes_nothing(lead: Lead) -> None:
    led = lead(Script(run=(3.0, reply()), usage=((1.0, Usage(tokens=11)),)), allowed=Allowance(tokens=10))

    assert led.only.result.reason == Reason.TOKEN_BUDGET_EXCEEDED
    assert [late.outcome for late in led.late] == ["Passed"]


def test_what_was_used_at_the_very_end_counts_too(lead: Lead) -> None:
    led = lead(Script(run=(1.0, reply()), usage=((1.0, Usage(cost=2.0)),)), allowed=Allowance(cost=1.0))

    assert led.only.result.reason == Reason.COST_BUDGET_EXCEEDED
    assert led.calls() == [(1.0, "close")]


def test_an_attempt_that_used_exactly_what_is_allowed_keeps_its_result(lead: Lead) -> None:
    led = lead(Script(run=(1.0, reply()), usage=((0.5, Usage(3, 10, 1.0)),)), allowed=Allowance(3, 10, 1.0))

    assert led.only.result.outcome is Outcome.PASSED


def test_a_run_that_stopped_before_a_step_too_many_is_over_its_step_budget(lead: Lead) -> None:
    script = Script(run=(1.0, reply("Cancelled", stopped=True)), usage=((0.5, Usage(steps=3)),))

    led = lead(script, allowed=Allowance(steps=3))

    assert (led.only.result.outcome, led.only.result.reason) == (Outcome.FAILED, Reason.STEP_BUDGET_EXCEEDED)
    assert "and more were due" in led.only.result.message
    assert led.late == []


def test_a_result_accepted_after_a_stop_must_be_within_its_budget(lead: Lead) -> None:
    script = Script(run=None, on_stop=(1.0, reply()), usage=((0.5, Usage(tokens=11)),))
    stop = Stop(Outcome.CANCELLED, Reason.FAIL_FAST)

    led = lead(script, allowed=Allowance(tokens=10), stop=stop, stop_after=lambda _led: True)

    assert led.only.result.reason == Reason.TOKEN_BUDGET_EXCEEDED


def test_without_a_budget_nobody_looks_at_what_is_used(lead: Lead) -> None:
    led = lead(Script(run=(90.0, reply()), usage=((1.0, Usage(1e9, 1e9, 1e9)),)))

    assert led.only.result.outcome is Outcome.PASSED


# -- no progress -----------------------------------------------------------------------------------------------------


def test_an_attempt_that_makes_no_progress_is_ended_to_the_instant(lead: Lead) -> None:
    script = Script(run=None, usage=((1.0, Usage(1)), (8.0, Usage(2))))

    led = lead(script, idle=10.0, grace=5.0)

    result = led.only.result
    assert (result.outcome, result.reason) == (Outcome.TIMED_OUT, Reason.IDLE_DEADLINE_EXCEEDED)
    assert led.calls()[:3] == [(18.0, "stop"), (23.0, "TERM"), (23.25, "KILL")]
    assert led.only.overrun_seconds == pytest.approx(5.25)


def test_an_attempt_that_never_moves_is_idle_from_its_beginning(lead: Lead) -> None:
    led = lead(Script(run=None), idle=10.0)

    assert led.calls()[0] == (10.0, "stop")


def test_whatever_moves_now_and_then_is_not_idle(lead: Lead) -> None:
    moves = tuple((float(second), Usage(second)) for second in range(9, 90, 9))

    led = lead(Script(run=(90.0, reply()), usage=moves), idle=10.0)

    assert led.only.result.outcome is Outcome.PASSED


# -- while it runs ---------------------------------------------------------------------------------------------------


def test_what_is_used_is_told_while_it_runs_if_the_batch_has_a_budget(lead: Lead) -> None:
    script = Script(run=(5.0, reply()), usage=((1.0, Usage(1, 10, 0.1)), (3.0, Usage(2, 20, 0.2))))

    led = lead(script, tells_usage=True)

    assert [event.used for event in led.events if isinstance(event, Used)] == [Usage(1, 10, 0.1), Usage(2, 20, 0.2)]


def test_a_worker_that_is_lost_leaves_what_it_had_used(lead: Lead) -> None:
    led = lead(Script(run=(2.0, LOST), usage=((1.0, Usage(2, 30)),)))

    assert led.only.result.reason == Reason.WORKER_LOST
    assert led.only.result.metrics == {"steps": 2, "tokens": 30}
