"""A chain of counting nodes: each writes its name to the ``log`` of its state, so that a test sees what really ran.

``first`` decides what node ``n4`` does and ``last`` what ``n8`` does; the chain has ten nodes, and one more beside its
first if ``first`` is "extra".
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCK = threading.Lock()
NAMES = tuple(f"n{number}" for number in range(1, 11))


class State(TypedDict, total=False):
    """``dies`` names a node that kills the trial's process, ``fails`` one that raises, ``slow`` one that waits."""

    name: str
    log: str
    dies: str
    fails: str
    slow: str
    path: Annotated[list[str], add]


def build(variants: Mapping[str, str]) -> StateGraph[State, None, State, State]:
    """Return the chain."""
    graph: StateGraph[State, None, State, State] = StateGraph(State)
    chosen = {"n4": variants.get("first", ""), "n8": variants.get("last", "")}
    for name in NAMES:
        graph.add_node(name, _node(name, chosen.get(name, "")))
    graph.add_edge(START, NAMES[0])
    if variants.get("first") == "extra":
        graph.add_node("extra", _node("extra", ""))
        graph.add_edge(START, "extra")
    for one, other in itertools.pairwise(NAMES):
        graph.add_edge(one, other)
    graph.add_edge(NAMES[-1], END)
    return graph


def _node(name: str, variant: str) -> Any:
    def run(state: State) -> dict[str, Any]:
        with Path(state["log"]).open("a") as log:
            log.write(f"{name}\n")
        if state.get("slow") == name:
            threading.Event().wait(0.3)
        if state.get("dies") == f"{name}{variant}":
            os.kill(os.getpid(), signal.SIGKILL)
        if state.get("fails") == f"{name}{variant}":
            raise ValueError(f"{name} refuses")
        return {"path": [f"{name}{variant}"]}

    return run
