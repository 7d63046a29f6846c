"""Nodes that misbehave in one way each, without LangGraph, for tests of workers, keepers and leaders.

What needs a real graph to show is in ``workflows/hostile.py``. Never run an act in the test's own process.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from batchyard.workflows.in_memory import AskForInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.workflows.in_memory import Node

State = dict[str, Any]
_EVER = 1_000_000


def set_up(factory: str) -> None:
    """Do what the factory's name asks of a worker's setup."""
    if factory == "setup-exits":
        print("setup said its last words")  # noqa: T201
        sys.stdout.flush()
        os._exit(9)
    if factory == "setup-raises":
        raise OSError("no room on the device")


def build_up(variants: Mapping[str, str]) -> None:
    """Do what the variant ``build`` asks of the building of a workflow."""
    match variants.get("build"):
        case "hangs":
            if "mark" in variants:
                Path(variants["mark"]).touch()
            _sleep()
        case "exits":
            os._exit(9)
        case "wrong":
            from batchyard.model.errors import WorkflowInvalid

            raise WorkflowInvalid("the factory is wrong")


def log_begin(variants: Mapping[str, str]) -> Node:
    """Return a node that appends which trial begins to the file ``log``."""

    def log(state: State) -> None:
        if "log" in state:
            _append(state["log"], f"{variants.get('act')}/{state['name']}")

    return log


def reckon(variants: Mapping[str, str]) -> Node:
    """Return a node that answers, fails or asks as chance has it, the same chance wherever it runs."""

    def node(state: State) -> State:
        chance = random.Random(f"{sorted(variants.items())} {state['seed']}")  # noqa: S311
        match chance.choice(state["ends"]):
            case "raises":
                raise ValueError(f"no answer to {state['seed']}")
            case "asks":
                raise AskForInput(f"which of {chance.randint(2, 9)}?")
        return {
            "answer": chance.choice(["yes", "no"]),
            "trace": [chance.random() for _ in range(3)],
            "metrics": {"tokens": chance.randint(1, 999), "cost": chance.uniform(0, 1)},
        }

    return node


def leave_mark(state: State) -> None:
    """Append the trial's name to the file ``marks``, in one write."""
    if "marks" in state:
        _append(state["marks"], state["name"])


def _pass(_state: State) -> State:
    return {"pid": os.getpid()}


def _quotes(_state: State) -> State:
    return {"text": importlib.import_module("motto").TEXT, "prefix": sys.prefix}


def _raises(state: State) -> NoReturn:
    raise ValueError(state.get("text", "raised on purpose"))


def _raises_unreadable(_state: State) -> NoReturn:
    class Unreadable(BaseException):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    raise Unreadable


def _exits_politely(_state: State) -> NoReturn:
    sys.exit(3)


def _os_exit(_state: State) -> NoReturn:
    os._exit(7)


def _asks(_state: State) -> NoReturn:
    raise AskForInput("may I?")


def _sleeps(state: State) -> NoReturn:
    if "started" in state:
        _append(state["started"], str(os.getpid()))
    _sleep()


def _sleeps_deaf(_state: State) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _sleep()


def _ends_on_term(_state: State) -> State:
    """Return a result of its own when TERM comes: too late by then."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    while not told.is_set():
        told.wait(0.01)
    return {"answer": "late"}


def _waits(state: State) -> State:
    """Go on once the file ``until`` is there."""
    _append(state["started"], state["name"])
    while not Path(state["until"]).exists():
        threading.Event().wait(0.005)
    return {}


def _stops_itself(_state: State) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _stops_keeper(_state: State) -> NoReturn:
    os.kill(os.getppid(), signal.SIGSTOP)
    _sleep()


def _stops_keeper_and_raises(_state: State) -> NoReturn:
    os.kill(os.getppid(), signal.SIGSTOP)
    raise ValueError("raised on purpose")


def _kills_keeper(state: State) -> NoReturn:
    _leave_behind(state)
    os.kill(os.getppid(), signal.SIGKILL)
    _sleep()


def _leaves_process(state: State) -> None:
    _leave_behind(state)


def _forks_much(state: State) -> NoReturn:
    """Fork 50 processes in sessions of their own, each of which has a child."""
    for _ in range(50):
        if os.fork() == 0:
            os.setsid()
            os.fork()
            _append(state["pids"], str(os.getpid()))
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            _sleep()
    _sleep()


def _prints(state: State) -> None:
    line = b"x" * 1023 + b"\n"
    os.write(1, b"first line\n")
    for _ in range(state.get("kibibytes", 1)):
        os.write(1, line)
    print("last line")  # noqa: T201
    if state.get("then") == "raise":
        raise ValueError("raised on purpose")


def _prints_for_ever(_state: State) -> NoReturn:
    while True:
        os.write(1, b"x" * 65536)


def _closes_streams(_state: State) -> None:
    os.close(1)
    os.close(2)
    sys.stdout = None


def _starts_timer(_state: State) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.05)


def _makes_pipe_of_its_output(_state: State) -> NoReturn:
    os.mkfifo("output.log")
    print("unheard")  # noqa: T201
    raise ValueError("raised on purpose")


def _makes_link_of_its_output(state: State) -> NoReturn:
    Path("output.log").symlink_to(state["target"])
    print("unheard")  # noqa: T201
    raise ValueError("raised on purpose")


def _writes_half_a_frame(_state: State) -> NoReturn:
    _runner_socket().send(struct.pack("!I", 1000) + b"{")
    _sleep()


def _writes_garbage(_state: State) -> NoReturn:
    _runner_socket().send(struct.pack("!I", 5) + b"no...")
    _sleep()


def _announces_too_much(_state: State) -> NoReturn:
    _runner_socket().send(struct.pack("!I", 2**31))
    _sleep()


def _answers_twice(_state: State) -> None:
    body = b'{"op":"ended","executed":{"outcome":"Passed","reason":"","message":"forged"},"left":false}'
    frame = struct.pack("!I", len(body)) + body
    _runner_socket().send(frame + frame)


def _reports_too_much(_state: State) -> State:
    long = "x" * 2**16
    return {"metrics": {f"{long}{n}": n for n in range(1100)}}


def _returns_surrogate(_state: State) -> State:
    return {"text": "\ud800"}


def _returns_huge_integer(_state: State) -> State:
    return {"number": 2**70, "metrics": {"huge": 10**400}}


def _eats(_state: State) -> NoReturn:
    eaten = []
    while True:
        eaten.append(b"\xff" * 2**23)


def _environment(state: State) -> State:
    return {"seen": {name: os.path.expandvars(f"${name}") for name in state["names"]}, "cwd": os.getcwd()}  # noqa: PTH109


def _folder(_state: State) -> State:
    here = Path.cwd()
    before = sorted(entry.name for entry in here.iterdir())
    (here / "left.txt").write_text("mine")
    return {"cwd": str(here), "before": before, "named": os.path.expandvars("$BATCHYARD_WORKSPACE")}


def _folder_and_raises(state: State) -> NoReturn:
    _folder(state)
    raise ValueError("raised on purpose")


def _flaky(state: State) -> None:
    """Lose the worker until the file ``tries`` has as many lines as ``fails``."""
    tries = Path(state["tries"])
    before = len(tries.read_text().splitlines()) if tries.exists() else 0
    _append(str(tries), state["name"])
    if before < state["fails"]:
        os._exit(5)


ACTS: Mapping[str, Node] = {
    "pass": _pass,
    "quotes": _quotes,
    "raises": _raises,
    "raises-unreadable": _raises_unreadable,
    "exits-politely": _exits_politely,
    "os-exit": _os_exit,
    "asks": _asks,
    "sleeps": _sleeps,
    "sleeps-deaf": _sleeps_deaf,
    "ends-on-term": _ends_on_term,
    "waits": _waits,
    "stops-itself": _stops_itself,
    "stops-keeper": _stops_keeper,
    "stops-keeper-and-raises": _stops_keeper_and_raises,
    "kills-keeper": _kills_keeper,
    "leaves-process": _leaves_process,
    "forks-much": _forks_much,
    "prints": _prints,
    "prints-for-ever": _prints_for_ever,
    "closes-streams": _closes_streams,
    "starts-timer": _starts_timer,
    "makes-pipe": _makes_pipe_of_its_output,
    "makes-link": _makes_link_of_its_output,
    "half-a-frame": _writes_half_a_frame,
    "garbage": _writes_garbage,
    "announces-too-much": _announces_too_much,
    "answers-twice": _answers_twice,
    "reports-too-much": _reports_too_much,
    "returns-surrogate": _returns_surrogate,
    "returns-huge-integer": _returns_huge_integer,
    "eats": _eats,
    "environment": _environment,
    "folder": _folder,
    "folder-and-raises": _folder_and_raises,
    "flaky": _flaky,
}


def _sleep() -> NoReturn:
    while True:
        ctypes.CDLL(None).sleep(_EVER)


def _append(path: str, line: str) -> None:
    # One write with O_APPEND: lines of several processes never mix.
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, line.encode() + b"\n")
    os.close(fd)


def _leave_behind(state: State) -> None:
    """Start a process that outlives the trial, in a session of its own."""
    left = subprocess.Popen(["sleep", str(_EVER)], start_new_session=True)
    _append(state["pids"], str(left.pid))


def _runner_socket() -> socket.socket:
    """Return the worker's own socket, as code that looks through its descriptors would find it."""
    for entry in Path("/proc/self/fd").iterdir():
        if str(entry.readlink()).startswith("socket:"):
            return socket.socket(fileno=os.dup(int(entry.name)))
    raise LookupError("no socket")
