"""Run LangGraph workflows, each node boundary durable, and tell what each node did.

The only module, with ``checkpoints``, that knows LangGraph. How it runs graphs, and why LangGraph's node cache stays
off (it answers one variant with another's result): docs/adr/0003-checkpoints.md.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import run_in_executor
from langgraph.errors import GraphBubbleUp, GraphDrained, GraphRecursionError, ParentCommand
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.runtime import RunControl

from batchyard.clock import Clock, SystemClock
from batchyard.engine.ports import Checkpoint, Probe, RunOutput
from batchyard.model.errors import WorkflowInvalid
from batchyard.model.outcome import Reason
from batchyard.workflows.caller_loop import CallerLoop
from batchyard.workflows.checkpoints import RECORDER_KEY, SqliteCheckpoints
from batchyard.workflows.endings import STOPPED, in_use, out_of_steps, quoted, raised, unstorable
from batchyard.workflows.factory import call_factory, load_callable
from batchyard.workflows.recorder import Recorder, Visit, clip, describe
from batchyard.workflows.unstorable import StateNotSerialisable

if TYPE_CHECKING:
    from pathlib import Path

    from langgraph.types import Durability

    from batchyard.model.trial import JSON

_Graph = CompiledStateGraph[Any, Any, Any, Any]


class LangGraphStateAdapter:
    """Runs LangGraph graphs with checkpoints in a file of its own. One run at a time.

    Nodes run as ``invoke`` would run them: plain functions on the calling thread, one after the other, in a pool
    only if several are due at once; ``async`` ones on an event loop that the adapter owns.

    Args:
        factory: ``module:function`` or the function itself; called with the variants, returns a ``StateGraph``.
        checkpoint_path: The file, made if it is not there; no other process may write it.
        source: The folder to import the factory's module from.
        clock: Measures node durations.
    """

    def __init__(
        self,
        factory: str | Callable[..., object],
        checkpoint_path: Path,
        source: Path | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        """Open the checkpoint file; the factory is imported when first needed. Raises ``StoreError``."""
        self._factory = factory
        self._source = source
        self._clock = clock or SystemClock()
        self._loop = CallerLoop()
        self._graphs: dict[tuple[tuple[str, str], ...], _Graph] = {}
        self.checkpoints = SqliteCheckpoints(checkpoint_path)

    def prepare(self, variants: Mapping[str, str]) -> object:
        """Return the compiled graph for these variants, made once and kept. Raises ``WorkflowInvalid``."""
        key = tuple(sorted(variants.items()))
        graph = self._graphs.get(key)
        if graph is None:
            name = self._factory if isinstance(self._factory, str) else getattr(self._factory, "__qualname__", "?")
            if isinstance(self._factory, str):
                self._factory = load_callable(self._factory, self._source)
            made = call_factory(self._factory, name, variants)
            graph = self._graphs[key] = _compile(made, name, self.checkpoints)
        return graph

    def run(
        self,
        workflow: object,
        thread_id: str,
        state: Mapping[str, JSON],
        *,
        probe: Probe,
        recursion_limit: int,
        durability: str,
    ) -> RunOutput:
        """Run the graph on a new thread. Raises ``ValueError`` if the thread already has checkpoints."""
        if not isinstance(workflow, CompiledStateGraph):
            raise TypeError(f"run() takes what prepare() returned, not a {type(workflow).__name__}")
        if self.checkpoints.knows(thread_id):
            raise ValueError(in_use(thread_id))
        control = RunControl()
        probe.on_stop(partial(control.request_drain, "asked to stop"))
        recorder = Recorder(probe, self._clock, self.checkpoints.settle)
        # A copy: nodes may change what they are given in place, and the same case is run again and again.
        run = _Run(workflow, thread_id, recorder, recursion_limit, copy.deepcopy(dict(state)))
        ending = run.to_its_end(self._loop, control, durability)
        if ending.status != "completed" and recorder.last_checkpoint is not None:
            self.checkpoints.note_upcoming(thread_id, recorder.last_checkpoint, run.upcoming())
        return RunOutput(
            status=ending.status,
            state=run.state,
            boundaries=recorder.boundaries(),
            reason=ending.reason,
            message=clip(ending.message),
            last_checkpoint=recorder.last_checkpoint,
        )

    def history(self, thread_id: str) -> Sequence[Checkpoint]:
        """Return the thread's checkpoints, oldest first."""
        return self.checkpoints.history(thread_id)

    def state(self, thread_id: str, checkpoint_id: str | None = None) -> Mapping[str, object]:
        """Return the state at a checkpoint, without the channels LangGraph keeps for itself."""
        config: RunnableConfig = {"configurable": {"thread_id": thread_id, "checkpoint_id": checkpoint_id}}
        stored = self.checkpoints.get_tuple(config)
        if stored is None:
            raise KeyError(f'thread "{thread_id}" has no checkpoint{f" {checkpoint_id}" if checkpoint_id else ""}')
        values = stored.checkpoint["channel_values"]
        return {key: value for key, value in values.items() if key == "__root__" or not _INTERNAL.match(key)}

    def close(self) -> None:
        """Stop the loop and close the checkpoint file."""
        self._loop.close()
        self.checkpoints.close()


_INTERNAL = re.compile("__|branch:|join:|start:")
"""How the names of channels begin that LangGraph adds to a state for its own book-keeping."""

_TASK_NOTE = re.compile("During task with name '(.*)' and id ")
"""What LangGraph notes on an exception, whatever part of a node's task raised it."""


class _Ending(NamedTuple):
    """How a run ended, as ``RunOutput`` has it."""

    status: str
    reason: str = ""
    message: str = ""


class _Run:
    """One run of a graph: ``state`` is what it last showed, at first its input."""

    def __init__(
        self, graph: _Graph, thread_id: str, recorder: Recorder, recursion_limit: int, state: dict[str, JSON]
    ) -> None:
        self.state: dict[str, object] = state
        self._graph = graph
        self._recorder = recorder
        self._questions: list[object] = []
        self._config: RunnableConfig = {
            "configurable": {"thread_id": thread_id, RECORDER_KEY: recorder},
            "recursion_limit": recursion_limit,
        }

    def to_its_end(self, loop: CallerLoop, control: RunControl, durability: str) -> _Ending:
        """Run the graph and say how that went."""
        try:
            loop.run(self._stream(control, durability))
        except GraphDrained:
            return _Ending("stopped", "", STOPPED)
        except GraphRecursionError:
            return self._out_of_steps()
        except StateNotSerialisable as error:
            return self._unstorable(error)
        except Exception as error:  # whatever the workflow raises is the trial's result
            return self._raised(error)
        held = [visit.node for visit in self._recorder.visits() if visit.status == "interrupted"]
        if not held and not self._questions:
            return _Ending("completed")
        asked = "; ".join(str(getattr(question, "value", question)) for question in self._questions)
        message = asked or f"the graph has a breakpoint in {quoted(held)}"
        return _Ending("interrupted", Reason.INTERRUPTED_BY_GRAPH, message)

    def upcoming(self) -> tuple[str, ...]:
        """Return the nodes that would run next."""
        begun = self._recorder.unstored()
        if begun:
            return tuple(dict.fromkeys(visit.node for visit in begun))
        try:
            due = self._graph.get_state(self._config).next
        except Exception:  # reading a state applies what is pending: a reducer that raised raises again
            return ()
        return tuple(node for node in due if node != START)

    async def _stream(self, control: RunControl, durability: str) -> None:
        is_root = isinstance(self._graph.stream_channels_asis, str)
        async for values in self._graph.astream(
            self.state,
            self._config,
            stream_mode="values",
            durability=cast("Durability", durability),
            control=control,
        ):
            shown = values if isinstance(values, dict) else {}
            if "__interrupt__" in shown:
                self._questions.extend(shown.pop("__interrupt__"))
            if is_root:
                self.state = {"__root__": values}
            else:
                self.state = shown

    def _out_of_steps(self) -> _Ending:
        visits = self._recorder.visits()
        message = out_of_steps(self._config["recursion_limit"], visits[-1].node if visits else "")
        return _Ending("failed", Reason.RECURSION_LIMIT, message)

    def _unstorable(self, error: StateNotSerialisable) -> _Ending:
        writer = self._recorder.node_of(self._recorder.culprits.get(error.key, "?"))
        suspects = [visit for visit in self._recorder.unstored() if writer in (None, visit.node)]
        if len(suspects) == 1:
            suspects[0].status, suspects[0].exception = "failed", error
        message = unstorable(sorted({visit.node for visit in suspects}), error)
        return _Ending("failed", Reason.STATE_NOT_SERIALISABLE, message)

    def _raised(self, error: Exception) -> _Ending:
        visit = self._visit_that_raised(error)
        if visit is not None:
            visit.status, visit.exception = "failed", error
            return _Ending("failed", Reason.NODE_RAISED, raised(visit.node, error))
        begun = sorted({visit.node for visit in self._recorder.unstored()})
        place = f"after node {quoted(begun)}" if begun else "before any node, on the input"
        return _Ending("failed", Reason.NODE_RAISED, f"{place}: {describe(error)}")

    def _visit_that_raised(self, error: Exception) -> Visit | None:
        """Return the visit whose node, or whose way out (what it returned, where it leads), raised the error."""
        visits = self._recorder.visits()
        for visit in visits:
            if visit.exception is error:
                return visit
        noted = [found[1] for note in getattr(error, "__notes__", ()) if (found := _TASK_NOTE.match(note))]
        return next((visit for visit in reversed(visits) if visit.node in noted), None)


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


def _compile(made: object, name: str, checkpoints: SqliteCheckpoints) -> _Graph:
    """Compile what the factory made with our checkpoints and no cache, and have its nodes watched."""
    if isinstance(made, Pregel):
        raise WorkflowInvalid(
            f'the factory "{name}" returned a compiled graph; return the StateGraph itself, without .compile(), '
            "so that it can be compiled with durable checkpoints"
        )
    if not isinstance(made, StateGraph):
        raise WorkflowInvalid(f'the factory "{name}" returned a {type(made).__name__}; it must return a StateGraph')
    try:
        graph: _Graph = made.compile(checkpointer=checkpoints, cache=None)
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
