"""Which trials are still to be run, which attempt comes next, and which wait for their retry.

Costs a byte a trial. Not for what runs at the moment: that is the session's.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from dataclasses import asdict
from typing import TYPE_CHECKING

from batchyard.engine.attempts import Order
from batchyard.model.execution import Keep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from batchyard.decide.forking import ForkPoint
    from batchyard.engine.prefixes import SharedPrefixes
    from batchyard.model.matrix import Plan
    from batchyard.model.trial import Trial


class Backlog:
    """The open trials of one batch in one session."""

    def __init__(
        self,
        plan: Plan,
        batch_id: str,
        epoch: int,
        fork_point: Callable[[int], ForkPoint] | None = None,
        keep: Keep = Keep.NEVER,
        prefixes: SharedPrefixes | None = None,
        line: Sequence[int] | None = None,
    ) -> None:
        """Begin with every trial open and none tried.

        ``fork_point`` says where a trial of a fork begins, ``keep`` whose threads are to come back, ``prefixes`` which
        trials wait for another one's end. ``line`` has all numbers in the order they are handed out, if not their own.
        """
        self._plan, self._fork_point, self._keep = plan, fork_point, keep
        self._batch_id = batch_id
        self._epoch = epoch
        self._done = bytearray(len(plan))
        self._attempts: dict[int, int] = {}
        self._errors: Counter[int] = Counter()
        self._line: Sequence[int] = range(len(plan)) if line is None else line
        self._cursor = 0
        self._retries: list[tuple[float, int]] = []
        self._prefixes = prefixes
        self._held: dict[int, list[int]] = {}
        self._released: deque[int] = deque()

    # -- what earlier sessions did ---------------------------------------------------------------------------

    def recall_attempts(self, attempts: Mapping[int, int]) -> None:
        """Take over the number of the newest attempt of each open trial that has one."""
        self._attempts = dict(attempts)

    # -- what is to be done ----------------------------------------------------------------------------------

    @property
    def open_count(self) -> int:
        """Return how many trials are not final."""
        return self._done.count(0)

    def is_finished(self, ordinal: int) -> bool:
        """Return whether a trial is final."""
        return bool(self._done[ordinal])

    @property
    def nothing_waits(self) -> bool:
        """Return whether every open trial has been handed out."""
        if self._retries or self._released or self._held:
            return False
        while self._cursor < len(self._line) and self._done[self._line[self._cursor]]:
            self._cursor += 1
        return self._cursor == len(self._line)

    @property
    def next_retry_at(self) -> float | None:
        """Return when the first retry is due, by the monotonic clock."""
        return self._retries[0][0] if self._retries else None

    def open_trials(self) -> Iterator[tuple[Trial, int]]:
        """Yield each trial that is not final and the number its next attempt would have."""
        for ordinal in range(len(self._plan)):
            if not self._done[ordinal]:
                yield self._plan.trial(ordinal), self._attempts.get(ordinal, 0) + 1

    def next_order(self, now: float) -> Order | None:
        """Hand out the next attempt: a retry that is due, else the next open trial, else None."""
        if self._retries and self._retries[0][0] <= now:
            return self._order(heapq.heappop(self._retries)[1])
        if self._released:
            return self._order(self._released.popleft())
        while self._cursor < len(self._line):
            ordinal = self._line[self._cursor]
            self._cursor += 1
            if not self._done[ordinal] and not self._is_held(ordinal):
                return self._order(ordinal)
        return None

    # -- what happened ---------------------------------------------------------------------------------------

    def finish(self, ordinal: int) -> None:
        """Close a trial for good."""
        self._done[ordinal] = 1
        self._attempts.pop(ordinal, None)
        self._errors.pop(ordinal, None)
        if self._prefixes is not None:
            self._prefixes.finish(ordinal)
            self._released.extend(self._held.pop(ordinal, ()))

    def take_back(self, order: Order) -> None:
        """Forget an order that was never begun."""
        self._attempts[order.ordinal] -= 1

    def retry(self, ordinal: int, at: float) -> None:
        """Hand the trial out again at ``at``."""
        heapq.heappush(self._retries, (at, ordinal))

    def count_error(self, ordinal: int) -> int:
        """Count an attempt that the place failed, and return how many the trial has had.

        Attempts that were interrupted are no failures of the place and use up no retry.
        """
        self._errors[ordinal] += 1
        return self._errors[ordinal]

    def _is_held(self, ordinal: int) -> bool:
        """Put the trial aside if it is to begin where another one will have got to."""
        if self._prefixes is None:
            return False
        awaited = self._prefixes.waits_for(ordinal)
        if awaited is None or self._done[awaited]:
            return False
        self._held.setdefault(awaited, []).append(ordinal)
        return True

    def _order(self, ordinal: int) -> Order:
        trial = self._plan.trial(ordinal)
        attempt = self._attempts[ordinal] = self._attempts.get(ordinal, 0) + 1
        order = Order(
            trial_id=trial.id,
            ordinal=ordinal,
            combination=trial.combination.name,
            variants=trial.combination.variants,
            case=trial.case.name,
            repeat=trial.repeat,
            attempt=attempt,
            epoch=self._epoch,
            # The epoch keeps an attempt that died unrecorded apart from the one that takes its number.
            thread_id=f"{self._batch_id}/{trial.id}#{attempt}@{self._epoch}",
            state=self._plan.input_for(trial.case),
            expected=trial.case.expected,
            weight=trial.case.weight,
            deadline_seconds=trial.case.deadline_seconds,
            keep=self._keep,
            fork=None if self._fork_point is None else self._fork_point(ordinal),
            answers=tuple(asdict(answer) for answer in trial.case.answers),
        )
        return order if self._prefixes is None else self._prefixes.equipped(order)
