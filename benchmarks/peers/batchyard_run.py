"""Batchyard itself: the command ``batchyard run`` on a BatchTest of the same graph, with everything durable.

``seconds`` is the steady state: from the end of the first tenth of the trials to the end of the last, scaled to all of
them. What start-up and the final judgement cost shows in the time of the whole command, which the harness takes.
"""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.batch import batch_test, run_batch
from benchmarks.peers.contract import arguments, report, require
from benchmarks.workflows import noop

from batchyard import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence


def steady_seconds(trials: Sequence[dict[str, Any]]) -> float:
    """Return how long all trials take at the pace of the last nine tenths."""
    ends = sorted(datetime.fromisoformat(trial["completionTime"]) for trial in trials)
    skipped = len(ends) // 10
    span = (ends[-1] - ends[skipped]).total_seconds()
    return span * len(ends) / (len(ends) - 1 - skipped)


def main() -> None:
    """Run and report."""
    options = arguments(str(__doc__), isolation=("Process", "Thread"))
    file = batch_test("noop", "noop:build", trials=options.trials, isolation=options.isolation)
    with tempfile.TemporaryDirectory() as folder:
        result = run_batch(file, Path(folder))
    trials = result["trials"]
    passed = [trial for trial in trials if trial["outcome"] == "Passed" and len(trial["nodes"]) == noop.NODES]
    require(len(passed) == options.trials, f"{len(passed)} of {options.trials} trials passed through all nodes")
    report("batchyard", __version__, options.trials, steady_seconds(trials))


if __name__ == "__main__":
    main()
