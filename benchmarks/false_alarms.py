"""How often the gate is wrong where the truth is known: ``python -m benchmarks.false_alarms`` writes ``statistics.md``.

Two combinations that are equally good are compared by the gate's own code, over cases of several kinds. An alarm is a
gate that calls one of them worse (margin 0, confidence 95%), a lucky pass one that calls it better. Coverage is how
often the interval between the two bounds holds a difference that is really there.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batchyard.judge.cases import Pair
from batchyard.judge.paired import difference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# Arrays of NumPy, whose functions are typed too loosely for strict checks.
Numbers = Any

CONFIDENCE = 0.95
CASES = (10, 20, 50, 100, 200, 1000)
TABLE = Path(__file__).parent / "statistics.md"
_LIFT = 0.1
_COVERAGE_EVERY = 5


class Kind(NamedTuple):
    """One kind of cases: ``draw`` gives so many differences, whose mean is ``lift``."""

    name: str
    draw: Callable[[np.random.Generator, int, float], Numbers]
    repeats: int = 1
    group: int = 1


def _passes(hard: float, easy: float, repeats: int) -> Callable[[np.random.Generator, int, float], Numbers]:
    def draw(luck: np.random.Generator, cases: int, lift: float) -> Numbers:
        rate = luck.beta(easy, hard, cases) * (1 - lift)
        first, second = luck.binomial(repeats, rate), luck.binomial(repeats, rate + lift)
        return np.divide(second - first, repeats, dtype=np.float64)

    return draw


def _score(luck: np.random.Generator, cases: int, lift: float) -> Numbers:
    noise = np.clip(luck.normal(0, 0.08, (2, cases)), -0.2, 0.2)
    return noise[1] - noise[0] + lift


def _mostly_equal(luck: np.random.Generator, cases: int, lift: float) -> Numbers:
    return np.where(luck.random(cases) < 0.3, _score(luck, cases, lift / 0.3), 0.0)


KINDS = (
    Kind("pass or fail, once", _passes(1, 2, 1)),
    Kind("pass or fail, once, mostly easy", _passes(0.6, 6, 1)),
    Kind("pass or fail, 5 repeats", _passes(1, 2, 5), repeats=5),
    Kind("score", _score),
    Kind("score, 70% of cases equal", _mostly_equal),
    Kind("pass or fail, groups of 5 alike", _passes(1, 2, 1), group=5),
)


def pairs_of(kind: Kind, cases: int, luck: np.random.Generator, lift: float = 0.0) -> list[Pair]:
    """Return so many cases; those of a group have, with a chance of 70%, the difference of its first."""
    made = kind.draw(luck, cases, lift)
    groups = np.arange(cases) // kind.group
    if kind.group > 1:
        made = np.where(luck.random(cases) < 0.7, made[groups * kind.group], made)
    return [
        Pair("", str(group), 1.0, value, kind.repeats)
        for group, value in zip(groups.tolist(), made.tolist(), strict=True)
    ]


class Row(NamedTuple):
    """What came of the gates of one kind and number of cases, in shares of them."""

    kind: str
    cases: int
    alarms: float
    lucky: float
    covered: float


def simulate(kind: Kind, cases: int, gates: int, seed: int) -> Row:
    """Return how often the gate is wrong."""
    luck = np.random.default_rng([seed, KINDS.index(kind), cases])
    alarms = lucky = covered = lifts = 0
    for number in range(gates):
        equal = difference(pairs_of(kind, cases, luck))
        alarms += equal.p_below(0.0) <= 1 - CONFIDENCE
        lucky += equal.p_above(0.0) <= 1 - CONFIDENCE
        if number % _COVERAGE_EVERY == 0:
            lifted = difference(pairs_of(kind, cases, luck, _LIFT))
            covered += lifted.low(CONFIDENCE) <= _LIFT <= lifted.high(CONFIDENCE)
            lifts += 1
    return Row(kind.name, cases, alarms / gates, lucky / gates, covered / lifts)


_ABOUT = """\
# How often the gate is wrong

Made by `python -m benchmarks.false_alarms --gates {gates}`: {gates:,} simulated gates a cell, by the code of the gate.
Two equally good combinations, margin 0, confidence 95%. The better the test, the nearer the first two numbers are to
5%, and none may be above 6%. Where few cases differ at all, the gate is careful and stays below 5%: for pass or fail,
no test that always says the same of the same results can reach it there. The third number is how often the interval
between the bounds (90%) holds a difference of 0.1 that is there; it is asked of every fifth.
"""


def _text(rows: list[Row], gates: int) -> Iterator[str]:
    yield _ABOUT.format(gates=gates)
    yield "alarm / lucky pass / interval right, in %"
    yield ""
    yield "| cases | " + " | ".join(f"{cases:,}" for cases in CASES) + " |"
    yield "| --- |" + " --- |" * len(CASES)
    for kind in KINDS:
        mine = {row.cases: row for row in rows if row.kind == kind.name}
        cells = [f"{mine[n].alarms * 100:.1f} / {mine[n].lucky * 100:.1f} / {mine[n].covered * 100:.1f}" for n in CASES]
        yield f"| {kind.name} | " + " | ".join(cells) + " |"


def main() -> None:
    """Simulate and write the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--gates", type=int, default=10_000, help="gates a cell")
    options.add_argument("--seed", type=int, default=2026)
    options.add_argument("--json", type=int, metavar="CASES", help="print the rates of so many cases, write nothing")
    given = options.parse_args()
    if given.json:
        print(json.dumps([simulate(kind, given.json, given.gates, given.seed)._asdict() for kind in KINDS]))
        return
    jobs = [(kind, cases) for cases in reversed(CASES) for kind in KINDS]
    with ProcessPoolExecutor() as pool:
        running = [pool.submit(_one, KINDS.index(kind), cases, given.gates, given.seed) for kind, cases in jobs]
        rows = [one.result() for one in running]
    TABLE.write_text("\n".join(_text(rows, given.gates)) + "\n", encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


def _one(kind: int, cases: int, gates: int, seed: int) -> Row:
    # Functions that are made in place do not go to other processes.
    return simulate(KINDS[kind], cases, gates, seed)


if __name__ == "__main__":
    main()
