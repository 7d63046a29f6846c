"""The backlog over any course of a batch: nothing is handed out twice at once, forgotten, or numbered twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchyard.engine.backlog import Backlog
from session_bench import loaded

if TYPE_CHECKING:
    from batchyard.engine.attempts import Order

PLAN = loaded(4, repeats=2).plan
TRIALS = range(len(PLAN))
delays = st.sampled_from([0.0, 1.0, 5.0])


class Course(RuleBasedStateMachine):
    """One session after another, each a model of what its backlog must know."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.epoch = 0
        self.finished: set[int] = set()
        self.recorded: dict[int, int] = {}
        self.threads: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """Begin the next session with what was written down of the ones before."""
        self.epoch += 1
        self.backlog = Backlog(PLAN, "b", self.epoch)
        for ordinal in self.finished:
            self.backlog.finish(ordinal)
        self.backlog.recall_attempts({n: made for n, made in self.recorded.items() if n not in self.finished})
        self.fresh = [ordinal for ordinal in TRIALS if ordinal not in self.finished]
        self.retries: dict[int, float] = {}
        self.out: dict[int, Order] = {}
        self.errors = dict.fromkeys(TRIALS, 0)

    @initialize(attempts=st.dictionaries(st.sampled_from(TRIALS), st.integers(1, 9)))
    def after_other_sessions(self, attempts: dict[int, int]) -> None:
        self.recorded = attempts
        self.begin()

    @rule()
    def hand_out(self) -> None:
        due = sorted((at, ordinal) for ordinal, at in self.retries.items() if at <= self.now)
        expected = due[0][1] if due else (self.fresh[0] if self.fresh else None)

        order = self.backlog.next_order(self.now)

        assert (order.ordinal if order else None) == expected
        if order is None:
            return
        assert order.ordinal not in self.out
        assert order.attempt == self.recorded.get(order.ordinal, 0) + 1
        assert order.thread_id not in self.threads
        self.threads.add(order.thread_id)
        self.out[order.ordinal] = order
        if due:
            del self.retries[order.ordinal]
        else:
            self.fresh.pop(0)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def end_for_good(self, data: st.DataObject) -> None:
        ordinal = self.ended(data)
        self.finished.add(ordinal)
        self.backlog.finish(ordinal)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), delay=delays)
    def break_and_retry(self, data: st.DataObject, delay: float) -> None:
        ordinal = self.ended(data)
        self.errors[ordinal] += 1
        assert self.backlog.count_error(ordinal) == self.errors[ordinal]
        self.retries[ordinal] = self.now + delay
        self.backlog.retry(ordinal, self.now + delay)

    def ended(self, data: st.DataObject) -> int:
        """Have one of the attempts that are out end, recorded."""
        ordinal = data.draw(st.sampled_from(sorted(self.out)))
        self.recorded[ordinal] = self.out.pop(ordinal).attempt
        return ordinal

    @rule(seconds=st.floats(0, 10))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def die_and_resume(self) -> None:
        self.begin()

    @rule()
    def stop_and_resume(self) -> None:
        for order in self.out.values():
            self.backlog.take_back(order)
        rest = [(trial.ordinal, attempt) for trial, attempt in self.backlog.open_trials()]

        assert rest == [(n, self.recorded.get(n, 0) + 1) for n in TRIALS if n not in self.finished]
        self.begin()

    @invariant()
    def knows_what_is_left(self) -> None:
        assert self.backlog.open_count == len(TRIALS) - len(self.finished)
        assert self.backlog.nothing_waits == (not self.fresh and not self.retries)
        assert self.backlog.next_retry_at == min(self.retries.values(), default=None)


TestCourse = Course.TestCase
TestCourse.settings = settings(max_examples=80, stateful_step_count=40)
