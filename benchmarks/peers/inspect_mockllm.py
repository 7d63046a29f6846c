"""Inspect AI with its mock model: one task whose solver is a chain of five no-op steps, logged to disk as usual.

The steps do not call the model: a call would be recorded too, and the graph of the others has none.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from typing import Any

import inspect_ai  # type: ignore[import-not-found,unused-ignore]
from benchmarks.peers.contract import arguments, measure, report, require
from inspect_ai.dataset import MemoryDataset, Sample  # type: ignore[import-not-found,unused-ignore]
from inspect_ai.solver import chain, solver  # type: ignore[import-not-found,unused-ignore]

STEPS = 5


def _make_step() -> Any:
    async def solve(state: Any, generate: Any) -> Any:
        del generate
        state.metadata["n"] += 1
        return state

    return solve


step = solver(_make_step)


def main() -> None:
    """Run and report; ``--log batched`` turns the log of every event as it happens off, Inspect's fastest setting."""
    options = arguments(str(__doc__), log=("realtime", "batched"))
    settings = {} if options.log == "realtime" else {"log_realtime": False, "max_samples": 100}
    with tempfile.TemporaryDirectory() as folder:

        def run(trials: int, prefix: str) -> None:
            samples = [Sample(input="no-op", id=f"{prefix}-{number}", metadata={"n": 0}) for number in range(trials)]
            task = inspect_ai.Task(dataset=MemoryDataset(samples), solver=chain(*[step() for _ in range(STEPS)]))
            log = inspect_ai.eval(task, model="mockllm/model", log_dir=folder, display="none", **settings)[0]
            done = [sample for sample in log.samples or [] if sample.metadata["n"] == STEPS]
            require(log.status == "success" and len(done) == trials, f"{log.status}, {len(done)} of {trials} samples")

        seconds = measure(run, options.trials)
    report("inspect-ai", version("inspect-ai"), options.trials, seconds)


if __name__ == "__main__":
    main()
