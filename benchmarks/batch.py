"""BatchTest files for the benchmark, and the command line that runs them, as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WORKFLOWS = Path(__file__).resolve().parent / "workflows"
COMMAND = (sys.executable, "-m", "batchyard")
PARALLELISM = 2


def batch_test(
    name: str,
    factory: str,
    *,
    trials: int,
    matrix: Mapping[str, Sequence[str]] | None = None,
    isolation: str = "Process",
    deadlines: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Return a BatchTest of at least ``trials`` trials over the matrix: ten cases, as many repeats as it takes."""
    matrix = matrix or {"variant": ["only"]}
    combinations = 1
    for choices in matrix.values():
        combinations *= len(choices)
    cases = min(10, -(-trials // combinations))
    return {
        "apiVersion": "batchyard.dev/v1alpha1",
        "kind": "BatchTest",
        "metadata": {"name": f"bench-{name}"},
        "spec": {
            "workflow": {"factory": factory, "source": {"path": str(WORKFLOWS)}},
            "variants": {"matrix": {dimension: list(choices) for dimension, choices in matrix.items()}},
            "cases": [{"name": f"case-{number}", "input": {"n": 0}} for number in range(cases)],
            "repeats": -(-trials // (combinations * cases)),
            "parallelism": PARALLELISM,
            "deadlines": {"batchSeconds": 7200, "trialSeconds": 60, **(deadlines or {})},
            "environment": {"provider": "InProcess", "isolation": isolation},
            "checkpoints": {"durability": "sync"},
        },
    }


def write(file: Mapping[str, Any], folder: Path) -> Path:
    """Write the BatchTest (JSON is YAML) and return its path."""
    path = folder / "batch.yaml"
    path.write_text(json.dumps(file, indent=1))
    return path


def store_of(folder: Path) -> list[str]:
    """Return the options that put everything durable into ``folder``."""
    return ["--store", str(folder / "store.sqlite")]


def run_batch(file: Mapping[str, Any], folder: Path, marker: str = "") -> dict[str, Any]:
    """Run the BatchTest to its end and return the command's JSON document.

    ``marker`` goes into the environment of everything the run starts, so that what outlives it can be found.
    """
    command = [*COMMAND, "run", str(write(file, folder)), "--output", "json", *store_of(folder)]
    environment = {**os.environ, "BATCHYARD_BENCHMARK": marker}
    done = subprocess.run(command, capture_output=True, env=environment, text=True, check=False)
    try:
        document: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        document = {}
    if "trials" not in document:
        complaint = done.stderr.strip()[-1000:]
        raise RuntimeError(f"batchyard run ended with {done.returncode} and no trials: {complaint}")
    return document
