"""The published package wtb: its development bench (SQLite on disk for both stores) running the same graph.

``--mode batch`` uses its batch runner with one case after the other, which is its fastest shape here. ``--mode matrix``
makes every trial a combination, so that its four threads run, and is slower. ``--mode loop`` calls its single-run
facade in a loop, which records no batch at all.
"""

from __future__ import annotations

import logging
import tempfile
from importlib.metadata import version
from typing import Any

from benchmarks.peers.contract import arguments, measure, report, require
from benchmarks.workflows import noop
from wtb.sdk import ExecutionConfig, WorkflowProject, WTBTestBench  # type: ignore[import-not-found,unused-ignore]


def graph() -> Any:
    """Return the no-op chain, uncompiled, as wtb wants it."""
    return noop.chain(noop.NODES)


def main() -> None:
    """Run and report."""
    options = arguments(str(__doc__), mode=("batch", "matrix", "loop"))
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        bench = WTBTestBench.create(mode="development", data_dir=folder)
        execution = ExecutionConfig(batch_executor="threadpool")
        bench.register_project(WorkflowProject(name="noop", graph_factory=graph, execution=execution))

        def loop(trials: int, prefix: str) -> None:
            del prefix
            for _ in range(trials):
                final = bench.run(project="noop", initial_state={"n": 0}).state.workflow_variables
                require(final["n"] == noop.NODES, f"a trial ended with {final}")

        def batch(trials: int, prefix: str) -> None:
            width = trials if options.mode == "matrix" else 1
            result = bench.run_batch_test(
                project="noop",
                variant_matrix=[{"prefix": f"{prefix}-{number}"} for number in range(width)],
                test_cases=[{"n": 0}] * (trials // width),
            )
            done = sum(one.success for one in result.results)
            require(done == trials, f"{done} of {trials} trials succeeded")

        seconds = measure(loop if options.mode == "loop" else batch, options.trials)
        bench.close()
    report("wtb", version("wtb"), options.trials, seconds)


if __name__ == "__main__":
    main()
