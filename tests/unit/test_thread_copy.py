"""A thread that is taken out of one checkpoint file and put into another goes on there as if it had run there."""

from __future__ import annotations

import operator
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, cast

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt

from batchyard.engine.controller import ExecutionController, RunSettings
from batchyard.model.errors import StoreError
from batchyard.model.execution import (
    Breakpoints,
    CheckpointNotFound,
    ExecutionError,
    ExecutionNotFound,
    ExecutionStatus,
)
from batchyard.model.questions import Answer
from batchyard.testing.state_adapter_conformance import ListeningProbe
from batchyard.workflows.checkpoint_reading import read_history
from batchyard.workflows.langgraph import LangGraphStateAdapter
from batchyard.workflows.thread_copy import export_thread, import_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHILD = Path(__file__).parents[1] / "checkpoint_child.py"


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


class Bench:
    """Controllers on files of their own, and the nodes that ran in all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran: list[str] = []
        self.adapters: list[LangGraphStateAdapter] = []

    def on(self, file: str) -> ExecutionController:
        self.adapters.append(LangGraphStateAdapter(self._build, self.folder / file))
        return ExecutionController(self.adapters[-1], RunSettings(50, "sync"))

    def _noting(self, name: str) -> Any:
        def note(_state: State) -> State:
            self.ran.append(name)
            return {"log": [name]}

        return note

    def _asking(self, _state: State) -> State:
        return {"log": [str(interrupt("well?"))]}

    def _build(self, variants: Mapping[str, str]) -> StateGraph[Any]:
        """plan, two parts that are sent, a subgraph of two nodes, a question, the end (``last`` is a variant)."""
        inner: Any = StateGraph(State)
        inner.add_sequence([(name, self._noting(name)) for name in ("inner-1", "inner-2")]).add_edge(START, "inner-1")
        graph: Any = StateGraph(State)
        graph.add_node("plan", self._noting("plan"))
        graph.add_node("part", lambda given: self._noting(given["log"][0])(given))
        graph.add_node("sub", inner.compile()).add_node("ask", self._asking)
        last = variants.get("last", "last")
        graph.add_node(last, self._noting(last))
        graph.add_edge(START, "plan")
        graph.add_conditional_edges(
            "plan", lambda _: [Send("part", {"log": [name]}) for name in ("p1", "p2")], ["part"]
        )
        graph.add_edge("part", "sub").add_edge("sub", "ask").add_edge("ask", last).add_edge(last, END)
        return cast("StateGraph[Any]", graph)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for adapter in made.adapters:
        adapter.close()


def begun(bench: Bench, before: str) -> ExecutionController:
    """Run to before a node in a file whose worker stays alive."""
    source = bench.on("source.db")
    source.create("t", {}, {"log": []}, breakpoints=Breakpoints(before=frozenset([before])))
    source.run("t", ListeningProbe())
    return source


@pytest.mark.parametrize("before", ["plan", "part", "sub", "ask"])
def test_a_thread_goes_on_in_another_file_from_any_node(bench: Bench, before: str) -> None:
    begun(bench, before)
    piece = export_thread(bench.folder / "source.db", "t")

    target = bench.on("target.db")
    target.take_up("other", {}, piece)
    target.resume("other", ListeningProbe())
    target.resume("other", ListeningProbe(), answers=[Answer("fine")])

    assert target.get("other").status is ExecutionStatus.COMPLETED
    assert sorted(bench.ran) == ["inner-1", "inner-2", "last", "p1", "p2", "plan"]


def test_what_is_taken_out_up_to_a_checkpoint_is_what_was_there(bench: Bench) -> None:
    source = begun(bench, "ask")
    after_parts = next(point for point in source.history("t") if "part" in point.nodes)
    piece = export_thread(bench.folder / "source.db", "t", after_parts.id)
    import_thread(bench.folder / "target.db", piece, "early")

    target = bench.on("target.db")
    taken = target.adopt("early", {})

    assert taken.upcoming == ("sub",)
    assert target.state("early") == {"log": ["plan", "p1", "p2"]}
    assert [point.id for point in target.history("early")] == [
        point.id for point in source.history("t") if point.id <= after_parts.id
    ]


def test_the_source_keeps_all_that_it_had(bench: Bench) -> None:
    source = begun(bench, "ask")
    before = list(source.history("t"))

    bench.on("target.db").take_up("other", {}, export_thread(bench.folder / "source.db", "t"))

    assert list(source.history("t")) == before


def test_a_thread_goes_on_as_another_combination(bench: Bench) -> None:
    begun(bench, "ask")
    target = bench.on("target.db")
    target.take_up("other", {"last": "close"}, export_thread(bench.folder / "source.db", "t"))

    target.resume("other", ListeningProbe())
    target.resume("other", ListeningProbe(), answers=[Answer("fine")])

    assert bench.ran[-1] == "close"
    assert target.state("other")["log"] == [
        "plan",
        "p1",
        "p2",
        "plan",
        "p1",
        "p2",
        "inner-1",
        "inner-2",
        "fine",
        "close",
    ]


def test_a_combination_without_the_node_that_comes_next_is_refused(bench: Bench) -> None:
    source = begun(bench, "ask")
    source.resume("t", ListeningProbe(), answers=[Answer("fine")])
    after_ask = next(point for point in source.history("t") if "ask" in point.nodes)
    piece = export_thread(bench.folder / "source.db", "t", after_ask.id)

    with pytest.raises(ExecutionError, match="last would run next"):
        bench.on("target.db").take_up("other", {"last": "close"}, piece)


def test_a_killed_workers_thread_goes_on_from_its_last_boundary(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(CHILD), "die", str(tmp_path), "plain"], check=True, stdout=subprocess.PIPE)
    killed = tmp_path / "plain-7.db"

    import_thread(tmp_path / "new.db", export_thread(killed, "thread-0"), "saved")

    assert [node for point in read_history(tmp_path / "new.db", "saved") for node in point.nodes] == [
        f"n{number}" for number in range(7)
    ]


def test_a_piece_is_a_small_checkpoint_file(bench: Bench) -> None:
    begun(bench, "ask")

    piece = export_thread(bench.folder / "source.db", "t")
    (bench.folder / "piece.db").write_bytes(piece)

    assert len(piece) < 32 * 1024
    assert [point.nodes for point in read_history(bench.folder / "piece.db", "t")][-1] == ("sub",)


def test_what_is_not_there_cannot_be_taken_out(bench: Bench) -> None:
    begun(bench, "ask")

    with pytest.raises(ExecutionNotFound, match="no thread other"):
        export_thread(bench.folder / "source.db", "other")
    with pytest.raises(ExecutionNotFound, match="no thread t"):
        export_thread(bench.folder / "nothing.db", "t")
    with pytest.raises(CheckpointNotFound, match="no checkpoint elsewhere"):
        export_thread(bench.folder / "source.db", "t", "elsewhere")


def test_a_name_that_is_taken_and_a_damaged_piece_change_nothing(bench: Bench) -> None:
    begun(bench, "ask")
    piece = export_thread(bench.folder / "source.db", "t")
    file = bench.folder / "target.db"
    import_thread(file, piece, "other")
    with closing(sqlite3.connect(":memory:")) as foreign:
        foreign.execute("CREATE TABLE threads (name)")
        strange = foreign.serialize()

    with pytest.raises(ValueError, match="already"):
        import_thread(file, piece, "other")
    for damaged in (piece[:3000], b"nonsense" * 100, strange):
        with pytest.raises(StoreError):
            import_thread(file, damaged, "third")

    assert read_history(file, "third") == ()
    assert read_history(file, "other") == read_history(bench.folder / "source.db", "t")
