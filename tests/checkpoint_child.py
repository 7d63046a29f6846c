"""A process that runs a ten-node graph with durable checkpoints and is killed, for the durability tests.

``python checkpoint_child.py die FOLDER plain|awaited`` forks once for each node, to die of SIGKILL within it;
``python checkpoint_child.py run FILE`` runs thread after thread until it is killed from outside;
``python checkpoint_child.py some FILE COUNT`` so many of them.
"""

from __future__ import annotations

import operator
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from langgraph.graph import START, StateGraph

from batchyard.testing.state_adapter_conformance import ListeningProbe
from batchyard.workflows.langgraph import LangGraphStateAdapter

if TYPE_CHECKING:
    from collections.abc import Callable

NODES = 10


class State(TypedDict, total=False):
    log: Annotated[list[int], operator.add]
    payload: str


def node(index: int, deadly: int, kind: str) -> Callable[[State], Any]:
    """Make one node of the graph."""

    def work(_: State) -> State:
        if index == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"log": [index], "payload": "x" * 10_000}

    async def work_later(state: State) -> State:
        return work(state)

    return work_later if kind == "awaited" else work


def run_threads(path: Path, deadly: int, kind: str, threads: int) -> None:
    """Run the graph on so many threads, telling of each one that is through."""
    graph: Any = StateGraph(State)
    graph.add_sequence([(f"n{i}", node(i, deadly, kind)) for i in range(NODES)]).add_edge(START, "n0")
    adapter = LangGraphStateAdapter(lambda _: graph, path)
    workflow = adapter.prepare({})
    for number in range(threads):
        adapter.run(
            workflow, f"thread-{number}", {"log": []}, probe=ListeningProbe(), recursion_limit=50, durability="sync"
        )
        sys.stdout.write(f"thread-{number}\n")
        sys.stdout.flush()


def die_everywhere(folder: Path, kind: str) -> None:
    """Fork one process for each node, which dies in it; tell how each ended."""
    for deadly in range(NODES):
        child = os.fork()
        if child == 0:
            run_threads(folder / f"{kind}-{deadly}.db", deadly, kind, 1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")


if __name__ == "__main__":
    if sys.argv[1] == "die":
        die_everywhere(Path(sys.argv[2]), sys.argv[3])
    else:
        run_threads(Path(sys.argv[2]), -1, "plain", int(sys.argv[3]) if sys.argv[1] == "some" else 1_000_000)
