"""The graph every contender runs: a chain of nodes that add one and do nothing else.

Written for the benchmark alone, so that a peer's interpreter can import it with nothing but langgraph installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from langgraph.graph import END, START, StateGraph

if TYPE_CHECKING:
    from collections.abc import Mapping

NODES = 5


class Count(TypedDict):
    """How many nodes have run."""

    n: int


def step(state: Count) -> Count:
    """Count one node."""
    return {"n": state["n"] + 1}


def chain(length: int) -> StateGraph[Any, Any, Any, Any]:
    """Return an uncompiled chain of ``length`` nodes."""
    graph = StateGraph(Count)
    names = [f"node{index}" for index in range(length)]
    for name in names:
        graph.add_node(name, step)
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph


def build(variants: Mapping[str, str]) -> StateGraph[Any, Any, Any, Any]:
    """Return the five-node graph, whatever the variants."""
    del variants
    return chain(NODES)


def build_one(variants: Mapping[str, str]) -> StateGraph[Any, Any, Any, Any]:
    """Return a graph of a single node, for the run of 100,000 trials."""
    del variants
    return chain(1)
