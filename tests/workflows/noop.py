"""A workflow of five nodes that do next to nothing: for throughput, checkpoints, resuming and other plain runs."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Annotated, Protocol

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

NODES = ("one", "two", "three", "four", "five")


class State(TypedDict, total=False):
    """``count`` rises by 1 a node, ``path`` grows by the node's name; ``variants`` says how the graph was built."""

    case: str
    variants: dict[str, str]
    count: Annotated[int, operator.add]
    path: Annotated[list[str], operator.add]


def build(variants: Mapping[str, str]) -> StateGraph[State, None, State, State]:
    """Return the graph; any variants will do, they only show in the final state."""
    graph: StateGraph[State, None, State, State] = StateGraph(State)
    for name in NODES:
        graph.add_node(name, _step(name, dict(variants)))
    for here, there in zip([START, *NODES], [*NODES, END], strict=True):
        graph.add_edge(here, there)
    return graph


class _Step(Protocol):
    def __call__(self, state: State) -> State: ...


def _step(name: str, variants: dict[str, str]) -> _Step:
    def step(state: State) -> State:
        return {"count": 1, "path": [name], "variants": variants}

    return step
