"""Graphs of one node that refuses to end, in five ways; for the benchmark of the deadline overrun.

Run these only through a runner that kills: nothing in here ever returns.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Never, TypedDict

from langgraph.graph import END, START, StateGraph

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOREVER = 3600
_SIG_IGN = 1


class Case(TypedDict):
    """Nothing of interest: the node never gives it back."""

    n: int


def _ignore_terminate() -> None:
    # Python's signal.signal works in the main thread only; a workflow's node may run in any.
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal.restype = ctypes.c_void_p
    libc.signal(int(signal.SIGTERM), _SIG_IGN)


def ignore_terminate(state: Case) -> Never:
    """Ignore SIGTERM and sleep."""
    _ignore_terminate()
    while True:
        time.sleep(1)


def sleep_in_c(state: Case) -> Never:
    """Sleep within a C call that has released the interpreter's lock."""
    while True:
        ctypes.CDLL(None).sleep(_FOREVER)


def spin(state: Case) -> Never:
    """Burn a core in pure Python."""
    while True:
        state["n"] += 1


def hold_gil(state: Case) -> Never:
    """Sleep within a C call that keeps the interpreter's lock, so that no other thread of the process runs."""
    while True:
        ctypes.PyDLL(None).sleep(_FOREVER)


def fork_grandchildren(state: Case) -> Never:
    """Start processes in sessions of their own that ignore SIGTERM, then do the same."""
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
    for _ in range(2):
        subprocess.Popen([sys.executable, "-S", "-c", stubborn], start_new_session=True)
    ignore_terminate(state)


KINDS: Mapping[str, Any] = {
    "ignore-terminate": ignore_terminate,
    "sleep-in-c": sleep_in_c,
    "spin": spin,
    "hold-gil": hold_gil,
    "fork-grandchildren": fork_grandchildren,
}


def build(variants: Mapping[str, str]) -> StateGraph[Any, Any, Any, Any]:
    """Return a graph whose only node is hostile in the way that the variant ``kind`` names."""
    graph = StateGraph(Case)
    graph.add_node("hostile", KINDS[variants["kind"]])
    graph.add_edge(START, "hostile")
    graph.add_edge("hostile", END)
    return graph
