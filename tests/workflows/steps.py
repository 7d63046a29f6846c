"""A LangGraph workflow of three nodes that notes in a file which of them ran; the second does what its state says."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from batchyard.testing.runner_workflow import NODES

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(TypedDict, total=False):
    """``log`` is the file; ``until`` a file that node ``two`` waits for; ``asks`` a question; ``error`` is raised.

    With variant ``last: again`` it is not waited for: ``two`` comes again while it is not there.
    """

    log: str
    until: str
    asks: str
    error: str
    seen: Annotated[list[str], operator.add]


def build(variants: Mapping[str, str]) -> StateGraph[State, None, State, State]:
    """Return ``one -> two -> three``; with variant ``last: other`` the last node has another name."""
    graph: StateGraph[State, None, State, State] = StateGraph(State)
    names = ["one", "two", "other" if variants["last"] == "other" else "three"]
    again = variants["last"] == "again"
    for name in names:
        graph.add_node(name, _noting(name, waits=not again))
    for before, after in zip([START, *names], [*names, END], strict=True):
        if again and before == "two":
            graph.add_conditional_edges("two", _again_or_on, ["two", "three"])
        else:
            graph.add_edge(before, after)
    return graph


def _again_or_on(state: State) -> str:
    return "two" if "until" in state and not Path(state["until"]).exists() else "three"


def _noting(name: str, *, waits: bool) -> Any:
    def note(state: State) -> dict[str, Any]:
        with Path(state["log"]).open("a") as file:
            file.write(f"{name}\n")
        if name == "two":
            if "error" in state:
                raise ValueError(state["error"])
            if "asks" in state:
                return {"seen": [str(interrupt(state["asks"]))]}
            if waits and "until" in state:
                NODES["act"]({"until": state["until"], "name": name})
        return {"seen": [name]}

    return note
