"""The in-memory and the LangGraph adapter do what every state adapter must do."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from batchyard.testing.resuming_conformance import ResumingConformance
from batchyard.testing.state_adapter_conformance import AdapterMaker, StateAdapterConformance
from batchyard.workflows.in_memory import AskForInput, InMemoryStateAdapter, InMemoryWorkflow, Node
from batchyard.workflows.langgraph import LangGraphStateAdapter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batchyard.engine.ports import StateAdapter


class State(TypedDict, total=False):
    count: int
    words: dict[str, list[str]]
    held: object


def in_langgraph_terms(node: Node, state: State) -> Any:
    try:
        return node({**state})
    except AskForInput as question:
        return interrupt(str(question))


def chain(nodes: Mapping[str, Node], endless: bool, at_once: bool, _: Mapping[str, str]) -> StateGraph[State]:
    graph = StateGraph(State)
    names = list(nodes)
    for name in names:
        graph.add_node(name, partial(in_langgraph_terms, nodes[name]))
    if at_once:
        for name in names:
            graph.add_edge(START, name)
        return graph
    for before, after in zip([START, *names], [*names, names[0] if endless else END], strict=True):
        graph.add_edge(before, after)
    return graph


class TestInMemoryStateAdapter(StateAdapterConformance, ResumingConformance):
    @pytest.fixture
    def adapter_for(self) -> AdapterMaker:
        def make(nodes: Mapping[str, Node], *, endless: bool = False, at_once: bool = False) -> StateAdapter:
            return InMemoryStateAdapter(lambda _: InMemoryWorkflow(nodes, endless, at_once))

        return make


@pytest.mark.proves("langgraph-adapter")
class TestLangGraphStateAdapter(StateAdapterConformance, ResumingConformance):
    @pytest.fixture
    def adapter_for(self, tmp_path: Path) -> Iterator[AdapterMaker]:
        made: list[StateAdapter] = []

        def make(nodes: Mapping[str, Node], *, endless: bool = False, at_once: bool = False) -> StateAdapter:
            adapter = LangGraphStateAdapter(partial(chain, nodes, endless, at_once), tmp_path / f"{len(made)}.db")
            made.append(adapter)
            return adapter

        yield make
        for adapter in made:
            adapter.close()
