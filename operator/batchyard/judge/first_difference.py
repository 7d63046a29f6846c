"""Where the runs of two trials part: after which node their states, or the way they took, first differ. Pure.

That is a fact about two runs and no proof of guilt: the node may only have been the first to show what another did.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchyard.model.trial import AttemptResult, NodeBoundary

MOST_NAMES = 5
_LONGEST_NAME = 80


class How(StrEnum):
    """What first tells two runs apart."""

    NODE_FAILED = "NodeFailed"
    NODE_ASKED = "NodeAskedForInput"
    NODE_RUNNING = "NodeRunning"
    STATE = "State"
    PATH = "Path"
    SAME = "SameStates"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Step:
    """The nodes that ended in one step of a run and, if it was kept, the state after it: a digest for each key."""

    nodes: tuple[str, ...]
    state: Mapping[str, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """What first tells a run from another. ``nodes`` are those after which it does, ``keys`` those of the state.

    ``then`` and ``instead`` are the nodes that the two go on to, if they do not take the same way.
    """

    how: How
    nodes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()

    def sentence(self, other: str) -> str:
        """Return it in words, empty if nothing is known; ``other`` is what the other run is called."""
        where = _listed("node", self.nodes)
        match self.how:
            case How.NODE_FAILED:
                return f"{where} failed"
            case How.NODE_ASKED:
                return f"{where} asked for input"
            case How.NODE_RUNNING:
                return f"{where} was ended while it ran"
            case How.STATE if not self.nodes:
                return f"begins from another state than {other} ({_names(self.keys)})"
            case How.STATE:
                return f"first differs from {other} after {where} ({_names(self.keys)})"
            case How.PATH:
                after = f"after {where}" if self.nodes else "at its start"
                ways = f"{_then(self.then)}, not {_then(self.instead)}"
                return f"first differs from {other} {after}: it goes on to {ways}"
            case How.SAME:
                return f"no state at a node boundary differs from {other}"
            case _:
                return ""


def broken_node(result: AttemptResult) -> Difference | None:
    """Return the node that ended a trial by raising, asking or taking too long; None if none did."""
    hows = {"failed": How.NODE_FAILED, "interrupted": How.NODE_ASKED, "running": How.NODE_RUNNING}
    for boundary in reversed(result.boundaries):
        if boundary.status in hows:
            return Difference(hows[boundary.status], (boundary.node,))
    return None


def first_difference(mine: Sequence[Step], other: Sequence[Step]) -> Difference:
    """Return where ``mine`` first differs from ``other``: in a state, as far as both were kept, or in the way taken."""
    after: tuple[str, ...] = ()
    known = bool(mine and other)
    for one, base in zip_longest(mine, other, fillvalue=Step(())):
        if sorted(one.nodes) != sorted(base.nodes):
            return Difference(How.PATH, after, (), _once(one.nodes), _once(base.nodes))
        after = _once(one.nodes) or after
        if one.state is None or base.state is None:
            known = False
            continue
        keys = one.state.keys() | base.state.keys()
        differing = tuple(sorted(key for key in keys if one.state.get(key) != base.state.get(key)))
        if differing:
            return Difference(How.STATE, after, differing)
    return Difference(How.SAME if known else How.UNKNOWN)


def steps_of(boundaries: Iterable[NodeBoundary]) -> tuple[Step, ...]:
    """Return the way that a trial took, without states."""
    steps: dict[int, list[str]] = {}
    for one in boundaries:
        if one.status in {"completed", "shared"}:
            steps.setdefault(one.step, []).append(one.node)
    return tuple(Step(tuple(nodes)) for _, nodes in sorted(steps.items()))


def _once(nodes: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sorted(nodes)))


def _then(nodes: Sequence[str]) -> str:
    return _names(nodes) or "the end"


def _listed(noun: str, names: Sequence[str]) -> str:
    return f"{noun}{'' if len(names) == 1 else 's'} {_names(names)}"


def _names(names: Sequence[str]) -> str:
    shown = [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in names[:MOST_NAMES]]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{', '.join(shown)}{more}"
