"""A LangGraph workflow for faults that only whole runs showed; the variant ``act`` says what its node does.

``needs``: the factory itself needs the variable ``INDEX``, with a value of its side's own. ``leaks-built``: the factory
raises with the value of ``API_KEY``. ``leaks``: the node raises ``length`` characters and that value. ``tells-thread``:
the node tells the thread that it runs in. ``ends-on-term``: the node makes the file ``begun`` and ends by raising when
TERM comes; if the file is there already, it passes.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from langgraph.config import get_config
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(TypedDict, total=False):
    """What the acts read, and what ``needs`` was built with."""

    name: str
    length: int
    begun: str
    index: str


def build(variants: Mapping[str, str]) -> StateGraph[State, None, State, State]:
    """Return a graph of one node."""
    act = variants["act"]
    index = os.path.expandvars("$INDEX")
    if act == "needs" and index != f"of {variants['side']}":
        raise KeyError("INDEX")
    if act == "leaks-built":
        raise ValueError(f"refused: {_key()}")
    acts: Mapping[str, Any] = {"leaks": _leak, "ends-on-term": _end_on_term, "tells-thread": _tell_thread}
    graph: StateGraph[State, None, State, State] = StateGraph(State)
    graph.add_node("act", acts.get(act, lambda _state: {"index": index}))
    graph.add_edge(START, "act")
    graph.add_edge("act", END)
    return graph


def _leak(state: State) -> NoReturn:
    raise RuntimeError("x" * state["length"] + _key() + " was refused")


def _tell_thread(_state: State) -> State:
    return {"index": get_config()["configurable"]["thread_id"]}


def _end_on_term(state: State) -> State:
    begun = Path(state["begun"])
    if begun.exists():
        return {}

    def end(*_: object) -> NoReturn:
        raise SystemExit(3)

    signal.signal(signal.SIGTERM, end)
    begun.touch()
    while True:
        threading.Event().wait(0.05)


def _key() -> str:
    return os.path.expandvars("$API_KEY")
