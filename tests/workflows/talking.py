"""A workflow that logs and then raises, for tests of what becomes of a trial's own words."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

WORDS = "a word of the workflow's"


class State(TypedDict, total=False):
    """``said`` counts the words."""

    said: int


def build(_variants: Mapping[str, str]) -> StateGraph[State, None, State, State]:
    """Return the graph; any variants will do."""
    graph: StateGraph[State, None, State, State] = StateGraph(State)
    graph.add_node("speak", _speak)
    graph.add_node("break", _break)
    graph.add_edge(START, "speak")
    graph.add_edge("speak", "break")
    graph.add_edge("break", END)
    return graph


def _speak(state: State) -> State:
    logging.getLogger("talking").warning(WORDS)
    return {"said": state.get("said", 0) + 1}


def _break(state: State) -> State:
    raise RuntimeError(f"after {state['said']}")
