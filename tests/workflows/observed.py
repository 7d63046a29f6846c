"""A LangGraph workflow that does what its state says and can be watched from outside, by its log and its output.

The nodes are those of ``testing.runner_workflow``; ``log`` gets a line ``begin <combination>/<name>`` and one for the
end. Besides, ``leak`` names a variable whose value goes into an exception's text.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from batchyard.testing.runner_workflow import NODES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class State(TypedDict, total=False):
    """What ``runner_workflow`` reads and returns, and ``leak``."""

    name: str
    log: str
    seconds: float
    until: str
    error: str
    leak: str
    variables: list[str]
    cwd: str
    seen: dict[str, Any]
    prints: str
    writes: str
    found: list[str]


def build(variants: Mapping[str, str]) -> StateGraph[State, None, State, State]:
    """Return ``before -> act -> after``; the variants only show in the log and the output."""
    graph: StateGraph[State, None, State, State] = StateGraph(State)
    which = "-".join(variants.values())
    for name, node in NODES.items():
        graph.add_node(name, _named(node, which))
    graph.add_edge(START, "before")
    graph.add_edge("before", "act")
    graph.add_edge("act", "after")
    graph.add_edge("after", END)
    return graph


def _named(node: Callable[[dict[str, Any]], dict[str, Any] | None], which: str) -> Any:
    def run(state: State) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if node is NODES["act"]:
            found["found"] = sorted(entry.name for entry in Path().iterdir())
            _leave_traces(state)
        return {**(node({**state, "name": f"{which}/{state['name']}"}) or {}), **found}

    return run


def _leave_traces(state: State) -> None:
    if "writes" in state:
        Path(state["writes"]).write_text("mine")
    if "prints" in state:
        print(state["prints"], flush=True)  # noqa: T201
    if "leak" in state:
        raise ValueError(f"refused: {os.path.expandvars('$' + state['leak'])}")
