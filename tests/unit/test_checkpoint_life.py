"""LangGraph sees the same on our file as on its own saver, through interrupts, time travel, forks and updates."""

from __future__ import annotations

import operator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Interrupt, interrupt

from batchyard.workflows.checkpoints import SqliteCheckpoints

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver


class State(TypedDict, total=False):
    n: int
    log: Annotated[list[str], operator.add]


def grow(state: State) -> State:
    return {"n": state["n"] + 1, "log": [f"grew to {state['n'] + 1}"]}


def question(state: State) -> State:
    return {"log": [f"{state['n']}: {interrupt('well?')}"]}


def a_graph(saver: BaseCheckpointSaver[Any]) -> Any:
    inner: Any = StateGraph(State).add_sequence([("i1", grow), ("i2", grow)]).add_edge(START, "i1")
    outer: Any = StateGraph(State)
    outer.add_sequence([("one", grow), ("sub", inner.compile()), ("ask", question), ("last", grow)])
    outer.add_node("side", lambda _: {"log": ["side"]}).add_edge(START, "one").add_edge(START, "side")
    return outer.compile(checkpointer=saver)


def shown(history: Any) -> list[Any]:
    """What of a history does not depend on ids and times."""
    return [
        (
            snapshot.values,
            snapshot.next,
            snapshot.metadata["source"],
            snapshot.metadata["step"],
            sorted(
                (task.name, str(task.result), [found.value for found in task.interrupts]) for task in snapshot.tasks
            ),
        )
        for snapshot in history
    ]


def lead_a_life(saver: BaseCheckpointSaver[Any]) -> list[Any]:
    """Run, resume, go back, fork and write by hand, and return all that can be seen of it."""
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    graph = a_graph(saver)
    seen: list[Any] = []
    asked = graph.invoke({"n": 0, "log": []}, config, durability="sync")
    seen.append([found.value for found in asked["__interrupt__"] if isinstance(found, Interrupt)])
    seen.append(shown(graph.get_state_history(config)))
    seen.append(graph.invoke(Command(resume="fine"), config, durability="sync"))
    before_sub = next(point for point in graph.get_state_history(config) if "sub" in point.next)
    seen.append(graph.invoke(None, before_sub.config, durability="sync")["log"])
    forked = graph.update_state(before_sub.config, {"n": 100, "log": ["by hand"]}, as_node="one")
    seen.append(graph.get_state(forked).values)
    copied = graph.update_state(before_sub.config, None, as_node="__copy__")
    seen.append(graph.get_state(copied).values)
    seen.append(graph.invoke(None, forked, durability="sync")["log"])
    seen.append(shown(graph.get_state_history(config)))
    return seen


def test_langgraph_sees_no_difference_to_its_own_saver(tmp_path: Path) -> None:
    with closing(SqliteCheckpoints(tmp_path / "checkpoints.db")) as saver:
        ours = lead_a_life(saver)

    assert ours == lead_a_life(InMemorySaver())
