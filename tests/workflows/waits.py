"""A workflow that takes as long as its case says: for tests that do something to a batch while it runs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(TypedDict, total=False):
    """``seconds`` is how long each of the two nodes takes; ``done`` counts them."""

    seconds: float
    done: int


def build(variants: Mapping[str, str]) -> StateGraph[State, None, State, State]:
    """Return the graph; any variants will do."""
    del variants
    graph: StateGraph[State, None, State, State] = StateGraph(State)
    graph.add_node("first", _wait)
    graph.add_node("second", _wait)
    graph.add_edge(START, "first")
    graph.add_edge("first", "second")
    graph.add_edge("second", END)
    return graph


def _wait(state: State) -> State:
    threading.Event().wait(state.get("seconds", 0.0))
    return {"done": state.get("done", 0) + 1}
