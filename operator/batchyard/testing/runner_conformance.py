"""What every ``BatchTestRunner`` must do: inherit a class in a test module with an ``open_runner`` fixture.

The fixture returns a function ``(parallelism, limits) -> context manager of a runner`` whose workflow is that of
``runner_workflow``. ``IsolatedRunnerConformance`` is for runners whose trials have a process of their own.

Not about what becomes of the code under test when a runner ends it by force: those are each runner's own tests.
"""

# ruff: noqa: S101, D102 - what a suite holds a runner to are assertions, each named by a sentence

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from batchyard.clock import SystemClock
from batchyard.engine.attempts import BatchTestRunner, Ended, Order, Started, Stop, Used
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.usage import Allowance, Usage

if TYPE_CHECKING:
    from pathlib import Path

    from batchyard.model.trial import JSON

_PATIENCE_SECONDS = 60.0
_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class RunnerLimits:
    """What the runner under test is to be opened with, in seconds; ``env`` is by combination.

    ``allowed`` and ``tells_usage`` are as in the leader's ``Limits``.
    """

    trial: float = _PATIENCE_SECONDS
    grace: float = 0.2
    batch: float = 10 * _PATIENCE_SECONDS
    env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    allowed: Allowance = field(default_factory=Allowance)
    tells_usage: bool = False


OpenRunner: TypeAlias = Callable[[int, RunnerLimits], AbstractContextManager[BatchTestRunner]]


def order_of(ordinal: int, *, combination: str = "plain", deadline: float | None = None, **state: JSON) -> Order:
    """Return an order for the runner workflow; ``state`` tells it what to do."""
    return Order(
        trial_id=f"{combination}/case/{ordinal}",
        ordinal=ordinal,
        combination=combination,
        variants={"which": combination},
        case="case",
        repeat=ordinal,
        attempt=3,
        epoch=2,
        thread_id=f"batch/{combination}/case/{ordinal}#3@2",
        state={"name": f"{combination}-{ordinal}", **state},
        weight=2.5,
        deadline_seconds=deadline,
    )


class Heard:
    """Listens to a runner and keeps what it told."""

    def __init__(self, runner: BatchTestRunner) -> None:
        """Listen to ``runner``; nothing is taken before ``until``."""
        self._runner = runner
        self.started: list[Started] = []
        self.ended: list[Ended] = []
        self.used: list[Used] = []

    def until(self, *, started: int = 0, ended: int = 0, used: int = 0) -> Heard:
        """Take events until so many attempts have started and ended, and so often was told what one uses."""
        give_up = _CLOCK.monotonic() + _PATIENCE_SECONDS
        while len(self.started) < started or len(self.ended) < ended or len(self.used) < used:
            assert _CLOCK.monotonic() < give_up, f"{started} starts, {ended} ends and {used} usages did not come"
            match self._runner.next_event(0.5):
                case Started() as event:
                    self.started.append(event)
                case Ended() as event:
                    self.ended.append(event)
                case Used() as event:
                    self.used.append(event)
        return self

    @property
    def outcomes(self) -> dict[int, Outcome]:
        """Return each ended attempt's outcome by ordinal."""
        return {event.result.ordinal: event.result.outcome for event in self.ended}


def _run(runner: BatchTestRunner, *orders: Order) -> Heard:
    for order in orders:
        runner.submit(order)
    return Heard(runner).until(ended=len(orders))


def _await_lines(path: Path, count: int) -> list[str]:
    give_up = _CLOCK.monotonic() + _PATIENCE_SECONDS
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert _CLOCK.monotonic() < give_up, f"{path} never had {count} lines"
        threading.Event().wait(0.005)
    return path.read_text().splitlines()


class RunnerConformance:
    """Holds for every runner, however little it isolates trials."""

    def test_every_order_comes_back_as_one_end_after_its_start(self, open_runner: OpenRunner) -> None:
        with open_runner(3, RunnerLimits()) as runner:
            heard = _run(runner, *(order_of(n) for n in range(60)))

        assert set(heard.outcomes.values()) == {Outcome.PASSED}
        assert sorted(heard.outcomes) == list(range(60))
        assert Counter(event.order.ordinal for event in heard.started) == Counter(range(60))

    def test_a_result_carries_what_its_order_said(self, open_runner: OpenRunner) -> None:
        order = order_of(7)

        with open_runner(1, RunnerLimits()) as runner:
            heard = _run(runner, order)

        result = heard.ended[0].result
        for name in ("trial_id", "ordinal", "combination", "case", "repeat", "attempt", "epoch", "thread_id", "weight"):
            assert getattr(result, name) == getattr(order, name), name
        assert result.worker == heard.started[0].worker
        assert result.started_at <= result.ended_at
        assert 0 <= result.duration_seconds < _PATIENCE_SECONDS
        assert [boundary.node for boundary in result.boundaries] == ["before", "act", "after"]
        assert heard.ended[0].signals == ()

    def test_exactly_as_many_trials_run_at_once_as_it_was_opened_for(
        self, open_runner: OpenRunner, tmp_path: Path
    ) -> None:
        log, until = tmp_path / "log", tmp_path / "until"
        with open_runner(3, RunnerLimits()) as runner:
            for number in range(9):
                runner.submit(order_of(number, log=str(log), until=str(until)))
            _await_lines(log, 3)
            until.touch()
            Heard(runner).until(ended=9)

        running, most = 0, 0
        for line in _await_lines(log, 18):
            running += 1 if line.startswith("begin") else -1
            most = max(most, running)
        assert most == 3
        assert running == 0

    def test_a_node_that_raises_fails_its_trial_only(self, open_runner: OpenRunner) -> None:
        with open_runner(1, RunnerLimits()) as runner:
            heard = _run(runner, order_of(0, error="told apart"), order_of(1))

        assert heard.outcomes == {0: Outcome.FAILED, 1: Outcome.PASSED}
        assert heard.ended[0].result.reason == Reason.NODE_RAISED
        assert "told apart" in heard.ended[0].result.message
        assert "act" in heard.ended[0].result.message

    def test_nothing_nested_in_the_input_is_shared_between_trials(self, open_runner: OpenRunner) -> None:
        shared: dict[str, JSON] = {"first": True}

        with open_runner(1, RunnerLimits()) as runner:
            heard = _run(runner, *(order_of(n, seen=shared) for n in range(3)))

        assert shared == {"first": True}
        for event in heard.ended:
            assert event.result.output["seen"] == {"first": True, f"plain-{event.result.ordinal}": True}

    def test_a_trial_over_its_deadline_times_out_and_the_next_one_runs(
        self, open_runner: OpenRunner, tmp_path: Path
    ) -> None:
        limits = RunnerLimits(trial=0.4)
        never = str(tmp_path / "never")

        with open_runner(1, limits) as runner:
            heard = _run(runner, order_of(0, until=never), order_of(1))

        first = heard.ended[0]
        assert heard.outcomes == {0: Outcome.TIMED_OUT, 1: Outcome.PASSED}
        assert first.result.reason == Reason.TRIAL_DEADLINE_EXCEEDED
        assert "0.4 s" in first.result.message
        assert "'act'" in first.result.message
        assert first.result.score is None
        assert first.overrun_seconds is not None
        assert first.overrun_seconds <= limits.grace + 1

    def test_a_deadline_counts_from_the_beginning_of_the_attempt_not_from_its_queueing(
        self, open_runner: OpenRunner
    ) -> None:
        with open_runner(1, RunnerLimits(trial=1.0)) as runner:
            heard = _run(runner, *(order_of(n, seconds=0.15) for n in range(10)))

        assert set(heard.outcomes.values()) == {Outcome.PASSED}

    def test_an_orders_own_deadline_comes_before_the_general_one(self, open_runner: OpenRunner, tmp_path: Path) -> None:
        never = str(tmp_path / "never")

        with open_runner(2, RunnerLimits(trial=0.3)) as runner:
            heard = _run(
                runner,
                order_of(0, deadline=_PATIENCE_SECONDS, seconds=0.6),
                order_of(1, deadline=0.1, until=never),
            )

        assert heard.outcomes == {0: Outcome.PASSED, 1: Outcome.TIMED_OUT}
        assert "0.1 s" in next(e.result.message for e in heard.ended if e.result.ordinal == 1)

    def test_the_batchs_deadline_ends_what_runs_and_lets_nothing_begin(
        self, open_runner: OpenRunner, tmp_path: Path
    ) -> None:
        log, never = tmp_path / "log", str(tmp_path / "never")

        with open_runner(1, RunnerLimits(batch=1.5)) as runner:
            heard = _run(runner, order_of(0, log=str(log), until=never), order_of(1, log=str(log)))

        assert heard.outcomes == {0: Outcome.TIMED_OUT, 1: Outcome.NOT_RUN}
        assert heard.ended[0].result.reason == Reason.BATCH_DEADLINE_EXCEEDED
        assert log.read_text().splitlines() == ["begin plain-0"]

    def test_a_stop_ends_what_runs_and_gives_back_what_had_not_begun(
        self, open_runner: OpenRunner, tmp_path: Path
    ) -> None:
        log, never = tmp_path / "log", str(tmp_path / "never")
        with open_runner(1, RunnerLimits()) as runner:
            for number in range(3):
                runner.submit(order_of(number, log=str(log), until=never))
            _await_lines(log, 1)

            returned = runner.stop(Stop(Outcome.CANCELLED, Reason.FAIL_FAST))
            heard = Heard(runner).until(ended=1)

            assert [order.ordinal for order in returned] == [1, 2]
            assert heard.outcomes == {0: Outcome.CANCELLED}
            assert heard.ended[0].result.reason == Reason.FAIL_FAST
            assert runner.next_event(0.1) is None
        assert log.read_text().splitlines() == ["begin plain-0"]

    def test_an_order_after_a_stop_is_not_run(self, open_runner: OpenRunner) -> None:
        with open_runner(1, RunnerLimits()) as runner:
            runner.stop(Stop(Outcome.CANCELLED, Reason.FAIL_FAST))

            heard = _run(runner, order_of(0))

        assert heard.outcomes == {0: Outcome.NOT_RUN}

    def test_closing_ends_what_runs_without_waiting_for_it(self, open_runner: OpenRunner, tmp_path: Path) -> None:
        log, never = tmp_path / "log", str(tmp_path / "never")

        with open_runner(2, RunnerLimits()) as runner:
            for number in range(4):
                runner.submit(order_of(number, log=str(log), until=never))
            _await_lines(log, 2)
            closing = _CLOCK.monotonic()

        assert _CLOCK.monotonic() - closing < _PATIENCE_SECONDS / 2
        assert len(log.read_text().splitlines()) == 2

    def test_an_attempt_pauses_at_the_node_that_its_order_names(self, open_runner: OpenRunner) -> None:
        with open_runner(1, RunnerLimits()) as runner:
            paused = _run(runner, replace(order_of(0), pause_before=["after"])).ended[0]

        assert (paused.result.outcome, paused.result.reason) == (Outcome.NEEDS_INPUT, Reason.PAUSED)
        assert [boundary.node for boundary in paused.result.boundaries] == ["before", "act"]

    def test_a_pause_holds_a_running_attempt_at_its_next_boundary(
        self, open_runner: OpenRunner, tmp_path: Path
    ) -> None:
        log = tmp_path / "log"
        with open_runner(1, RunnerLimits()) as runner:
            runner.submit(order_of(0, log=str(log), seconds=1.0))
            _await_lines(log, 1)
            runner.pause(0)
            runner.submit(order_of(1))
            heard = Heard(runner).until(ended=2)

        paused, other = sorted(heard.ended, key=lambda ended: ended.result.ordinal)
        assert (paused.result.outcome, paused.result.reason) == (Outcome.NEEDS_INPUT, Reason.PAUSED)
        assert (paused.signals, other.result.outcome) == ((), Outcome.PASSED)
        assert "end plain-0" not in log.read_text()

    def test_a_pause_from_before_the_attempt_holds_it_at_its_first_boundary(
        self, open_runner: OpenRunner, tmp_path: Path
    ) -> None:
        log = tmp_path / "log"
        log.touch()
        with open_runner(1, RunnerLimits()) as runner:
            runner.pause(0)
            paused = _run(runner, order_of(0, log=str(log))).ended[0]

        assert (paused.result.outcome, paused.result.reason) == (Outcome.NEEDS_INPUT, Reason.PAUSED)
        assert "end plain-0" not in log.read_text()


class IsolatedRunnerConformance(RunnerConformance):
    """Holds besides for runners whose trials each have a process and a folder to themselves."""

    def test_each_combination_sees_its_own_environment(self, open_runner: OpenRunner) -> None:
        env = {"left": {"SIDE": "left"}, "right": {"SIDE": "right", "EXTRA": "more"}}
        names = ["SIDE", "EXTRA"]

        with open_runner(1, RunnerLimits(env=env)) as runner:
            heard = _run(
                runner,
                *(
                    order_of(n, combination=which, variables=names)
                    for n, which in enumerate(["left", "right", "left", "neither"])
                ),
            )

        seen = {event.result.ordinal: event.result.output["variables"] for event in heard.ended}
        left, right = {"SIDE": "left", "EXTRA": "$EXTRA"}, {"SIDE": "right", "EXTRA": "more"}
        assert seen == {0: left, 1: right, 2: left, 3: {"SIDE": "$SIDE", "EXTRA": "$EXTRA"}}

    def test_each_trial_runs_in_a_folder_of_its_own(self, open_runner: OpenRunner) -> None:
        with open_runner(2, RunnerLimits()) as runner:
            heard = _run(runner, *(order_of(n) for n in range(6)))

        folders = {event.result.output["cwd"] for event in heard.ended}
        assert len(folders) == 6


class BudgetConformance:
    """Holds for runners that are opened with ``allowed`` and ``tells_usage``; to be inherited beside another."""

    def test_a_trial_over_its_budget_is_ended_with_what_it_used_and_the_next_one_runs(
        self, open_runner: OpenRunner, tmp_path: Path
    ) -> None:
        never = str(tmp_path / "never")

        with open_runner(1, RunnerLimits(allowed=Allowance(tokens=1000))) as runner:
            heard = _run(runner, order_of(0, tokens=1001, until=never), order_of(1, tokens=1000))

        first, second = heard.ended[0].result, heard.ended[1].result
        assert heard.outcomes == {0: Outcome.FAILED, 1: Outcome.PASSED}
        assert first.reason == Reason.TOKEN_BUDGET_EXCEEDED
        assert "'act'" in first.message
        assert (first.metrics, second.metrics) == ({"tokens": 1001}, {"tokens": 1000})

    def test_what_a_trial_uses_is_told_while_it_runs(self, open_runner: OpenRunner, tmp_path: Path) -> None:
        log, until = tmp_path / "log", tmp_path / "until"
        with open_runner(1, RunnerLimits(tells_usage=True)) as runner:
            runner.submit(order_of(0, tokens=30, log=str(log), until=str(until)))
            heard = Heard(runner).until(used=1)
            until.touch()
            heard.until(ended=1)

        assert [(event.order.ordinal, event.used) for event in heard.used] == [(0, Usage(tokens=30))]
