"""A workflow of one node that raises for one choice, for tests of who is told which node was at fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(TypedDict, total=False):
    """``case`` is read, ``liked`` written."""

    case: str
    liked: str


def build(variants: Mapping[str, str]) -> StateGraph[State, None, State, State]:
    """Return the graph; of dimension ``a`` it does not like ``x``."""

    def taste(state: State) -> State:
        if variants["a"] == "x":
            raise ValueError("x is not liked")
        return {"liked": state["case"]}

    graph: StateGraph[State, None, State, State] = StateGraph(State)
    graph.add_node("taste", taste)
    graph.add_edge(START, "taste")
    graph.add_edge("taste", END)
    return graph
