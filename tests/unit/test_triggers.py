"""A checkpoint's channels say which nodes run next, as LangGraph itself finds it when it looks at the graph."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send
from typing_extensions import TypedDict

from batchyard.workflows.checkpoint_reading import read_history
from batchyard.workflows.checkpoints import SqliteCheckpoints

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class State(TypedDict, total=False):
    """What has run."""

    seen: Annotated[list[str], operator.add]


def graph_with(*names: str, deferred: str = "") -> StateGraph[State, None, State, State]:
    graph: StateGraph[State, None, State, State] = StateGraph(State)
    for name in names:
        graph.add_node(name, lambda _state, name=name: {"seen": [name]}, defer=name == deferred)
    graph.add_edge(START, names[0])
    return graph


def joined(deferred: str = "") -> Any:
    graph = graph_with("one", "left", "long", "right", "last", deferred=deferred)
    for before, after in [("one", "left"), ("one", "long"), ("long", "right"), ("last", END)]:
        graph.add_edge(before, after)
    graph.add_edge(["left", "right"], "last")
    return graph


def deferred() -> Any:
    graph = graph_with("one", "left", "long", "right", "last", deferred="last")
    for before, after in [("one", "left"), ("one", "long"), ("long", "right"), ("left", "last"), ("right", "last")]:
        graph.add_edge(before, after)
    return graph


def sent() -> Any:
    graph = graph_with("one", "each", "last")
    graph.add_conditional_edges("one", lambda _state: [Send("each", {}), Send("each", {})], ["each"])
    graph.add_edge("each", "last")
    return graph


def commanded() -> Any:
    graph = graph_with("one", "last")
    graph.add_node("goes", lambda _state: Command(goto="last"), destinations=("last",))
    graph.add_edge("one", "goes")
    return graph


@pytest.mark.parametrize(
    "build",
    [joined, lambda: joined("last"), deferred, sent, commanded],
    ids=["join", "late-join", "defer", "send", "command"],
)
def test_every_checkpoint_says_what_runs_next_as_the_graph_does(tmp_path: Path, build: Callable[[], Any]) -> None:
    checkpoints = SqliteCheckpoints(tmp_path / "c.db")
    graph = build().compile(checkpointer=checkpoints)
    config: Any = {"configurable": {"thread_id": "t"}}
    found: list[tuple[set[str], set[str]]] = []

    # As after a kill: each time it is looked at what the newest checkpoint alone says.
    for _ in graph.stream({"seen": []}, config, stream_mode="values", durability="sync"):
        head = read_history(tmp_path / "c.db", "t")[-1]
        found.append((set(head.next), {name for name in graph.get_state(config).next if name != START}))
    checkpoints.close()

    assert len([told for told, _ in found if told]) > 1
    assert [told for told, _ in found] == [truth for _, truth in found]
