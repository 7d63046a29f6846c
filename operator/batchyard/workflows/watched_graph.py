"""Compile a LangGraph graph so that its top-level nodes tell a run's recorder when they begin and end.

Not for running graphs: ``graph_run`` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeAlias

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import run_in_executor
from langgraph.errors import GraphBubbleUp, ParentCommand
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel

from batchyard.model.errors import WorkflowInvalid
from batchyard.workflows.checkpoints import RECORDER_KEY, SqliteCheckpoints
from batchyard.workflows.endings import quoted
from batchyard.workflows.recorder import Recorder, Visit, describe

Graph: TypeAlias = CompiledStateGraph[Any, Any, Any, Any]


class _WatchedNode(Runnable[Any, Any]):
    """A top-level node that tells its run's recorder when it begins and ends."""

    def __init__(self, node: str, inner: Runnable[Any, Any]) -> None:
        self.name = node
        self._inner = inner
        self._awaited = _needs_await(inner)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run the node here."""
        recorder, visit = self._enter(config)
        try:
            result = self._inner.invoke(input, config, **kwargs)
        except BaseException as error:
            _leave(recorder, visit, error)
            raise
        _leave(recorder, visit, None)
        return result

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run an asynchronous node here, a plain one on the calling thread of the run."""
        if not self._awaited:
            return await run_in_executor(None, self.invoke, input, config, **kwargs)
        recorder, visit = self._enter(config)
        try:
            result = await self._inner.ainvoke(input, config, **kwargs)
        except BaseException as error:
            _leave(recorder, visit, error)
            raise
        _leave(recorder, visit, None)
        return result

    def _enter(self, config: RunnableConfig | None) -> tuple[Recorder | None, Visit | None]:
        recorder: Recorder | None = (config or {}).get("configurable", {}).get(RECORDER_KEY)
        if recorder is None or config is None:
            return None, None
        metadata = config["metadata"]
        task: str = metadata["langgraph_checkpoint_ns"]
        if "|" in task:  # the graph calls itself: this is no top-level node
            return None, None
        return recorder, recorder.enter(str(self.name), metadata["langgraph_step"], task)


def _leave(recorder: Recorder | None, visit: Visit | None, error: BaseException | None) -> None:
    if recorder is None or visit is None:
        return
    if error is None or isinstance(error, ParentCommand):
        recorder.leave(visit, "completed")
    elif isinstance(error, GraphBubbleUp | asyncio.CancelledError):
        recorder.leave(visit, "interrupted")
    else:
        recorder.leave(visit, "failed", error)


def compiled(made: object, name: str, checkpoints: SqliteCheckpoints) -> Graph:
    """Compile what the factory made with our checkpoints and no cache, and have its nodes watched.

    What is compiled already, as prebuilt agents are, is compiled anew; of that, its store and its name are kept.
    """
    store = None
    if isinstance(made, CompiledStateGraph):
        if made.interrupt_before_nodes or made.interrupt_after_nodes:
            raise WorkflowInvalid(
                f'the factory "{name}" returned a graph that is compiled to be held at nodes; leave interrupt_before '
                "and interrupt_after out, and let the node ask by interrupt()"
            )
        store = made.store
        made = made.builder
    if isinstance(made, Pregel):
        raise WorkflowInvalid(
            f'the factory "{name}" returned a {type(made).__name__} that is not made of a StateGraph; return a '
            "StateGraph, so that it can be compiled with durable checkpoints"
        )
    if not isinstance(made, StateGraph):
        raise WorkflowInvalid(f'the factory "{name}" returned a {type(made).__name__}; it must return a StateGraph')
    try:
        graph: Graph = made.compile(checkpointer=checkpoints, cache=None, store=store)
        cached = [
            path for path, inner in graph.get_subgraphs(recurse=True) if getattr(inner, "cache", None) is not None
        ]
    except Exception as error:  # LangGraph raises several kinds, and a node's own type hints may raise any
        raise WorkflowInvalid(f'the graph of the factory "{name}" does not compile: {describe(error)}') from error
    if cached:
        raise WorkflowInvalid(
            f'the subgraph {quoted(cached)} of the factory "{name}" has a node cache, which answers one variant with '
            "another's result; compile it without cache="
        )
    for key, node in graph.nodes.items():
        if key != START:
            graph.nodes[key] = node.copy({"bound": _WatchedNode(key, node.bound), "cache_policy": None})
    return graph


def _needs_await(runnable: object) -> bool:
    """Return whether any part of a node has only an asynchronous form, as far as can be seen from outside."""
    inner = getattr(runnable, "bound", None)  # a binding: .with_config(), .with_retry()
    if isinstance(inner, Runnable):
        return _needs_await(inner)
    if isinstance(runnable, Pregel):
        branches = getattr(getattr(runnable, "builder", None), "branches", {})
        paths = [branch.path for ways in branches.values() for branch in ways.values()]
        return any(_needs_await(part) for part in (*(node.bound for node in runnable.nodes.values()), *paths))
    steps = getattr(runnable, "steps", None) or getattr(runnable, "steps__", None)
    if steps:
        return any(_needs_await(step) for step in (steps.values() if isinstance(steps, Mapping) else steps))
    tools = getattr(runnable, "tools_by_name", None)
    if isinstance(tools, Mapping):
        return any(
            getattr(tool, "func", ...) is None and getattr(tool, "coroutine", None) is not None
            for tool in tools.values()
        )
    return getattr(runnable, "func", None) is None and getattr(runnable, "afunc", None) is not None
