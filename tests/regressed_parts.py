"""Worker parts whose workflows do what once got past a worker or its keeper; ``regressed_parts:RegressedParts``.

For ``unit/test_regressions_processes.py``. Besides the acts of ``plain_acts`` and some of its own, a variant ``build``
says what the factory does: ``looks`` (it needs the current folder) or ``helps`` (it starts a process, once).
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from batchyard.workflows.in_memory import InMemoryStateAdapter, InMemoryWorkflow
from plain_acts import ACTS
from plain_parts import PlainParts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.engine.ports import StateAdapter
    from batchyard.runners.worker import Setup

_SYS_EXIT = 60 if os.uname().machine == "x86_64" else 93
"""The number of exit(2), which ends the calling thread only."""

_HALF_ENDED = f"""
import ctypes, os, subprocess, sys, threading
child = subprocess.Popen(["sleep", "1000000"])
threading.Thread(target=threading.Event().wait).start()
with open(sys.argv[1], "a") as pids:
    pids.write(f"{{os.getpid()}}\\n{{child.pid}}\\n")
ctypes.CDLL(None).syscall({_SYS_EXIT}, 0)
"""

_helpers: list[subprocess.Popen[bytes]] = []


class RegressedParts(PlainParts):
    """See the module."""

    def adapter(self, setup: Setup) -> StateAdapter:
        """Return the adapter that keeps everything in memory."""
        return InMemoryStateAdapter(_build)


def _build(variants: Mapping[str, str]) -> InMemoryWorkflow:
    seen: dict[str, Any] = {}
    match variants.get("build"):
        case "looks":
            seen["built in"] = str(Path.cwd())
        case "helps":
            if not _helpers:
                _helpers.append(subprocess.Popen(["sleep", "1000000"]))
            seen["helper"] = _helpers[0].pid
    act = _OWN_ACTS.get(variants["act"]) or ACTS[variants["act"]]
    return InMemoryWorkflow({"built": lambda _state: seen, "act": act})


def _starts_a_half_ended_process(state: dict[str, Any]) -> NoReturn:
    """Leave a process whose first thread has ended, though another runs, and its child."""
    subprocess.Popen([sys.executable, "-c", _HALF_ENDED, state["pids"]], start_new_session=True)
    while True:
        threading.Event().wait()


def _half_ends(state: dict[str, Any]) -> NoReturn:
    """End the worker's own first thread while another runs."""
    Path(state["pids"]).write_text(f"{os.getpid()}\n")
    threading.Thread(target=threading.Event().wait).start()
    ctypes.CDLL(None).syscall(_SYS_EXIT, 0)
    raise AssertionError("unreachable")


_OWN_ACTS = {"starts-half-ended": _starts_a_half_ended_process, "half-ends": _half_ends}
