"""One run of a LangGraph graph, from its input or from where its thread stands: how it ended and what it showed.

Not for what is done between runs (``langgraph``), nor for what nodes tell (``watched_graph``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from langgraph.errors import GraphDrained, GraphRecursionError
from langgraph.graph import START

from batchyard.model.outcome import Reason
from batchyard.model.questions import Question
from batchyard.workflows.checkpoints import RECORDER_KEY
from batchyard.workflows.endings import STOPPED, asked, out_of_steps, paused, quoted, raised, unstorable
from batchyard.workflows.files import FilesNotKept
from batchyard.workflows.recorder import Recorder, Visit, describe
from batchyard.workflows.unstorable import StateNotSerialisable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.runnables import RunnableConfig
    from langgraph.runtime import RunControl
    from langgraph.types import Durability

    from batchyard.model.execution import Breakpoints
    from batchyard.workflows.caller_loop import CallerLoop
    from batchyard.workflows.watched_graph import Graph

_TASK_NOTE = re.compile("During task with name '(.*)' and id ")
"""What LangGraph notes on an exception, whatever part of a node's task raised it."""


class Ending(NamedTuple):
    """How a run ended, as ``RunOutput`` has it."""

    status: str
    reason: str = ""
    message: str = ""


class GraphRun:
    """One run of a graph: ``state`` is what it last showed, at first what it began with, ``questions`` what it asked.

    ``given`` is what the graph is given: its input, None to go on, or a ``Command`` with an answer. ``taken`` steps of
    the ``recursion_limit`` are used up already.
    """

    def __init__(
        self,
        graph: Graph,
        thread_id: str,
        recorder: Recorder,
        recursion_limit: int,
        *,
        given: object,
        state: dict[str, object],
        breakpoints: Breakpoints,
        callbacks: Sequence[BaseCallbackHandler] = (),
        taken: int = 0,
    ) -> None:
        self.state = state
        self._graph = graph
        self._given = given
        self._recorder = recorder
        self._breakpoints = breakpoints
        self.questions: tuple[Question, ...] = ()
        self._asked = False
        self._config: RunnableConfig = {
            "configurable": {"thread_id": thread_id, RECORDER_KEY: recorder},
            "recursion_limit": recursion_limit - taken,
        }
        if callbacks:
            self._config["callbacks"] = list(callbacks)
        self._recursion_limit = recursion_limit

    def to_its_end(self, loop: CallerLoop, control: RunControl, durability: str) -> Ending:
        """Run the graph and say how that went."""
        try:
            loop.run(self._stream(control, durability))
        except GraphDrained:
            return Ending("stopped", "", STOPPED)
        except GraphRecursionError:
            return self._out_of_steps()
        except StateNotSerialisable as error:
            return self._unstorable(error)
        except FilesNotKept as error:
            return self._files_not_kept(error)
        except Exception as error:  # whatever the workflow raises is the trial's result
            return self._raised(error)
        held = [visit.node for visit in self._recorder.visits() if visit.status == "interrupted"]
        if held or self._asked:
            self.questions = questions_of(self._graph, self._config)
            message = asked(self.questions) or f"the graph has a breakpoint in {quoted(held)}"
            return Ending("interrupted", Reason.INTERRUPTED_BY_GRAPH, message)
        due = self.upcoming() if self._breakpoints else ()
        return Ending("paused", "", paused(due)) if due else Ending("completed")

    def upcoming(self) -> tuple[str, ...]:
        """Return the nodes that would run next."""
        begun = self._recorder.unstored()
        if begun:
            return tuple(dict.fromkeys(visit.node for visit in begun))
        return upcoming_of(self._graph, self._config)

    async def _stream(self, control: RunControl, durability: str) -> None:
        is_root = isinstance(self._graph.stream_channels_asis, str)
        async for values in self._graph.astream(
            cast("Any", self._given),
            self._config,
            stream_mode="values",
            interrupt_before=_names(self._breakpoints.before),
            interrupt_after=_names(self._breakpoints.after),
            durability=cast("Durability", durability),
            control=control,
        ):
            shown = values if isinstance(values, dict) else {}
            if "__interrupt__" in shown:
                self._asked = True
                shown.pop("__interrupt__")
                if not shown:
                    continue
            if is_root:
                self.state = {"__root__": values}
            else:
                self.state = shown

    def _out_of_steps(self) -> Ending:
        visits = self._recorder.visits()
        message = out_of_steps(self._recursion_limit, visits[-1].node if visits else "")
        return Ending("failed", Reason.RECURSION_LIMIT, message)

    def _unstorable(self, error: StateNotSerialisable) -> Ending:
        writer = self._recorder.node_of(self._recorder.culprits.get(error.key, "?"))
        suspects = [visit for visit in self._recorder.unstored() if writer in (None, visit.node)]
        if len(suspects) == 1:
            suspects[0].status, suspects[0].exception = "failed", error
        message = unstorable(sorted({visit.node for visit in suspects}), error)
        return Ending("failed", Reason.STATE_NOT_SERIALISABLE, message)

    def _files_not_kept(self, error: FilesNotKept) -> Ending:
        suspects = self._recorder.unstored()
        for visit in suspects:
            visit.status, visit.exception = "failed", error
        nodes = sorted({visit.node for visit in suspects})
        where = f"after node {quoted(nodes)}" if nodes else "before any node"
        return Ending("failed", Reason.FILES_NOT_KEPT, f"{where}: {error}")

    def _raised(self, error: Exception) -> Ending:
        visit = self._visit_that_raised(error)
        if visit is not None:
            visit.status, visit.exception = "failed", error
            return Ending("failed", Reason.NODE_RAISED, raised(visit.node, error))
        begun = sorted({visit.node for visit in self._recorder.unstored()})
        place = f"after node {quoted(begun)}" if begun else "before any node, on the input"
        return Ending("failed", Reason.NODE_RAISED, f"{place}: {describe(error)}")

    def _visit_that_raised(self, error: Exception) -> Visit | None:
        """Return the visit whose node, or whose way out (what it returned, where it leads), raised the error."""
        visits = self._recorder.visits()
        for visit in visits:
            if visit.exception is error:
                return visit
        noted = [found[1] for note in getattr(error, "__notes__", ()) if (found := _TASK_NOTE.match(note))]
        return next((visit for visit in reversed(visits) if visit.node in noted), None)


def upcoming_of(graph: Graph, config: RunnableConfig) -> tuple[str, ...]:
    """Return the nodes that would run next on the config's thread."""
    try:
        due = graph.get_state(config).next
    except Exception:  # reading a state applies what is pending: a reducer that raised raises again
        return ()
    return tuple(dict.fromkeys(node for node in due if node != START))


def questions_of(graph: Graph, config: RunnableConfig) -> tuple[Question, ...]:
    """Return what waits to be answered on the config's thread, in the order of the nodes that asked."""
    try:
        tasks = graph.get_state(config).tasks
    except Exception:  # as for what would run next
        return ()
    return tuple(Question(asked.id, task.name, str(asked.value)) for task in tasks for asked in task.interrupts)


def _names(nodes: Collection[str]) -> Any:
    """Return breakpoints as LangGraph takes them."""
    return "*" if "*" in nodes else sorted(nodes)
