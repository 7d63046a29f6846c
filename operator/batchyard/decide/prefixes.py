"""Which trials of the same case and repeat may share the beginning of their runs, and how far. Pure.

What a node is made of was reduced to a fingerprint before (``workflows.fingerprints``). Two combinations share a run up
to a step boundary if every node that ran before it has the same fingerprint in both.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from batchyard.model.trial import AttemptResult, NodeBoundary

SHARED = "shared"
"""The status of a node's run that belongs to another trial's."""

START = "__start__"
"""What stands for the graph itself: its state's schema, and where a run begins. Without it nothing is shared."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One combination's workflow, as sharing sees it.

    ``marks`` has the fingerprint of ``START`` and of each node that may be shared; ``leads_to`` where a run may go from
    there.
    """

    marks: Mapping[str, str] = field(default_factory=dict)
    leads_to: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def agreed(one: Mapping[str, str], other: Mapping[str, str]) -> frozenset[str]:
    """Return the nodes that are the same in both; none if the graphs begin differently."""
    same = frozenset(node for node, mark in one.items() if other.get(node) == mark)
    return same if START in same else frozenset()


def shared_part(boundaries: Iterable[NodeBoundary], same: Collection[str]) -> tuple[NodeBoundary, ...]:
    """Return the beginning of a run in which only these nodes ran, up to a step boundary that is durable."""
    if START not in same:
        return ()
    shared: list[NodeBoundary] = []
    for _, group in groupby(sorted(boundaries, key=attrgetter("step")), key=attrgetter("step")):
        step = list(group)
        if any(_unusable(boundary) or boundary.node not in same for boundary in step):
            break
        shared += step
    return tuple(shared)


def offered(boundaries: Sequence[NodeBoundary], wanted: Iterable[Collection[str]]) -> tuple[NodeBoundary, ...]:
    """Return the beginning of a run that one of the trials waiting for it can use: the longest for any of them.

    The last step is nobody's to share, so that every trial shows its final state in the same way: by running to it.
    """
    last = max((boundary.step for boundary in boundaries), default=0)
    before = [boundary for boundary in boundaries if boundary.step < last]
    return max((shared_part(before, same) for same in wanted), key=len, default=())


def as_shared(boundaries: Iterable[NodeBoundary]) -> tuple[NodeBoundary, ...]:
    """Return node runs as a trial tells them that did not run them itself."""
    return tuple(replace(boundary, status=SHARED) for boundary in boundaries)


def seconds_of(shared: Iterable[NodeBoundary]) -> float:
    """Return how long a beginning took: of nodes that ran side by side the longest counts."""
    steps = groupby(shared, key=attrgetter("step"))
    return sum((max(boundary.duration_seconds for boundary in group) for _, group in steps), 0.0)


def own_part(result: AttemptResult) -> tuple[NodeBoundary, ...]:
    """Return the node runs of an attempt that were not shared."""
    return tuple(boundary for boundary in result.boundaries if boundary.status != SHARED)


def own_seconds(result: AttemptResult) -> float:
    """Return how long an attempt took without what other trials ran for it."""
    shared = [boundary for boundary in result.boundaries if boundary.status == SHARED]
    return result.duration_seconds - seconds_of(shared) if shared else result.duration_seconds


class Agreement:
    """How far the combinations of a batch agree, two by two; they are named by their place in the plan."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        """Compare these workflows, one a combination. Workflows that look the same are compared once."""
        kinds: dict[tuple[tuple[str, str], ...], int] = {}
        self._kind = [kinds.setdefault(tuple(sorted(shape.marks.items())), len(kinds)) for shape in shapes]
        self._shapes = shapes
        self._depths: dict[tuple[int, int], int] = {}
        self._leaders = [self._find_leaders(index) for index in range(len(shapes))]
        self._followers: dict[int, list[int]] = {}
        for index, leaders in enumerate(self._leaders):
            if leaders:
                self._followers.setdefault(leaders[0], []).append(index)

    def shared_nodes(self) -> frozenset[str]:
        """Return the nodes that some two combinations have in common on their way from the start."""
        pairs = ((leaders[0], index) for index, leaders in enumerate(self._leaders) if leaders)
        return frozenset(
            node
            for leader, index in pairs
            for node in _reached(self._shapes[leader].leads_to, self.same(leader, index))
        )

    def leaders(self, index: int) -> Sequence[int]:
        """Return the combinations before this one that it may follow: first the one that goes along the longest."""
        return self._leaders[index]

    def followers(self, index: int) -> Sequence[int]:
        """Return the combinations of which this one is the first leader."""
        return self._followers.get(index, ())

    def same(self, one: int, other: int) -> frozenset[str]:
        """Return the nodes that two combinations have in common."""
        return agreed(self._shapes[one].marks, self._shapes[other].marks)

    def _find_leaders(self, index: int) -> tuple[int, ...]:
        depths = [(-self._depth(earlier, index), earlier) for earlier in range(index)]
        return tuple(earlier for depth, earlier in sorted(depths) if depth)

    def _depth(self, one: int, other: int) -> int:
        """Return how many nodes a run may reach without leaving what both have in common."""
        kinds = (self._kind[one], self._kind[other])
        if kinds not in self._depths:
            self._depths[kinds] = len(_reached(self._shapes[one].leads_to, self.same(one, other)))
        return self._depths[kinds]


def _reached(leads_to: Mapping[str, tuple[str, ...]], same: frozenset[str]) -> set[str]:
    reached, due = set[str](), [START] if START in same else []
    while due:
        node = due.pop()
        if node not in reached:
            reached.add(node)
            due += [follower for follower in leads_to.get(node, ()) if follower in same]
    return reached - {START}


def _unusable(boundary: NodeBoundary) -> bool:
    return boundary.status not in ("completed", SHARED) or boundary.exit_checkpoint is None
