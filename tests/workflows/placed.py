"""A workflow that says the same everywhere or, in the variants ``process`` and ``host``, where it ran."""

from __future__ import annotations

import os
import socket
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
        match variants["tells"]:
            case "process":
                told = f"process {os.getpid()}"
            case "host":
                told = f"host {socket.gethostname()}"
            case _:
                told = state["case"]
        return {"told": told, "metrics": {"words": len(told.split()), "latency_ms": os.getpid()}}

    graph: StateGraph[State, None, State, State] = StateGraph(State)
    graph.add_node("tell", tell)
    graph.add_edge(START, "tell")
    graph.add_edge("tell", END)
    return graph
