"""Worker parts without any framework, for tests of runners: they start in a blink and run the nodes of ``plain_acts``.

A zygote names it as ``plain_parts:PlainParts``; see ``runner_bench.plain_zygote``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import plain_acts
from batchyard.judge import ConfiguredEvaluator, EvaluationEngine
from batchyard.model.errors import Fault
from batchyard.testing.runner_workflow import NODES
from batchyard.workflows.in_memory import InMemoryStateAdapter, InMemoryWorkflow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchyard.engine.ports import StateAdapter
    from batchyard.model.trial import JSON
    from batchyard.runners.worker import Setup


class PlainParts:
    """Runs ``plain_acts`` or, with the factory ``conformance``, the workflow of the runners' conformance suite."""

    def warm_up(self) -> None:
        """Have everything imported: it is, by now."""

    def adapter(self, setup: Setup) -> StateAdapter:
        """Return the adapter that keeps everything in memory."""
        plain_acts.set_up(setup.factory)
        if setup.factory == "conformance":
            return InMemoryStateAdapter(lambda _variants: InMemoryWorkflow(NODES))
        return InMemoryStateAdapter(_build)

    def judge(self, setup: Setup) -> EvaluationEngine:
        """Return the engine with the evaluators of the setup; none of them calls user code."""
        evaluators = [ConfiguredEvaluator(**entry) for entry in setup.evaluators]
        return EvaluationEngine(evaluators, setup.pass_threshold)

    def input_faults(self, setup: Setup, inputs: Sequence[tuple[str, JSON]]) -> list[Fault]:
        """Find every input at fault that says so itself."""
        return [Fault(path, "", "says that it is wrong") for path, state in inputs if state.get("wrong")]


def _build(variants: Mapping[str, str]) -> InMemoryWorkflow:
    plain_acts.build_up(variants)
    name = variants.get("act", "pass")
    act = plain_acts.reckon(variants) if name == "reckons" else plain_acts.ACTS[name]
    return InMemoryWorkflow({"before": plain_acts.log_begin(variants), "act": act, "after": plain_acts.leave_mark})


FOLDER = Path(__file__).parent
