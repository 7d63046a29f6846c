"""What one durable node boundary costs over a checkpointer that stores nothing: ours against LangGraph's SqliteSaver.

One process, one chain of twenty nodes; the checkpointers take turns at every run of the chain.
"""

from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchyard.workflows.checkpoints import open_checkpoints
from benchmarks.peers.langgraph_alone import open_saver
from benchmarks.statistic import median, quantile
from benchmarks.workflows import noop

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver

LENGTH = 20
OURS, FLOOR = "batchyard", "a checkpointer that stores nothing"
SQLITE = "SqliteSaver"
_KINDS = {FLOOR: "null", SQLITE: "sqlite", "SqliteSaver set to synchronous=NORMAL": "sqlite-normal"}


def _savers(folder: Path) -> dict[str, BaseCheckpointSaver[Any]]:
    savers: dict[str, BaseCheckpointSaver[Any]] = {}
    for name, kind in _KINDS.items():
        home = folder / kind
        home.mkdir()
        saver = open_saver(kind, home)
        if saver is not None:
            savers[name] = saver
    savers[OURS] = open_checkpoints(folder / "ours.sqlite")
    return savers


def measure_boundary(runs: int) -> dict[str, Any]:
    """Run the chain ``runs`` times with each checkpointer; return milliseconds a boundary and what each adds."""
    with tempfile.TemporaryDirectory() as folder:
        graphs = {name: noop.chain(LENGTH).compile(checkpointer=saver) for name, saver in _savers(Path(folder)).items()}
        seen: dict[str, list[float]] = {name: [] for name in graphs}
        for number in range(-5, runs):
            for name, graph in graphs.items():
                config: Any = {"configurable": {"thread_id": f"run-{number}"}, "recursion_limit": LENGTH + 5}
                gc.collect()
                start = time.perf_counter()
                graph.invoke({"n": 0}, config, durability="sync")
                if number >= 0:
                    seen[name].append((time.perf_counter() - start) * 1000 / LENGTH)
    added = {name: median([one - floor for one, floor in zip(seen[name], seen[FLOOR], strict=True)]) for name in seen}
    return {
        "nodes": LENGTH,
        "runs": runs,
        "checkpointers": [
            {
                "name": name,
                "p50Milliseconds": round(median(values), 3),
                "p95Milliseconds": round(quantile(values, 0.95), 3),
                "addedMilliseconds": round(added[name], 3),
            }
            for name, values in seen.items()
        ],
        "addedByOursOverSqliteSaver": round(added[OURS] / added[SQLITE], 3),
    }
