"""What a worker of LangGraph workflows is made of; the zygote imports this, and every start of a run waits for it.

Not for the engine's side (``compose``): a worker needs no store, and importing one costs as much as langgraph.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from batchyard.judge import ConfiguredEvaluator, EvaluationEngine
from batchyard.judge.callables import CallableInvalid
from batchyard.model.errors import Fault, WorkflowInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.engine.ports import StateAdapter
    from batchyard.model.trial import JSON
    from batchyard.runners.worker import Setup


class LangGraphParts:
    """Makes a worker's parts for LangGraph workflows; imports langgraph only when asked to."""

    def warm_up(self) -> None:
        """Import, before any fork, all that a worker needs but the user's own code."""
        import batchyard.workflows.langgraph  # noqa: F401

    def adapter(self, setup: Setup) -> StateAdapter:
        """Return the LangGraph adapter on the worker's own checkpoint file."""
        from batchyard.workflows.files import kept_in
        from batchyard.workflows.langgraph import LangGraphStateAdapter

        source = Path(setup.source) if setup.source else None
        prices = None if setup.metering is None else setup.prices
        files = kept_in(Path(setup.objects), setup.files)
        return LangGraphStateAdapter(setup.factory, Path(setup.checkpoints), source, prices=prices, files=files)

    def judge(self, setup: Setup) -> EvaluationEngine:
        """Return the evaluation engine, with the user's own evaluators imported."""
        from batchyard.workflows.factory import load_callable

        source = Path(setup.source) if setup.source else None
        evaluators = [ConfiguredEvaluator(**entry) for entry in setup.evaluators]
        try:
            return EvaluationEngine(
                evaluators, setup.pass_threshold, resolve=lambda reference: load_callable(reference, source)
            )
        except CallableInvalid as err:
            raise WorkflowInvalid(str(err)) from err

    def input_faults(self, setup: Setup, inputs: Sequence[tuple[str, JSON]]) -> list[Fault]:
        """Check inputs against the workflow's input schema."""
        from batchyard.workflows.factory import load_callable
        from batchyard.workflows.inputs import input_faults

        source = Path(setup.source) if setup.source else None
        return input_faults(load_callable(setup.input_schema, source), inputs)
