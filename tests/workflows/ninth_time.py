"""A workflow that uses very much the ninth time that it runs; the input says where it notes its times."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

import batchyard

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(TypedDict, total=False):
    """Where to note it."""

    notes: str


def _spend(state: State) -> None:
    notes = Path(state["notes"])
    times = len(notes.read_text()) if notes.exists() else 0
    notes.write_text("x" * (times + 1))
    batchyard.report(tokens=1000 if times == 8 else 1)


def build(variants: Mapping[str, str]) -> StateGraph[Any, Any, Any, Any]:
    """Return the one node."""
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    graph.add_node("spend", _spend)
    graph.add_edge(START, "spend")
    graph.add_edge("spend", END)
    return graph
