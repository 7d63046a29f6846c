"""Memory and time of a very large batch: is the memory flat, and does ``show`` answer at once afterwards?"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from benchmarks.batch import COMMAND, batch_test, store_of, write
from benchmarks.statistic import median, slope

_SAMPLE_SECONDS = 0.5
_MEBIBYTE = 2**20
_WARM_SHARE = 0.2
"""The first fifth is left out of the slope: imports, workers and caches fill then."""


def measure_scale(trials: int) -> dict[str, Any]:
    """Run ``trials`` one-node trials; return time, memory, its slope and how long ``show`` takes."""
    file = batch_test("scale", "noop:build_one", trials=trials)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        samples = _run_and_sample([*COMMAND, "run", str(write(file, folder)), *store_of(folder)], folder)
        seconds = time.perf_counter() - start
        shows = [_show(folder, file["metadata"]["name"], trials) for _ in range(5)]
        stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    settled = samples[int(len(samples) * _WARM_SHARE) :]
    growth = slope([(at, parent) for at, parent, _ in settled]) * seconds / trials * 10_000
    return {
        "trials": trials,
        "seconds": round(seconds, 1),
        "trialsPerSecond": round(trials / seconds, 1),
        "samples": len(samples),
        "parentMaxMebibytes": round(max(parent for _, parent, _ in samples), 1),
        "treeMaxMebibytes": round(max(tree for _, _, tree in samples), 1),
        "parentGrowthMebibytesPer10000Trials": round(growth, 2),
        "treeGrowthMebibytesPer10000Trials": round(
            slope([(at, tree) for at, _, tree in settled]) * seconds / trials * 10_000, 2
        ),
        "parentMebibytesThroughTheRun": [round(samples[len(samples) * tenth // 10][1], 1) for tenth in range(10)],
        "showSeconds": round(median(shows), 3),
        "diskMebibytes": round(stored / _MEBIBYTE, 1),
    }


def _run_and_sample(command: list[str], folder: Path) -> list[tuple[float, float, float]]:
    """Run to the end; return (seconds since the start, parent's RSS, the tree's RSS) in MiB, twice a second."""
    samples: list[tuple[float, float, float]] = []
    with (folder / "log").open("w") as log:
        running = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        start = time.monotonic()
        parent = psutil.Process(running.pid)
        while running.poll() is None:
            sizes = [_resident(process) for process in (parent, *_children(parent))]
            if sizes[0]:
                samples.append((time.monotonic() - start, sizes[0], sum(sizes)))
            time.sleep(_SAMPLE_SECONDS)
    if running.returncode != 0:
        raise RuntimeError(f"batchyard run ended with {running.returncode}: {(folder / 'log').read_text()[-1000:]}")
    return samples


def _resident(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / _MEBIBYTE
    except psutil.Error:
        return 0.0


def _children(parent: psutil.Process) -> list[psutil.Process]:
    try:
        return parent.children(recursive=True)
    except psutil.Error:
        return []


def _show(folder: Path, name: str, trials: int) -> float:
    """Return how long the whole command ``batchyard show`` takes."""
    start = time.perf_counter()
    done = subprocess.run([*COMMAND, "show", name, *store_of(folder)], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0 or str(trials) not in done.stdout.replace(",", "").replace(" ", ""):
        raise RuntimeError(f"batchyard show ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return seconds
