"""LangGraph without any bench around it: bare, with a checkpointer that stores nothing, or with its SqliteSaver."""

from __future__ import annotations

import multiprocessing
import sqlite3
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.null_saver import NullSaver
from benchmarks.peers.contract import arguments, measure, report, require
from benchmarks.workflows import noop
from langgraph.checkpoint.sqlite import SqliteSaver

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Barrier

    from langgraph.checkpoint.base import BaseCheckpointSaver


def open_saver(kind: str, folder: Path) -> BaseCheckpointSaver[Any] | None:
    """Return the checkpointer called ``kind``: none, null, sqlite (as it comes) or sqlite-normal."""
    if kind == "none":
        return None
    if kind == "null":
        return NullSaver()
    connection = sqlite3.connect(folder / "checkpoints.sqlite", check_same_thread=False)
    saver = SqliteSaver(connection)
    saver.setup()
    if kind == "sqlite-normal":
        connection.execute("PRAGMA synchronous=NORMAL")
    return saver


def runner(kind: str, folder: Path) -> Callable[[int, str], None]:
    """Return a function that runs so many trials, each with a thread id of its own, every boundary written at once."""
    graph = noop.chain(noop.NODES).compile(checkpointer=open_saver(kind, folder))
    durability: Any = None if kind == "none" else "sync"

    def run(trials: int, prefix: str) -> None:
        for number in range(trials):
            config: Any = {"configurable": {"thread_id": f"{prefix}-{number}"}}
            final = graph.invoke({"n": 0}, config, durability=durability)
            require(final["n"] == noop.NODES, f"a trial ended with {final}")

    return run


def _half(kind: str, trials: int, barrier: Barrier, spans: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = runner(kind, Path(folder))
        run(20, "warm")
        barrier.wait()
        start = time.monotonic()
        run(trials, "timed")
        spans.put((start, time.monotonic()))


def in_two_processes(kind: str, trials: int) -> float:
    """Return the seconds from the first start to the last end, each process with a file of its own."""
    spawn = multiprocessing.get_context("spawn")
    barrier, spans = spawn.Barrier(2), spawn.Queue()
    halves = [spawn.Process(target=_half, args=(kind, trials // 2, barrier, spans)) for _ in range(2)]
    for half in halves:
        half.start()
    seen = [spans.get(timeout=600) for _ in halves]
    for half in halves:
        half.join()
    return float(max(end for _, end in seen) - min(start for start, _ in seen))


def main() -> None:
    """Run and report."""
    options = arguments(str(__doc__), checkpointer=("sqlite", "sqlite-normal", "null", "none"), processes=("1", "2"))
    if options.processes == "2":
        seconds = in_two_processes(options.checkpointer, options.trials)
    else:
        with tempfile.TemporaryDirectory() as folder:
            seconds = measure(runner(options.checkpointer, Path(folder)), options.trials)
    report("langgraph", version("langgraph"), options.trials, seconds)


if __name__ == "__main__":
    main()
