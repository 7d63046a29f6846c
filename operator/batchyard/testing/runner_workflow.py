"""The workflow that ``runner_conformance`` runs: three plain functions in order, whatever framework runs them.

Wire ``NODES`` into a graph of the framework, or hand them to the in-memory adapter. What the middle node does is said
by the state, so that one workflow serves every test.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import batchyard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LONGEST_WAIT_SECONDS = 60.0


def _before(_state: dict[str, Any]) -> None:
    return None


def _act(state: dict[str, Any]) -> dict[str, Any]:
    """Log the begin to ``log``, report ``tokens``, take ``seconds``, wait for the file ``until``, raise ``error``.

    Tells what is seen.
    """
    _log(state, "begin")
    batchyard.report(tokens=state.get("tokens"))
    threading.Event().wait(state.get("seconds", 0))
    if "until" in state:
        _await_file(Path(state["until"]))
    if "error" in state:
        raise ValueError(state["error"])
    return {
        "cwd": str(Path.cwd()),
        "variables": {name: os.path.expandvars(f"${name}") for name in state.get("variables", ())},
        "seen": {**state.get("seen", {}), state["name"]: True},
    }


def _after(state: dict[str, Any]) -> None:
    _log(state, "end")


NODES: Mapping[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
    "before": _before,
    "act": _act,
    "after": _after,
}


def _log(state: dict[str, Any], what: str) -> None:
    if "log" not in state:
        return
    # One write with O_APPEND: lines of several processes never mix.
    fd = os.open(state["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, f"{what} {state['name']}\n".encode())
    finally:
        os.close(fd)


def _await_file(path: Path) -> None:
    pause = threading.Event()
    for _ in range(round(_LONGEST_WAIT_SECONDS / 0.005)):
        if path.exists():
            return
        pause.wait(0.005)
