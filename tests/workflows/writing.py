"""A workflow of two nodes that add to a file in the trial's folder; the case's ``also`` may name one more to write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

import batchyard

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(TypedDict, total=False):
    """``log`` is what the file has by now."""

    case: str
    also: str
    log: str


def build(variants: Mapping[str, str]) -> StateGraph[State, None, State, State]:
    """Return the graph; any variants will do."""
    del variants
    graph: StateGraph[State, None, State, State] = StateGraph(State)
    for here, there in ((START, "one"), ("one", "two")):
        graph.add_node(there, _writing(there))
        graph.add_edge(here, there)
    return graph


class _Step(Protocol):
    def __call__(self, state: State) -> State: ...


def _writing(name: str) -> _Step:
    def node(state: State) -> State:
        out = batchyard.workspace() / "out"
        out.mkdir(exist_ok=True)
        with (out / "log").open("a") as log:
            log.write(f"{state['case']} {name}\n")
        if "also" in state:
            (out / state["also"]).write_text("x" * 2000)
        return {"log": (out / "log").read_text()}

    return node
