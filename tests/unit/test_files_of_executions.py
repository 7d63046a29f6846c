"""The files of LangGraph executions are kept with their checkpoints, and go back and fork with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph

from batchyard.engine.controller import ExecutionController, RunSettings
from batchyard.model.execution import Breakpoints, ExecutionStatus, FilesLost
from batchyard.model.outcome import Reason
from batchyard.testing.state_adapter_conformance import ListeningProbe
from batchyard.workflows.blobs import BlobStore
from batchyard.workflows.files import WorkspaceFiles
from batchyard.workflows.langgraph import LangGraphStateAdapter
from batchyard.workflows.snapshots import read_snapshot
from workspace_files import rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class State(TypedDict, total=False):
    folder: str
    count: int


def appending(name: str) -> Callable[[State], State]:
    """Make a node that adds a line to ``log`` and writes a file of its own."""

    def node(state: State) -> State:
        folder = Path(state["folder"])
        with (folder / "log").open("a") as log:
            log.write(f"{name}\n")
        (folder / f"{name}.txt").write_text(name)
        return {"count": state.get("count", 0) + 1}

    return node


class Bench:
    def __init__(self, folder: Path, **nodes: Callable[[State], State]) -> None:
        self.folder, self.blobs = folder, BlobStore(folder / "objects")
        graph: Any = StateGraph(State)
        named = nodes or {name: appending(name) for name in ("one", "two", "three")}
        graph.add_sequence(list(named.items())).add_edge(START, next(iter(named)))
        self.adapter = LangGraphStateAdapter(
            lambda _: graph, folder / "c.db", files=WorkspaceFiles(rules(one=100), self.blobs)
        )
        self.controller = ExecutionController(self.adapter, RunSettings(20, "sync"))

    def workspace(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir()
        return path

    def begun(self, **breakpoints: frozenset[str]) -> Path:
        workspace = self.workspace("e")
        given = {"folder": str(workspace)}
        self.controller.create("e", {}, given, breakpoints=Breakpoints(**breakpoints), workspace=workspace)
        self.controller.run("e", ListeningProbe())
        return workspace

    def files_of(self, execution: str) -> list[dict[str, str]]:
        """Return, boundary by boundary, what the files were."""
        taken = [read_snapshot(self.blobs, point.files) for point in self.adapter.history(execution)]
        return [{file.path: self.blobs.read(file.digest).decode() for file in files} for files in taken]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.adapter.close()


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir()) if path.is_file()}


ONE = {"log": "one\n", "one.txt": "one"}
TWO = {"log": "one\ntwo\n", "one.txt": "one", "two.txt": "two"}
THREE = {"log": "one\ntwo\nthree\n", "one.txt": "one", "three.txt": "three", "two.txt": "two"}


@pytest.mark.proves("file-tracking")
def test_every_checkpoint_has_the_files_of_its_boundary(bench: Bench) -> None:
    bench.begun()

    assert bench.files_of("e") == [{}, {}, ONE, TWO, THREE]


@pytest.mark.proves("bug-29")
def test_going_back_restores_the_files_and_leaves_later_ones(bench: Bench) -> None:
    workspace = bench.begun()

    execution = bench.controller.roll_back("e", node="one")

    assert content(workspace) == {**THREE, "log": "one\n"}
    assert execution.restored is not None
    assert (execution.restored.written, execution.restored.later) == (("log",), ("three.txt", "two.txt"))


@pytest.mark.proves("bug-29")
def test_going_back_moves_later_files_away_if_asked(bench: Bench) -> None:
    workspace = bench.begun()

    execution = bench.controller.roll_back("e", node="one", remove_later_files=True)

    assert content(workspace) == ONE
    assert execution.restored is not None
    assert sorted(Path(path).name for path in execution.restored.moved) == ["three.txt", "two.txt"]


def test_what_runs_after_going_back_goes_on_with_the_restored_files(bench: Bench) -> None:
    workspace = bench.begun()
    bench.controller.roll_back("e", node="one", remove_later_files=True)

    bench.controller.resume("e", ListeningProbe())

    assert content(workspace) == THREE
    assert bench.files_of("e") == [{}, {}, ONE, TWO, THREE]


@pytest.mark.proves("file-tracking")
def test_a_fork_begins_with_the_files_of_its_boundary_in_its_own_folder(bench: Bench) -> None:
    workspace, own = bench.begun(), bench.workspace("f")

    fork = bench.controller.fork("e", "f", node="two", state={"folder": str(own)}, workspace=own)
    forked = content(own)
    bench.controller.resume("f", ListeningProbe())

    assert forked == TWO
    assert content(own) == content(workspace) == THREE
    assert fork.restored is not None
    assert fork.restored.written == ("log", "one.txt", "two.txt")
    assert bench.files_of("f")[-1] == THREE


def test_an_edit_keeps_the_files_of_the_boundary_it_is_made_at(bench: Bench) -> None:
    bench.begun(before=frozenset({"two"}))

    bench.controller.edit("e", {"count": 7})

    assert bench.files_of("e") == [{}, {}, ONE, ONE]


def test_nothing_is_gone_back_to_whose_files_are_lost(bench: Bench) -> None:
    workspace = bench.begun()
    snapshot = next(point.files for point in bench.adapter.history("e") if "one" in point.nodes)
    bench.blobs.place(read_snapshot(bench.blobs, snapshot)[0].digest).unlink()
    history = bench.controller.history("e")

    with pytest.raises(FilesLost):
        bench.controller.roll_back("e", node="one")

    assert bench.controller.history("e") == history
    assert bench.controller.get("e").status is ExecutionStatus.COMPLETED
    assert content(workspace) == THREE


def test_a_file_over_the_limit_fails_the_run_with_its_node_and_what_to_do(tmp_path: Path) -> None:
    def large(state: State) -> State:
        (Path(state["folder"]) / "big.bin").write_text("x" * 101)
        return {}

    bench = Bench(tmp_path, one=appending("one"), large=large)
    workspace = bench.workspace("e")
    bench.controller.create("e", {}, {"folder": str(workspace)}, workspace=workspace)

    output = bench.controller.run("e", ListeningProbe())
    bench.adapter.close()

    assert (output.status, output.reason) == ("failed", Reason.FILES_NOT_KEPT)
    assert output.message == (
        'after node "large": big.bin is more than 100 bytes; raise spec.checkpoints.files.maxFileBytes, '
        "or name it in spec.checkpoints.files.ignore"
    )
    assert [(boundary.node, boundary.status) for boundary in output.boundaries] == [
        ("one", "completed"), ("large", "failed")
    ]  # fmt: skip


def test_a_run_without_a_workspace_keeps_no_files(bench: Bench) -> None:
    folder = bench.workspace("elsewhere")
    bench.controller.create("e", {}, {"folder": str(folder)})

    bench.controller.run("e", ListeningProbe())

    assert {point.files for point in bench.adapter.history("e")} == {""}
    assert not bench.blobs.folder.exists()
