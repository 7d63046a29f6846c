"""A process that runs a graph without end, whose node writes files that are kept, until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from langgraph.graph import START, StateGraph

from batchyard.engine.controller import ExecutionController, RunSettings
from batchyard.testing.state_adapter_conformance import ListeningProbe
from batchyard.workflows.blobs import BlobStore
from batchyard.workflows.files import FileRules, WorkspaceFiles
from batchyard.workflows.langgraph import LangGraphStateAdapter


def run(folder: Path) -> None:
    """Run it, telling of each boundary that is reached."""
    workspace = folder / "w"
    workspace.mkdir()

    def write(state: dict[str, Any]) -> dict[str, Any]:
        sys.stdout.write("boundary\n")
        sys.stdout.flush()
        for number in range(5):
            (workspace / str(number)).write_text(f"{state['n']} {number}" * 5000)
        return {"n": state["n"] + 1}

    graph: Any = StateGraph(dict)
    graph.add_node("write", write).add_edge(START, "write").add_edge("write", "write")
    files = WorkspaceFiles(FileRules(("**",), (), 1_000_000, 100_000_000, 100), BlobStore(folder / "objects"))
    adapter = LangGraphStateAdapter(lambda _: graph, folder / "c.db", files=files)
    controller = ExecutionController(adapter, RunSettings(1_000_000, "sync"))
    controller.create("e", {}, {"n": 0}, workspace=workspace)
    controller.run("e", ListeningProbe())


if __name__ == "__main__":
    run(Path(sys.argv[1]))
