"""Kept files are found to be whole, lost or nobody's; what is nobody's goes, whoever is at work meanwhile."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import START, StateGraph

from batchyard.engine.controller import ExecutionController, RunSettings
from batchyard.model.errors import StoreError
from batchyard.testing.state_adapter_conformance import ListeningProbe
from batchyard.workflows.blobs import BlobStore
from batchyard.workflows.file_upkeep import collect, examine, snapshots_in
from batchyard.workflows.files import WorkspaceFiles
from batchyard.workflows.langgraph import LangGraphStateAdapter
from batchyard.workflows.snapshots import read_snapshot
from batchyard.workflows.thread_copy import export_thread
from workspace_files import rules

CHILD = Path(__file__).parents[1] / "snapshot_child.py"


class Kept:
    """A checkpoint file of one thread whose two nodes wrote one file each."""

    def __init__(self, folder: Path) -> None:
        self.blobs, self.path, workspace = BlobStore(folder / "objects"), folder / "c.db", folder / "w"
        workspace.mkdir()
        graph: Any = StateGraph(dict)
        steps = [(name, self._writing(workspace / name)) for name in ("one", "two")]
        graph.add_sequence(steps).add_edge(START, "one")
        files = WorkspaceFiles(rules(), self.blobs)
        self.adapter = LangGraphStateAdapter(lambda _: graph, self.path, files=files)
        controller = ExecutionController(self.adapter, RunSettings(9, "sync"))
        controller.create("e", {}, {"n": 0}, workspace=workspace)
        controller.run("e", ListeningProbe())
        self.controller = controller

    @staticmethod
    def _writing(path: Path) -> Any:
        def node(_: dict[str, Any]) -> dict[str, Any]:
            path.write_text(path.name)
            return {"n": 1}

        return node

    def collected(self) -> int:
        return len(collect(self.blobs, lambda: [self.path]))

    def content(self, name: str) -> Path:
        newest = self.adapter.history("e")[-1].files
        return self.blobs.place(next(f.digest for f in read_snapshot(self.blobs, newest) if f.path == name))


@pytest.fixture
def kept(tmp_path: Path) -> Any:
    made = Kept(tmp_path)
    with closing(made.adapter):
        yield made


def test_kept_files_that_are_whole_have_nothing_wrong(kept: Kept) -> None:
    state = examine(kept.blobs, [kept.path])

    assert (dict(state.lost), state.orphans, dict(state.unreadable)) == ({}, (), {})
    assert kept.collected() == 0


def test_a_missing_and_a_damaged_content_are_named(kept: Kept) -> None:
    kept.content("one").unlink()
    kept.content("two").chmod(0o600)
    kept.content("two").write_text("not")

    (threads,) = examine(kept.blobs, [kept.path]).lost.values()

    assert list(threads) == ["e"]
    lost = threads["e"]
    assert len(lost) == 2
    assert {"is not in" in text for text in lost} == {True, False}
    assert any("is damaged" in text for text in lost)


def test_what_was_gone_back_from_is_nobodys_and_is_collected(kept: Kept) -> None:
    kept.controller.roll_back("e", node="one")

    orphans = examine(kept.blobs, [kept.path]).orphans

    assert len(orphans) == kept.collected() == 2  # the content of "two", and the list of both files
    assert examine(kept.blobs, [kept.path]).orphans == ()
    kept.controller.roll_back("e", node="one")


def test_a_thread_that_was_taken_out_keeps_its_contents(kept: Kept, tmp_path: Path) -> None:
    piece = tmp_path / "piece.db"
    piece.write_bytes(export_thread(kept.path, "e"))
    kept.adapter.checkpoints.forget(["e"])

    with_piece = collect(kept.blobs, lambda: [kept.path, piece])
    without = collect(kept.blobs, lambda: [kept.path])

    assert with_piece == ()
    assert len(without) == len(snapshots_in(piece)) + 2


def test_nothing_is_collected_beside_a_damaged_checkpoint_file(kept: Kept, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"no database" * 100)
    kept.controller.roll_back("e", node="one")

    state = examine(kept.blobs, [kept.path, damaged])

    assert (list(state.unreadable), state.orphans) == ([damaged], ())
    with pytest.raises(StoreError, match="cannot be read"):
        collect(kept.blobs, lambda: [kept.path, damaged])


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_in_the_middle_of_a_snapshot_leaves_every_checkpoint_whole(tmp_path: Path, seed: int) -> None:
    blobs, path = BlobStore(tmp_path / "objects"), tmp_path / "c.db"
    running = subprocess.Popen([sys.executable, str(CHILD), str(tmp_path)], stdout=subprocess.PIPE)
    assert running.stdout is not None
    with running, running.stdout as told:
        for _ in range(3 + 4 * seed):
            assert told.readline() == b"boundary\n"
        running.kill()  # it goes on meanwhile, so this comes anywhere within a snapshot

    state = examine(blobs, [path])
    collect(blobs, lambda: [path])

    assert snapshots_in(path)
    assert (dict(state.lost), dict(state.unreadable)) == ({}, {})
    assert examine(blobs, [path]).orphans == ()
    assert not list((blobs.folder / "new").iterdir())
