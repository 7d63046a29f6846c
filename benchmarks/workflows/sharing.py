"""A chain of ten nodes, the eighth of which differs between variants. Each waits as its input says, and is counted."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, TypedDict

from langgraph.graph import END, START, StateGraph

if TYPE_CHECKING:
    from collections.abc import Mapping

NODES = tuple(f"n{number}" for number in range(1, 11))
BRANCH = "n8"


class State(TypedDict, total=False):
    """``log`` gets a byte for each node that runs; each takes ``seconds``."""

    log: str
    seconds: float
    said: str


def build(variants: Mapping[str, str]) -> StateGraph[State, None, State, State]:
    """Return the chain."""
    graph: StateGraph[State, None, State, State] = StateGraph(State)
    for name in NODES:
        graph.add_node(name, _node(variants["prompt"] if name == BRANCH else ""))
    for one, other in zip((START, *NODES), (*NODES, END), strict=True):
        graph.add_edge(one, other)
    return graph


def _node(says: str) -> Any:
    def run(state: State) -> dict[str, Any]:
        log = os.open(state["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, b".")
        os.close(log)
        if state["seconds"]:
            threading.Event().wait(state["seconds"])
        return {"said": says or state.get("said", "")}

    return run
