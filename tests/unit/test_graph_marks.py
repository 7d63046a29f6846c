"""What a shared node's mark has beside its code: versions, environment, and what the node is declared to use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from batchyard.engine.marks import ShareableNode
from batchyard.workflows.fingerprints import versions
from batchyard.workflows.graph_marks import graph_marks
from batchyard.workflows.langgraph import LangGraphStateAdapter
from package_bench import installed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LEVEL = 1


class State(TypedDict, total=False):
    """Anything will do."""

    count: int


def plain(state: State) -> State:
    """Count, whatever the variants are."""
    return {"count": state["count"] + 1}


def mark(*, style: str = "warm", environment: str = "", reads: tuple[str, ...] = ()) -> str:
    """Return the mark of a node that is declared to depend on ``style`` and whose code never changes."""
    graph: Any = StateGraph(State).add_node("one", plain).add_edge(START, "one").compile()
    declared = ShareableNode("one", depends_on=("style",), reads=reads)
    found = graph_marks(graph, {"style": style, "model": "small"}, [declared], environment)
    assert not found.unmarked
    return found.marks["one"]


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder of installed packages, which a process looks at once."""
    monkeypatch.syspath_prepend(tmp_path)
    versions.cache_clear()
    yield tmp_path
    versions.cache_clear()


def test_another_installed_version_is_another_mark_and_the_same_the_same(packages: Path) -> None:
    installed = packages / "answers-1.0.dist-info"
    installed.mkdir()
    before = mark()
    versions.cache_clear()
    again = mark()

    installed.rename(packages / "answers-1.1.dist-info")
    versions.cache_clear()

    assert again == before
    assert mark() != before


def test_another_environment_of_a_variant_is_another_mark() -> None:
    assert mark(environment="a") == mark(environment="a")
    assert mark(environment="a") != mark(environment="b")


def test_another_value_that_a_node_is_declared_to_read_is_another_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = (f"{__name__}:LEVEL",)
    before = mark(reads=reads)
    again = mark(reads=reads)

    monkeypatch.setitem(globals(), "LEVEL", 2)

    assert again == before
    assert mark(reads=reads) != before


def test_another_value_of_a_declared_dimension_is_another_mark_though_the_code_shows_none_of_it() -> None:
    assert mark(style="warm") == mark(style="warm")
    assert mark(style="warm") != mark(style="cold")


def searching(variants: Mapping[str, str]) -> StateGraph[State, None, State, State]:
    """Make a graph as the documentation does: its node reads from the mapping what it needs, while it runs."""
    graph: StateGraph[State, None, State, State] = StateGraph(State)
    graph.add_node("search", lambda state: {"count": len(variants["retriever"])})
    return graph.add_edge(START, "search")


def test_a_dimension_that_a_node_reads_counts_though_its_declaration_forgets_it() -> None:
    def marked(retriever: str, prompt: str) -> str:
        variants = {"retriever": retriever, "prompt": prompt}
        graph: Any = searching(variants).compile()
        return graph_marks(graph, variants, [ShareableNode("search")]).marks["search"]

    assert marked("bm", "short") == marked("bm", "long")
    assert marked("bm", "short") != marked("tf", "short")


INSTALLED = """
from langgraph.graph import START, StateGraph

def count(state):
    return {"count": state["count"] + %s}

def build(variants):
    return StateGraph(dict).add_node("count", count).add_edge(START, "count")
"""


def test_an_installed_workflow_whose_code_changed_under_its_version_has_another_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def marked(step: int) -> str:
        installed("counting_package", INSTALLED % step, monkeypatch)
        adapter = LangGraphStateAdapter("counting_package:build", tmp_path / "checkpoints.db")
        try:
            return adapter.marks(adapter.prepare({}), {}, [ShareableNode("count")], "").marks["count"]
        finally:
            adapter.close()

    assert marked(1) == marked(1)
    assert marked(1) != marked(2)
