"""A workflow that says the same everywhere or, in variant ``process``, which process it ran in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(TypedDict, total=False):
    """A case and what is told of it."""

    case: str
    told: str
    metrics: dict[str, float]


def build(variants: Mapping[str, str]) -> StateGraph[State, None, State, State]:
    """Return one node that tells what its variant asks for."""

    def tell(state: State) -> dict[str, Any]:
        told = state["case"] if variants["tells"] == "case" else f"process {os.getpid()}"
        return {"told": told, "metrics": {"words": len(told.split()), "latency_ms": os.getpid()}}

    graph: StateGraph[State, None, State, State] = StateGraph(State)
    graph.add_node("tell", tell)
    graph.add_edge(START, "tell")
    graph.add_edge("tell", END)
    return graph
