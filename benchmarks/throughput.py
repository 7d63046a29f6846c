"""Trials a second of every contender, in alternating rounds, so that a drift of the machine hits all alike."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.statistic import median

ROOT = Path(__file__).resolve().parents[1]
OURS = "batchyard"
BASELINE = "langgraph + SqliteSaver"


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to run the trials: a script of ``benchmarks.peers`` with its options."""

    name: str
    script: str
    options: tuple[str, ...] = ()
    peer: bool = False
    """Runs in the peers' environment instead of ours."""


CONTENDERS = (
    Contender(OURS, "batchyard_run"),
    Contender(BASELINE, "langgraph_alone", ("--checkpointer=sqlite",)),
    Contender("inspect-ai", "inspect_mockllm", peer=True),
    Contender("wtb, batch runner", "wtb_bench", peer=True),
    Contender("langgraph + SqliteSaver, two processes", "langgraph_alone", ("--processes=2",)),
    Contender("langgraph + SqliteSaver, synchronous=NORMAL", "langgraph_alone", ("--checkpointer=sqlite-normal",)),
    Contender("inspect-ai, log_realtime=False, max_samples=100", "inspect_mockllm", ("--log=batched",), peer=True),
    Contender("wtb, bench.run in a loop (no batch)", "wtb_bench", ("--mode=loop",), peer=True),
    Contender("langgraph + a checkpointer that stores nothing", "langgraph_alone", ("--checkpointer=null",)),
    Contender("langgraph without a checkpointer", "langgraph_alone", ("--checkpointer=none",)),
)
"""Ours, the three that the goals name, then other settings of the same and the raw floors."""


def measure_once(contender: Contender, python: str, trials: int) -> dict[str, Any]:
    """Run one contender once and return its line, with the time of the whole command added."""
    command = [python, "-m", f"benchmarks.peers.{contender.script}", "--trials", str(trials), *contender.options]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    whole = time.perf_counter() - start
    if done.returncode != 0:
        raise RuntimeError(f"{contender.name}: {done.stderr.strip()[-1000:]}")
    line: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {**line, "commandSeconds": whole}


def measure_throughput(peers_python: str | None, trials: int, rounds: int) -> dict[str, Any]:
    """Return, for each contender, its rounds and medians, and the ratios of ours to each.

    A contender that cannot run is left out after its first failure, and the reason recorded.
    """
    lines: dict[str, list[dict[str, Any]]] = {contender.name: [] for contender in CONTENDERS}
    failures: dict[str, str] = {}
    for number in range(rounds):
        # Another one leads every round, so that none always follows the same neighbour.
        turn = number % len(CONTENDERS)
        for contender in (*CONTENDERS[turn:], *CONTENDERS[:turn]):
            python = peers_python if contender.peer else sys.executable
            if contender.name in failures:
                continue
            try:
                if python is None:
                    raise RuntimeError("the peers' environment could not be made")
                line = measure_once(contender, python, trials)
            except RuntimeError as failure:
                failures[contender.name] = str(failure)
                continue
            lines[contender.name].append(line)
            print(f"round {number + 1}: {contender.name}: {trials / line['seconds']:.1f} trials/s", file=sys.stderr)
    rows = [_row(name, seen, trials) for name, seen in lines.items() if name not in failures]
    ratios = _ratios(lines, failures)
    return {"trials": trials, "rounds": rounds, "contenders": rows, "ratios": ratios, "failures": failures}


def _row(name: str, seen: list[dict[str, Any]], trials: int) -> dict[str, Any]:
    return {
        "name": name,
        "version": seen[0]["version"],
        "trialsPerSecond": round(median([trials / line["seconds"] for line in seen]), 1),
        "commandTrialsPerSecond": round(median([trials / line["commandSeconds"] for line in seen]), 1),
        "rounds": [
            {"seconds": round(line["seconds"], 3), "commandSeconds": round(line["commandSeconds"], 3)} for line in seen
        ],
    }


def _ratios(lines: dict[str, list[dict[str, Any]]], failures: dict[str, str]) -> list[dict[str, Any]]:
    if OURS in failures:
        return []
    return [
        {
            "over": name,
            "steady": round(_paired(seen, lines[OURS], "seconds"), 2),
            "command": round(_paired(seen, lines[OURS], "commandSeconds"), 2),
        }
        for name, seen in lines.items()
        if name != OURS and name not in failures
    ]


def _paired(theirs: list[dict[str, Any]], ours: list[dict[str, Any]], key: str) -> float:
    # The median of each round's ratio, not the ratio of two medians: only neighbours saw the same machine.
    return median([one[key] / other[key] for one, other in zip(theirs, ours, strict=True)])
