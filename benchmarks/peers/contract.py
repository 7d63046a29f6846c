"""What every contender's script takes and prints, so that the harness can treat them all alike.

Needs the standard library only: it is imported by interpreters that hold nothing but one peer.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_UP = 20
"""Trials run before the clock starts: imports, pools, tables and caches are in place after them."""


def arguments(description: str, **choices: tuple[str, ...]) -> argparse.Namespace:
    """Parse ``--trials`` and the given options; the first choice of an option is its default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--trials", type=int, required=True)
    for name, allowed in choices.items():
        parser.add_argument(f"--{name}", choices=allowed, default=allowed[0])
    return parser.parse_args()


def measure(run: Callable[[int, str], None], trials: int) -> float:
    """Warm up, then return the seconds that ``run(trials, prefix)`` takes; prefixes keep thread ids apart."""
    run(WARM_UP, "warm")
    start = time.perf_counter()
    run(trials, "timed")
    return time.perf_counter() - start


def require(condition: bool, what: str) -> None:
    """End the measurement if the contender did not do the work; a fast wrong answer must not become a figure."""
    if not condition:
        raise SystemExit(f"the contender did not do the work: {what}")


def report(peer: str, version: str, trials: int, seconds: float) -> None:
    """Print the one JSON line."""
    print(json.dumps({"peer": peer, "version": version, "trials": trials, "seconds": seconds}))
