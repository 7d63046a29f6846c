"""What shared prefixes save: how many nodes run against the fewest that can, and the time with and without."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.batch import batch_test, run_batch

VARIANTS = 16
NODES, SHARED = 10, 7
_SECONDS = (0.0, 0.01)
"""How long each node takes: nothing, and as long as something small that is worth sharing."""


def measure_sharing(cases: int) -> dict[str, Any]:
    """Run 16 variants that differ from the eighth of ten nodes on, over so many cases, with and without sharing."""
    ideal = cases * (SHARED + VARIANTS * (NODES - SHARED))
    runs = []
    for seconds in _SECONDS:
        alone, together = _run(cases, seconds, sharing=False), _run(cases, seconds, sharing=True)
        if together["said"] != alone["said"]:
            raise RuntimeError("the trials that shared their beginnings came to other results")
        runs.append(
            {
                "nodeSeconds": seconds,
                "nodes": together["nodes"],
                "nodesAlone": alone["nodes"],
                "seconds": round(together["seconds"], 1),
                "secondsAlone": round(alone["seconds"], 1),
                "faster": round(alone["seconds"] / together["seconds"], 2),
            }
        )
    most = max(run["nodes"] for run in runs)
    return {"variants": VARIANTS, "cases": cases, "ideal": ideal, "ofIdeal": round(most / ideal, 4), "runs": runs}


def _run(cases: int, seconds: float, *, sharing: bool) -> dict[str, Any]:
    prompts = {"prompt": [f"prompt-{number}" for number in range(VARIANTS)]}
    file = batch_test("sharing", "sharing:build", trials=VARIANTS, matrix=prompts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "log"
        given = {"log": str(log), "seconds": seconds}
        file["spec"]["cases"] = [{"name": f"case-{number}", "input": given} for number in range(cases)]
        if sharing:
            nodes = [{"name": f"n{number}", "dependsOn": []} for number in range(1, SHARED + 1)]
            file["spec"]["workflow"]["sharedPrefix"] = {"nodes": nodes}
        begun = time.perf_counter()
        document = run_batch(file, folder)
        took = time.perf_counter() - begun
        said = {trial["id"]: (trial["outcome"], tuple(trial["nodes"])) for trial in document["trials"]}
        return {"nodes": log.stat().st_size, "seconds": took, "said": said}
