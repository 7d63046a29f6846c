"""How long hostile trials live past their deadline and grace, and whether anything of theirs is alive afterwards."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.batch import batch_test, run_batch
from benchmarks.statistic import quantile
from benchmarks.workflows.hostile import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

DEADLINE, GRACE = 0.3, 0.2
_SETTLE_SECONDS = 2.0


def measure_overrun(trials: int) -> dict[str, Any]:
    """Run ``trials`` hostile trials, a fifth of each kind; return the overrun in seconds and the survivors' number."""
    marker = uuid.uuid4().hex
    deadlines = {"trialSeconds": DEADLINE, "graceSeconds": GRACE}
    file = batch_test("hostile", "hostile:build", trials=trials, matrix={"kind": list(KINDS)}, deadlines=deadlines)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        rows = run_batch(file, Path(folder), marker)["trials"]
        seconds = time.perf_counter() - start
    by_kind: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        by_kind[row["combination"]["kind"]].append(_lived(row) - DEADLINE - GRACE)
    everything = [overrun for overruns in by_kind.values() for overrun in overruns]
    return {
        "trials": len(rows),
        "deadlineSeconds": DEADLINE,
        "graceSeconds": GRACE,
        "seconds": round(seconds, 1),
        "outcomes": dict(Counter(row["outcome"] for row in rows)),
        "overrun": _spread("all", everything),
        "kinds": [_spread(kind, overruns) for kind, overruns in sorted(by_kind.items())],
        "survivors": _survivors(marker),
    }


def _lived(row: dict[str, Any]) -> float:
    # Two independent readings of the same thing, a monotonic and a wall one: the worse counts.
    wall = datetime.fromisoformat(row["completionTime"]) - datetime.fromisoformat(row["startTime"])
    return max(float(row["durationSeconds"]), wall.total_seconds())


def _spread(name: str, overruns: Sequence[float]) -> dict[str, Any]:
    shares = {"p50Seconds": 0.5, "p99Seconds": 0.99, "maxSeconds": 1.0}
    return {"name": name, **{key: round(quantile(overruns, share), 3) for key, share in shares.items()}}


def _survivors(marker: str) -> int:
    """Count the processes that still carry the run's marker, after a moment to be reaped in."""
    end = time.monotonic() + _SETTLE_SECONDS
    while (alive := _marked(marker)) and time.monotonic() < end:
        time.sleep(0.1)
    return alive


def _marked(marker: str) -> int:
    found = 0
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            found += marker.encode() in environment.read_bytes()
        except OSError:
            continue  # gone since the listing, or another user's
    return found
