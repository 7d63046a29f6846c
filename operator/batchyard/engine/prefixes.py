"""Which trials of a batch wait for another one, what they begin with, and what is kept for them meanwhile.

One object a session, called by the loop's thread alone. Trials of the same case and repeat are a cell; the first of a
cell that gets anywhere leads the others. Not for deciding who agrees with whom: ``decide.prefixes`` does.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import structlog

from batchyard.decide.prefixes import START, Agreement, Shape, agreed, shared_part
from batchyard.engine.attempts import Beginning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchyard.engine.attempts import Ended, Order, Prefix
    from batchyard.model.matrix import Plan
    from batchyard.model.trial import JSON

_ALONE = "no two combinations agree on it and on all nodes before it, which must be declared too"
_log = structlog.get_logger(__name__)

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class KeptPrefix:
    """The beginning of a run, and the fingerprints of the workflow that ran it."""

    prefix: Prefix
    marks: Mapping[str, str]


class PrefixKeeper(Protocol):
    """Keeps beginnings of runs by the trial that made them, so that they outlive a session. All may be lost."""

    def keep(self, ordinal: int, kept: KeptPrefix) -> None:
        """Keep one. Raises ``OSError`` if it cannot be kept."""
        ...

    def get(self, ordinal: int) -> KeptPrefix | None:
        """Return one, None if it is not there or damaged."""
        ...

    def known(self) -> Sequence[int]:
        """Return the trials of which one is kept."""
        ...

    def drop(self, ordinal: int) -> None:
        """Forget one; nothing happens if it is not there."""
        ...


class SharedPrefixes:
    """What one session knows of shared beginnings."""

    def __init__(
        self,
        plan: Plan,
        shapes: Sequence[Shape],
        keeper: PrefixKeeper,
        not_shared: Mapping[str, str] = NOTHING,
    ) -> None:
        """``shapes`` has one entry a combination, in the plan's order; ``not_shared`` says why nodes are not shared."""
        self._not_shared = not_shared
        self._agreement, self._shapes, self._keeper = Agreement(shapes), shapes, keeper
        self._plan = plan
        self._cells = len(plan.cases) * plan.repeats
        self._count = len(plan.combinations)
        self._kept: dict[int, set[int]] = {}
        self._finished: dict[int, set[int]] = {}
        self._ended_before: dict[int, frozenset[int]] = {}
        for ordinal in keeper.known():
            combination, cell = divmod(ordinal, self._cells)
            self._kept.setdefault(cell, set()).add(combination)

    def told(self) -> dict[str, JSON]:
        """Return which nodes are shared by any two combinations, and why others that were declared are not."""
        shared = self._agreement.shared_nodes()
        marked = {node for shape in self._shapes for node in shape.marks if node != START}
        if START in self._not_shared:
            marked.clear()  # it says why
        alone = dict.fromkeys(sorted(marked - shared), _ALONE)
        details: dict[str, JSON] = {"shared": sorted(shared)}
        if not_shared := {**alone, **self._not_shared}:
            details["notShared"] = not_shared
        return details

    def begin(self) -> None:
        """Hear that all that was finished so far was finished by earlier sessions, or in a batch that this one amends.

        A trial of theirs leads others only by what it left.
        """
        for cell, finished in self._finished.items():
            self._ended_before[cell] = frozenset(finished)

    def waits_for(self, ordinal: int) -> int | None:
        """Return the trial that this one follows, whose end it waits for; None if there is none or none is needed."""
        combination, cell = divmod(ordinal, self._cells)
        leader = self._leader(combination, cell)
        return None if leader is None or leader in self._kept.get(cell, ()) else leader * self._cells + cell

    def equipped(self, order: Order) -> Order:
        """Return the order with what its trial begins with, and with what others want of it."""
        combination, cell = divmod(order.ordinal, self._cells)
        if not self._shapes[combination].marks:
            return order
        wanted = {self._agreement.same(combination, other) for other in self._followers(combination, cell)}
        share = tuple(sorted(tuple(sorted(nodes)) for nodes in wanted))
        return replace(order, share=share, beginning=self._beginning(combination, cell))

    def ended(self, event: Ended) -> None:
        """Keep what an attempt left for others, if its trial is over."""
        prefix = event.prefix
        if prefix is None:
            return
        combination, cell = divmod(event.result.ordinal, self._cells)
        marks = self._shapes[combination].marks
        try:
            self._keeper.keep(event.result.ordinal, KeptPrefix(prefix, dict(marks)))
        except OSError as err:  # the trials that wait for it run from their beginning
            _log.warning("the beginning of a run cannot be kept", trial=event.result.trial_id, error=str(err))
        else:
            self._kept.setdefault(cell, set()).add(combination)

    def finish(self, ordinal: int) -> None:
        """Hear that a trial is over for good; with the last one of its cell goes what was kept for it."""
        combination, cell = divmod(ordinal, self._cells)
        finished = self._finished.setdefault(cell, set())
        finished.add(combination)
        if len(finished) == self._count:
            del self._finished[cell]
            for combination in self._kept.pop(cell, ()):
                self._keeper.drop(combination * self._cells + cell)
            self._ended_before.pop(cell, None)

    def close(self) -> None:
        """Forget all that is kept: the batch is over."""
        for cell, combinations in self._kept.items():
            for combination in combinations:
                self._keeper.drop(combination * self._cells + cell)
        self._kept.clear()

    def _leader(self, combination: int, cell: int) -> int | None:
        """Return whom a trial follows: of those it may follow the first that can still be of use.

        A script of answers is followed from its beginning by the trial that a graph asks, so it shares nothing.
        """
        if self._answered(cell):
            return None
        kept, gone = self._kept.get(cell, ()), self._ended_before.get(cell, ())
        leaders = self._agreement.leaders(combination)
        return next((leader for leader in leaders if leader in kept or leader not in gone), None)

    def _answered(self, cell: int) -> bool:
        return bool(self._plan.cases[cell // self._plan.repeats].answers)

    def _followers(self, combination: int, cell: int) -> Sequence[int]:
        gone = self._ended_before.get(cell)
        if not gone:
            return self._agreement.followers(combination) if not self._answered(cell) else ()
        later = range(combination + 1, self._count)
        return [other for other in later if other not in gone and self._leader(other, cell) == combination]

    def _beginning(self, combination: int, cell: int) -> Beginning | None:
        leader = self._leader(combination, cell)
        if leader is None or leader not in self._kept.get(cell, ()):
            return None
        kept = self._keeper.get(leader * self._cells + cell)
        if kept is None:
            return None
        shared = shared_part(kept.prefix.boundaries, agreed(kept.marks, self._shapes[combination].marks))
        if not shared:
            return None
        checkpoint = shared[-1].exit_checkpoint or ""
        return Beginning(base64.b64encode(kept.prefix.thread).decode(), checkpoint, shared)
