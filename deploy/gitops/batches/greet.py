"""A workflow of one node that greets somebody, in two styles."""

from collections.abc import Mapping
from typing import TypedDict

from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    """Whom to greet, and how it was done."""

    name: str | None
    text: str


def build(variants: Mapping[str, str]) -> StateGraph[State]:
    """Return the graph for one style."""
    words = {"plain": "Hello {}", "warm": "Hello {}, good to see you"}[variants["style"]]
    graph = StateGraph(State)
    graph.add_node("greet", lambda state: {"text": words.format(state.get("name") or "whoever you are")})
    graph.add_edge(START, "greet")
    graph.add_edge("greet", END)
    return graph
