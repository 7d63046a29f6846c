"""A LangGraph workflow that says what the package ``motto`` has to say, whichever version of it there is."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(TypedDict, total=False):
    """What is found where the trial runs."""

    name: str
    text: str
    prefix: str
    variable: str


def build(_variants: Mapping[str, str]) -> StateGraph[State, None, State, State]:
    """Return a graph of one node; the package is imported when it is built."""
    motto = importlib.import_module("motto")

    def quote(state: State) -> dict[str, Any]:
        return {
            "name": state["name"],
            "text": motto.TEXT,
            "prefix": sys.prefix,
            "variable": os.path.expandvars("$MOTTO"),
        }

    graph: StateGraph[State, None, State, State] = StateGraph(State)
    graph.add_node("quote", quote)
    graph.add_edge(START, "quote")
    graph.add_edge("quote", END)
    return graph
