"""Run LangGraph workflows, each node boundary durable, and hold, go on with, take back, fork and edit them.

With ``checkpoints``, ``graph_run`` and ``watched_graph`` the only modules that know LangGraph. How it runs graphs,
and why LangGraph's node cache stays off (it answers one variant with another's result): docs/adr/0003-checkpoints.md.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING

from langgraph.channels import BinaryOperatorAggregate
from langgraph.errors import InvalidUpdateError
from langgraph.graph import START
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import RunControl
from langgraph.types import Command, Overwrite

from batchyard.clock import Clock, SystemClock
from batchyard.engine.ports import Probe, RunOutput
from batchyard.model.execution import NO_BREAKPOINTS, Breakpoints, Checkpoint
from batchyard.model.questions import NO_ANSWERS
from batchyard.workflows.caller_loop import CallerLoop
from batchyard.workflows.checkpoint_reading import INTERNAL
from batchyard.workflows.checkpoints import SqliteCheckpoints
from batchyard.workflows.endings import ambiguous, in_use, no_checkpoint, no_key, quoted
from batchyard.workflows.factory import call_factory, load_callable
from batchyard.workflows.graph_marks import graph_marks
from batchyard.workflows.graph_run import GraphRun, questions_of, upcoming_of
from batchyard.workflows.model_usage import Prices, counting
from batchyard.workflows.recorder import Recorder, Visit, clip
from batchyard.workflows.thread_copy import export_thread
from batchyard.workflows.watched_graph import Graph, compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from langchain_core.runnables import RunnableConfig

    from batchyard.engine.files import FileTracking
    from batchyard.engine.marks import GraphMarks, ShareableNode
    from batchyard.model.questions import Question
    from batchyard.model.trial import JSON
    from batchyard.workflows.files import WorkspaceFiles


class LangGraphStateAdapter:
    """Runs LangGraph graphs with checkpoints in a file of its own. One run at a time.

    Nodes run as ``invoke`` would run them: plain functions on the calling thread, one after the other, in a pool
    only if several are due at once; ``async`` ones on an event loop that the adapter owns.

    Args:
        factory: ``module:function`` or the function itself; called with the variants, returns a ``StateGraph``.
        checkpoint_path: The file, made if it is not there; no other process may write it.
        source: The folder to import the factory's module from.
        clock: Measures node durations.
        prices: Have the tokens of LangChain models counted, and by these prices their cost; None counts nothing.
        files: Keeps files of the executions' workspaces with their checkpoints.
    """

    def __init__(
        self,
        factory: str | Callable[..., object],
        checkpoint_path: Path,
        source: Path | None = None,
        *,
        clock: Clock | None = None,
        prices: Prices | None = None,
        files: WorkspaceFiles | None = None,
    ) -> None:
        """Open the checkpoint file; the factory is imported when first needed. Raises ``StoreError``."""
        self._factory = factory
        module = factory.partition(":")[0] if isinstance(factory, str) else str(getattr(factory, "__module__", ""))
        self._package = module.partition(".")[0]
        self._path = checkpoint_path
        self._source = source
        self._clock = clock or SystemClock()
        self._prices = prices
        self._loop = CallerLoop()
        self._graphs: dict[tuple[tuple[str, str], ...], Graph] = {}
        # What had completed beside the node at which the last run was held, by that run's thread and checkpoint.
        self._held: tuple[tuple[str, str], tuple[Visit, ...]] = ("", ""), ()
        self.files: FileTracking | None = files
        self.checkpoints = SqliteCheckpoints(checkpoint_path, files=files)

    def prepare(self, variants: Mapping[str, str]) -> object:
        """Return the compiled graph for these variants, made once and kept. Raises ``WorkflowInvalid``."""
        key = tuple(sorted(variants.items()))
        graph = self._graphs.get(key)
        if graph is None:
            name = self._factory if isinstance(self._factory, str) else getattr(self._factory, "__qualname__", "?")
            if isinstance(self._factory, str):
                self._factory = load_callable(self._factory, self._source)
            made = call_factory(self._factory, name, variants)
            graph = self._graphs[key] = compiled(made, name, self.checkpoints)
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
        breakpoints: Breakpoints = NO_BREAKPOINTS,
    ) -> RunOutput:
        """Run the graph on a new thread. Raises ``ValueError`` if the thread already has checkpoints."""
        graph = _graph(workflow)
        if self.checkpoints.knows(thread_id):
            raise ValueError(in_use(thread_id))
        # A copy: nodes may change what they are given in place, and the same case is run again and again.
        given: dict[str, object] = copy.deepcopy(dict(state))
        recorder = Recorder(probe, self._clock, self.checkpoints.settle)
        run = GraphRun(
            graph, thread_id, recorder, recursion_limit, given=given, state=given, breakpoints=breakpoints,
            callbacks=counting(self._prices),
        )  # fmt: skip
        return self._run(run, thread_id, recorder, probe, durability)

    def resume(
        self,
        workflow: object,
        thread_id: str,
        *,
        answers: Mapping[str, JSON] = NO_ANSWERS,
        probe: Probe,
        recursion_limit: int,
        durability: str,
        breakpoints: Breakpoints = NO_BREAKPOINTS,
        steps_count: bool = False,
    ) -> RunOutput:
        """Go on from the thread's newest checkpoint."""
        graph, head = _graph(workflow), self._head(thread_id)
        held, done = self._held
        recorder = Recorder(
            probe, self._clock, self.checkpoints.settle, done=done if held == (thread_id, head.id) else ()
        )  # fmt: skip
        recorder.stored(head.step, head.id)
        run = GraphRun(
            graph, thread_id, recorder, recursion_limit, taken=head.step + 2 if steps_count else 0,
            # By the questions' ids even if there is one: a bare answer that is {} would pass for no answer at all.
            given=Command(resume=answers.get("", dict(answers))) if answers else None,
            state=dict(self.state(thread_id)), breakpoints=breakpoints, callbacks=counting(self._prices),
        )  # fmt: skip
        return self._run(run, thread_id, recorder, probe, durability)

    def _run(self, run: GraphRun, thread_id: str, recorder: Recorder, probe: Probe, durability: str) -> RunOutput:
        control = RunControl()
        probe.on_stop(partial(control.request_drain, "asked to stop"))
        ending = run.to_its_end(self._loop, control, durability)
        upcoming: tuple[str, ...] = ()
        if ending.status != "completed" and recorder.last_checkpoint is not None:
            self._held = (thread_id, recorder.last_checkpoint), recorder.completed_beside()
            upcoming = run.upcoming()
            self.checkpoints.note_upcoming(thread_id, recorder.last_checkpoint, upcoming)
        return RunOutput(
            status=ending.status,
            state=run.state,
            boundaries=recorder.boundaries(),
            reason=ending.reason,
            message=clip(ending.message),
            last_checkpoint=recorder.last_checkpoint,
            upcoming=upcoming,
            questions=run.questions,
        )

    def marks(
        self, workflow: object, variants: Mapping[str, str], declared: Sequence[ShareableNode], environment: str
    ) -> GraphMarks:
        """Return the fingerprints of what may be shared of a graph."""
        return graph_marks(_graph(workflow), variants, declared, environment, self._source, self._package)

    def roll_back(self, thread_id: str, checkpoint_id: str) -> None:
        """Drop all that came after a checkpoint of the thread, subgraphs' checkpoints too."""
        self._known(thread_id, checkpoint_id)
        self.checkpoints.roll_back(thread_id, checkpoint_id)

    def fork(self, thread_id: str, checkpoint_id: str, new_thread_id: str) -> None:
        """Copy the thread up to a checkpoint to a new one, without what was under way there."""
        self._known(thread_id, checkpoint_id)
        if self.checkpoints.knows(new_thread_id):
            raise ValueError(in_use(new_thread_id))
        self.checkpoints.fork(thread_id, checkpoint_id, new_thread_id)

    def take_out(self, thread_id: str, checkpoint_id: str | None = None) -> bytes:
        """Return the thread, or what it was at a checkpoint, as a checkpoint file of its own."""
        self.checkpoints.settle()
        return export_thread(self._path, thread_id, checkpoint_id)

    def take_in(self, thread_id: str, piece: bytes) -> None:
        """Add a thread that was taken out of another checkpoint file."""
        if self.checkpoints.knows(thread_id):
            raise ValueError(in_use(thread_id))
        self.checkpoints.take_in(thread_id, piece)

    def edit(self, workflow: object, thread_id: str, values: Mapping[str, JSON], as_node: str | None = None) -> str:
        """Set keys of the thread's newest state; reducers are passed by."""
        graph = _graph(workflow)
        self._head(thread_id)
        known = [name for name in graph.channels if name in graph.output_channels]
        if unknown := [name for name in values if name not in known]:
            raise ValueError(no_key(unknown, known))
        written = {
            key: Overwrite(value) if isinstance(graph.channels[key], BinaryOperatorAggregate) else value
            for key, value in values.items()
        }
        node = as_node or self._ran_last(thread_id)
        if node != START and node not in graph.nodes:
            raise ValueError(f"the workflow has no node {quoted([node])}; it has {quoted(self.nodes(graph))}")
        try:
            self._loop.run(graph.aupdate_state(_config(thread_id), written, as_node=node))
        except InvalidUpdateError as error:
            raise ValueError(f"the state cannot be set so: {error}") from error
        head = self._head(thread_id)
        self.checkpoints.note_upcoming(thread_id, head.id, self.upcoming(graph, thread_id))
        return head.id

    def questions(self, workflow: object, thread_id: str) -> tuple[Question, ...]:
        """Return what the thread waits to be answered."""
        return questions_of(_graph(workflow), _config(thread_id))

    def upcoming(self, workflow: object, thread_id: str) -> tuple[str, ...]:
        """Return the nodes that would run next on the thread."""
        return upcoming_of(_graph(workflow), _config(thread_id))

    def nodes(self, workflow: object) -> tuple[str, ...]:
        """Return the names of the graph's top-level nodes."""
        return tuple(name for name in _graph(workflow).nodes if name != START)

    def history(self, thread_id: str) -> Sequence[Checkpoint]:
        """Return the thread's checkpoints, oldest first."""
        return self.checkpoints.history(thread_id)

    def state(self, thread_id: str, checkpoint_id: str | None = None) -> Mapping[str, object]:
        """Return the state at a checkpoint, without the channels LangGraph keeps for itself."""
        stored = self.checkpoints.get_tuple(_config(thread_id, checkpoint_id))
        if stored is None:
            raise KeyError(no_checkpoint(thread_id, checkpoint_id))
        values = stored.checkpoint["channel_values"]
        return {key: value for key, value in values.items() if not INTERNAL.match(key)}

    def close(self) -> None:
        """Stop the loop and close the checkpoint file."""
        self._loop.close()
        self.checkpoints.close()

    def _head(self, thread_id: str) -> Checkpoint:
        history = self.checkpoints.history(thread_id)
        if not history:
            raise KeyError(no_checkpoint(thread_id))
        return history[-1]

    def _known(self, thread_id: str, checkpoint_id: str) -> None:
        if all(point.id != checkpoint_id for point in self.checkpoints.history(thread_id)):
            raise KeyError(no_checkpoint(thread_id, checkpoint_id))

    def _ran_last(self, thread_id: str) -> str:
        """Return the node that an edit stands for: the one that ran last, or the input if none did."""
        for point in reversed(self.checkpoints.history(thread_id)):
            if len(set(point.nodes)) > 1:
                raise ValueError(ambiguous(point.nodes))
            if point.nodes:
                return point.nodes[0]
        return START


def _graph(workflow: object) -> Graph:
    if not isinstance(workflow, CompiledStateGraph):
        raise TypeError(f"a workflow is what prepare() returned, not a {type(workflow).__name__}")
    return workflow


def _config(thread_id: str, checkpoint_id: str | None = None) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id, "checkpoint_id": checkpoint_id}}
