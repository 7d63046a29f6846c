"""What one durable node boundary costs over a checkpointer that stores nothing: ours against LangGraph's SqliteSaver.

One process, one chain of twenty nodes; the ways to run it take turns at every run of the chain.
"""

from __future__ import annotations

import gc
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.null_saver import NullSaver
from benchmarks.peers.contract import require
from benchmarks.peers.langgraph_alone import open_saver
from benchmarks.statistic import median, quantile
from benchmarks.workflows import noop

from batchyard.workflows.caller_loop import CallerLoop
from batchyard.workflows.checkpoints import SqliteCheckpoints
from batchyard.workflows.langgraph import LangGraphStateAdapter

if TYPE_CHECKING:
    from collections.abc import Callable

    from langgraph.checkpoint.base import BaseCheckpointSaver

    from batchyard.engine.ports import StopRequest

LENGTH = 20
FLOOR = "a checkpointer that stores nothing"
SQLITE = "SqliteSaver"
SQLITE_NORMAL = "SqliteSaver, synchronous=NORMAL"
OURS = "batchyard, as `batchyard run` runs a graph"
OURS_CALLED = "batchyard's checkpointer alone, under LangGraph's own `invoke`"
OUR_FLOOR = "a checkpointer that stores nothing, on batchyard's loop"

_WARM_UP = 5


class _Deaf:
    """A probe that hears nothing."""

    def node_started(self, node: str, task: str) -> None: ...

    def node_finished(self, node: str, task: str) -> None: ...

    def on_stop(self, stop: StopRequest) -> None: ...


def _invoked(saver: BaseCheckpointSaver[Any] | None) -> Callable[[str], int]:
    graph = noop.chain(LENGTH).compile(checkpointer=saver)

    def run(thread: str) -> int:
        final: dict[str, int] = graph.invoke({"n": 0}, {"configurable": {"thread_id": thread}}, durability="sync")
        return final["n"]

    return run


def _awaited(saver: BaseCheckpointSaver[Any], loop: CallerLoop) -> Callable[[str], int]:
    graph = noop.chain(LENGTH).compile(checkpointer=saver)

    def run(thread: str) -> int:
        config: Any = {"configurable": {"thread_id": thread}}
        final: dict[str, int] = loop.run(graph.ainvoke({"n": 0}, config, durability="sync"))
        return final["n"]

    return run


def _adapted(adapter: LangGraphStateAdapter) -> Callable[[str], int]:
    workflow, probe = adapter.prepare({}), _Deaf()

    def run(thread: str) -> int:
        output = adapter.run(workflow, thread, {"n": 0}, probe=probe, recursion_limit=LENGTH + 5, durability="sync")
        return int(str(output.state.get("n", -1)))

    return run


def _ways(folder: Path, open_files: ExitStack) -> dict[str, Callable[[str], int]]:
    loop = open_files.enter_context(closing(CallerLoop()))
    adapter = open_files.enter_context(
        closing(LangGraphStateAdapter(lambda _: noop.chain(LENGTH), folder / "adapter.sqlite"))
    )
    ours = open_files.enter_context(closing(SqliteCheckpoints(folder / "ours.sqlite")))
    (folder / "normal").mkdir()
    return {
        FLOOR: _invoked(NullSaver()),
        SQLITE: _invoked(open_saver("sqlite", folder)),
        SQLITE_NORMAL: _invoked(open_saver("sqlite-normal", folder / "normal")),
        OURS: _adapted(adapter),
        OUR_FLOOR: _awaited(NullSaver(), loop),
        OURS_CALLED: _invoked(ours),
    }


def measure_boundary(runs: int) -> dict[str, Any]:
    """Run the chain ``runs`` times in each way; return milliseconds a boundary and what each adds to the floor."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as open_files:
        ways = _ways(Path(folder), open_files)
        seen: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(-_WARM_UP, runs):
            for name, run in ways.items():
                # Outside the clock, so that no way pays for what another one left behind.
                gc.collect()
                start = time.perf_counter()
                nodes = run(f"run-{number}")
                seconds = time.perf_counter() - start
                require(nodes == LENGTH, f"{name} ran {nodes} nodes")
                if number >= 0:
                    seen[name].append(seconds * 1000 / LENGTH)
    sqlite = _added(seen, SQLITE, FLOOR)
    return {
        "nodes": LENGTH,
        "runs": runs,
        "ways": [_row(name, values, _added(seen, name, FLOOR)) for name, values in seen.items()],
        "ofSqliteSaver": {
            "ours": round(_added(seen, OURS, FLOOR) / sqlite, 3),
            "oursOverItsOwnFloor": round(_added(seen, OURS, OUR_FLOOR) / sqlite, 3),
            "oursUnderInvoke": round(_added(seen, OURS_CALLED, FLOOR) / sqlite, 3),
        },
    }


def _added(seen: dict[str, list[float]], name: str, floor: str) -> float:
    return median([one - other for one, other in zip(seen[name], seen[floor], strict=True)])


def _row(name: str, values: list[float], added: float) -> dict[str, Any]:
    return {
        "name": name,
        "p50Milliseconds": round(median(values), 3),
        "p95Milliseconds": round(quantile(values, 0.95), 3),
        "addedMilliseconds": round(added, 3),
    }
