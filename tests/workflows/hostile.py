"""A workflow whose middle node misbehaves as the variant ``act`` says: for the tests of deadlines and clean-up.

Never run an act in the test's own process: most of them end only by a KILL. An input's ``pids`` names a folder where
every process of an act leaves a file ``<act>-<pid>`` first (``<act>-grandchild-<pid>`` for those it left behind).
"""

from __future__ import annotations

import asyncio
import ctypes
import operator
import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Protocol

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GRANDCHILDREN = 2

_EVER = 1_000_000
_MEBIBYTE = 1024**2
_SIG_IGN = 1


class State(TypedDict, total=False):
    """``visited`` has the nodes that ended; ``made`` is whatever the act returns."""

    pids: str
    visited: Annotated[list[str], operator.add]
    made: Any


class UnknownAct(ValueError):
    """The variant ``act`` is none of ``ACTS``."""


def build(variants: Mapping[str, str]) -> StateGraph[State, None, State, State]:
    """Return ``before -> act -> after``; after ``recursion`` comes ``act`` again, for ever."""
    act = variants.get("act", "")
    if act not in ACTS:
        raise UnknownAct(f"act: {act!r} is not one of {', '.join(ACTS)}")
    graph: StateGraph[State, None, State, State] = StateGraph(State)
    graph.add_node("before", lambda state: {"visited": ["before"]})
    if act == "slow_async":
        graph.add_node("act", _slow_async)
    else:
        graph.add_node("act", _node(act))
    graph.add_node("after", lambda state: {"visited": ["after"]})
    graph.add_edge(START, "before")
    graph.add_edge("before", "act")
    graph.add_edge("act", "act" if act == "recursion" else "after")
    graph.add_edge("after", END)
    return graph


class _Node(Protocol):
    def __call__(self, state: State) -> State: ...


def _node(act: str) -> _Node:
    def node(state: State) -> State:
        _leave_pid(state, act)
        return {"made": ACTS[act](state), "visited": ["act"]}

    return node


async def _slow_async(state: State) -> State:
    _leave_pid(state, "slow_async")
    await asyncio.sleep(_EVER)
    return {"visited": ["act"]}


# -- acts that only a deadline ends ------------------------------------------------------------------------------


def _ignores_sigterm_and_sleeps(state: State) -> NoReturn:
    _ignore_polite_signals()
    _sleep()


def _sleeps_in_c(state: State) -> None:
    ctypes.CDLL(None).sleep(_EVER)


def _spins(state: State) -> NoReturn:
    while True:
        pass


def _holds_the_gil(state: State) -> None:
    # PyDLL keeps the GIL during the call, so no other thread of this process, and no signal handler, ever runs.
    ctypes.PyDLL(None).sleep(_EVER)


def _forks_grandchildren(state: State) -> NoReturn:
    for _ in range(GRANDCHILDREN):
        _leave_behind(state, "forks_grandchildren")
    _sleep()


def _blocks_in_socket(state: State) -> bytes:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        return ours.recv(1)


def _stops_itself(state: State) -> NoReturn:
    os.kill(os.getpid(), signal.SIGSTOP)
    _sleep()


def _kills_parent(state: State) -> NoReturn:
    os.kill(os.getppid(), signal.SIGKILL)
    _sleep()


def _eats_memory(state: State) -> NoReturn:
    eaten: list[bytes] = []
    while True:
        eaten.append(b"\xff" * (16 * _MEBIBYTE))  # not zeros: those the kernel hands out without touching a page


# -- acts that end by themselves ---------------------------------------------------------------------------------


def _os_exit(state: State) -> NoReturn:
    os._exit(7)


def _raises(state: State) -> NoReturn:
    raise ValueError("raised on purpose")


def _unserialisable(state: State) -> object:
    return [threading.Lock(), lambda: None]


def _prints_gigabytes(state: State) -> NoReturn:
    line = b"x" * (_MEBIBYTE - 1) + b"\n"
    while True:
        os.write(1, line)


def _interrupts(state: State) -> object:
    return interrupt("may I go on?")


def _daemon_left_behind(state: State) -> int:
    return _leave_behind(state, "daemon_left_behind")


def _blocks_sigterm_in_threads(state: State) -> None:
    def linger() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
        _sleep()

    for _ in range(2):
        threading.Thread(target=linger, daemon=False).start()


def _ok(state: State) -> str:
    return "ok"


ACTS: Mapping[str, Callable[[State], object]] = {
    "ignores_sigterm_and_sleeps": _ignores_sigterm_and_sleeps,
    "sleeps_in_c": _sleeps_in_c,
    "spins": _spins,
    "holds_the_gil": _holds_the_gil,
    "forks_grandchildren": _forks_grandchildren,
    "blocks_in_socket": _blocks_in_socket,
    "stops_itself": _stops_itself,
    "kills_parent": _kills_parent,
    "eats_memory": _eats_memory,
    "slow_async": _slow_async,
    "os_exit": _os_exit,
    "raises": _raises,
    "recursion": _ok,
    "unserialisable": _unserialisable,
    "prints_gigabytes": _prints_gigabytes,
    "interrupts": _interrupts,
    "daemon_left_behind": _daemon_left_behind,
    "blocks_sigterm_in_threads": _blocks_sigterm_in_threads,
    "ok": _ok,
}


# -- what they are made of ---------------------------------------------------------------------------------------


def _leave_pid(state: State, name: str) -> None:
    if folder := state.get("pids"):
        Path(folder, f"{name}-{os.getpid()}").write_text(str(os.getpid()), encoding="ascii")


def _ignore_polite_signals() -> None:
    # By way of C, since Python's own signal() works in the main thread only and a node may run in any.
    for polite in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        ctypes.CDLL(None).signal(int(polite), ctypes.c_void_p(_SIG_IGN))


def _sleep() -> NoReturn:
    while True:
        threading.Event().wait(_EVER)


def _leave_behind(state: State, name: str) -> int:
    """Start a process in a session of its own whose parent is gone; return its pid once it has left its file."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        _live_on(state, name, tell)
    os.close(tell)
    os.waitpid(child, 0)
    with os.fdopen(told) as answer:
        return int(answer.read())


def _live_on(state: State, name: str, tell: int) -> NoReturn:
    # A fork must never return into the graph, whatever goes wrong in it.
    try:
        os.setsid()
        if os.fork() == 0:
            _ignore_polite_signals()
            _leave_pid(state, f"{name}-grandchild")
            os.write(tell, str(os.getpid()).encode())
            os.close(tell)
            while True:
                ctypes.CDLL(None).sleep(_EVER)
    finally:
        os._exit(0)
