"""The whole benchmark, part by part, into one JSON document and one table."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import machine
from benchmarks.boundary import measure_boundary
from benchmarks.overrun import measure_overrun
from benchmarks.peer_environment import peers_python
from benchmarks.report import render
from benchmarks.scale import measure_scale
from benchmarks.sharing import measure_sharing
from benchmarks.throughput import measure_throughput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

HERE = Path(__file__).resolve().parent
PARTS = ("throughput", "boundary", "sharing", "overrun", "scale")
FULL = {
    "rounds": 5,
    "trials": 1000,
    "boundary_runs": 200,
    "sharing_cases": 100,
    "hostile_trials": 500,
    "scale_trials": 100_000,
}
QUICK = {
    "rounds": 1,
    "trials": 100,
    "boundary_runs": 20,
    "sharing_cases": 5,
    "hostile_trials": 20,
    "scale_trials": 2000,
}


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for; write the files after a full run, else print the table. Returns the exit code."""
    options = _parse(arguments)
    python = options.peers_python or (_peers() if "throughput" in options.only else None)
    document: dict[str, Any] = {
        "command": " ".join(["python benchmarks/run.py", *arguments]),
        "machine": {**machine.describe(), "peers": machine.peers(python)},
    }
    measures: Mapping[str, Callable[[], dict[str, Any]]] = {
        "throughput": lambda: measure_throughput(python, options.trials, options.rounds),
        "boundary": lambda: measure_boundary(options.boundary_runs),
        "sharing": lambda: measure_sharing(options.sharing_cases),
        "overrun": lambda: measure_overrun(options.hostile_trials),
        "scale": lambda: measure_scale(options.scale_trials),
    }
    for part in options.only:
        print(f"measuring: {part}", file=sys.stderr)
        document[part] = _guarded(measures[part])
    _publish(document, options)
    return 1 if any("failure" in document[part] for part in options.only) else 0


def _guarded(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return measure()
    except Exception as failure:  # one part that cannot be measured must not throw away hours of the others
        print(f"failed: {failure}", file=sys.stderr)
        return {"failure": f"{type(failure).__name__}: {failure}"}


def _peers() -> str | None:
    try:
        return peers_python()
    except (OSError, subprocess.CalledProcessError) as failure:
        print(f"the peers cannot be installed and are left out: {failure}", file=sys.stderr)
        return None


def _publish(document: Mapping[str, Any], options: argparse.Namespace) -> None:
    table = render(document)
    complete = not options.quick and set(options.only) == set(PARTS)
    folder = options.out or (HERE if complete else None)
    if folder is None:
        print(table)
        return
    results = folder / "results" / "latest.json"
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(document, indent=1) + "\n")
    (folder / "RESULTS.md").write_text(table)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that everything works; prints only")
    for name, value in FULL.items():
        told = f"default {value}; with --quick {QUICK[name]}"
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=told)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="leave out the other parts")
    parser.add_argument("--out", type=Path, help="folder for RESULTS.md and results/latest.json")
    parser.add_argument("--peers-python", help="an interpreter with peers.txt installed, instead of the cached one")
    options = parser.parse_args(arguments)
    for name, value in (QUICK if options.quick else FULL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options
