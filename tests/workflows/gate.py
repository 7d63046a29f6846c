"""A workflow whose node waits for a file: for the tests that look at a batch, or interrupt it, while it runs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(TypedDict, total=False):
    """``open`` names the file that is waited for; ``begun`` one that is made first. Both may be left out."""

    open: str
    begun: str
    answer: str


def build(variants: Mapping[str, str]) -> StateGraph[State, None, State, State]:
    """Return the graph; the answer is the variant ``answer``, if there is one."""
    graph: StateGraph[State, None, State, State] = StateGraph(State)
    answer = variants.get("answer", "")

    def wait(state: State) -> State:
        if begun := state.get("begun"):
            Path(begun).touch()
        if gate := state.get("open"):
            pause = threading.Event()
            while not Path(gate).exists():
                pause.wait(0.02)
        return {"answer": answer}

    graph.add_node("wait", wait)
    graph.add_edge(START, "wait")
    graph.add_edge("wait", END)
    return graph
