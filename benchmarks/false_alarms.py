"""How often the gate is wrong where the truth is known: ``python -m benchmarks.false_alarms`` writes ``statistics.md``.

Two combinations that are equally good are compared by the gate's own code, over cases of several kinds. An alarm is a
gate that calls one of them worse (margin 0, confidence 95%), a lucky pass one that calls it better. Coverage is how
often the interval between the two bounds holds a difference that is really there. Then two that are not equally good,
and whose true difference is the margin: passed and failed are both wrong there.
"""

from __future__ import annotations

import argparse
import json
import math
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from benchmarks.many_gates import judged
from benchmarks.simulated_cases import (
    AT_THE_MARGIN,
    EQUAL,
    KINDS,
    MARGIN,
    ON_THE_AVERAGE,
    Kind,
    Numbers,
    as_pairs,
    differences_of,
    layout_of,
)

from batchyard.judge.paired import difference

if TYPE_CHECKING:
    from collections.abc import Iterator


CONFIDENCE = 0.95
CASES = (10, 20, 30, 50, 100, 200, 1000)
MOST_WRONG = 0.06
LEAST_SHARP = 0.04
TABLE = Path(__file__).parent / "statistics.md"
_LIFT = 0.1
_COVERAGE_EVERY = 5
_SAME = 1e-9
_AT_ONCE = 500
_ASKED = 10


class Row(NamedTuple):
    """What came of the gates of one kind and number of cases, in shares of them.

    ``best`` is that of the sharpest test that goes by the signs of the groups' differences.
    """

    kind: str
    cases: int
    alarms: float
    lucky: float
    covered: float
    best: float


class Edge(NamedTuple):
    """What came of gates whose margin is the true difference, in shares of them: both are wrong.

    ``by_signs`` is how often a test of the differences' signs alone would have passed them.
    """

    kind: str
    cases: int
    passed: float
    failed: float
    by_signs: float


def simulate(kind: Kind, cases: int, gates: int, seed: int) -> Row:
    """Return how often the gate is wrong."""
    luck = np.random.default_rng([seed, EQUAL.index(kind), cases])
    alarms = lucky = covered = lifts = 0
    best = 0.0
    for drawn in _drawn(kind, cases, gates, luck, 0.0):
        passed, failed = _judged(kind, drawn, 0.0)
        lucky, alarms = lucky + passed.sum(), alarms + failed.sum()
        groups, shares = _groups(kind, drawn)
        best += sum(_attainable(row) for row in groups * shares)
    for drawn in _drawn(kind, cases, gates // _COVERAGE_EVERY, luck, _LIFT):
        above, below = _judged(kind, drawn, _LIFT)
        covered += (~above & ~below).sum()
        lifts += len(drawn)
    return Row(kind.name, cases, float(alarms / gates), float(lucky / gates), float(covered / lifts), best / gates)


def at_the_margin(kind: Kind, cases: int, gates: int, seed: int) -> Edge:
    """Return how often the gate is wrong where the difference is its margin: towards the worse, as margins are."""
    edges = (*AT_THE_MARGIN, ON_THE_AVERAGE)
    luck = np.random.default_rng([seed, len(KINDS) + edges.index(kind), cases, 1])
    margin = 0.0 if kind is ON_THE_AVERAGE else MARGIN
    passed = failed = by_signs = 0
    for drawn in _drawn(kind, cases, gates, luck, margin):
        above, below = _judged(kind, -drawn, -margin)
        passed, failed = passed + above.sum(), failed + below.sum()
        by_signs += _passed_by_signs(margin - drawn)
    return Edge(kind.name, cases, float(passed / gates), float(failed / gates), by_signs / gates)


def _drawn(kind: Kind, cases: int, gates: int, luck: np.random.Generator, lift: float) -> Iterator[Numbers]:
    for first in range(0, gates, _AT_ONCE):
        yield differences_of(kind, (min(_AT_ONCE, gates - first), cases), luck, lift)


def _judged(kind: Kind, drawn: Numbers, than: float) -> tuple[Numbers, Numbers]:
    """Return which are shown to be above and below; the gate's own code must say the same of the first."""
    above, below = judged(*_groups(kind, drawn), than, CONFIDENCE)
    for row, is_above, is_below in zip(drawn[:_ASKED], above, below, strict=False):
        found = difference(as_pairs(kind, row))
        said = (found.p_above(than) <= 1 - CONFIDENCE, found.p_below(than) <= 1 - CONFIDENCE)
        if said != (is_above, is_below):
            raise RuntimeError(f"the gate says {said} of {found}, and not {(is_above, is_below)}")
    return above, below


def _groups(kind: Kind, drawn: Numbers) -> tuple[Numbers, Numbers]:
    """Return the differences of the groups in each row, and each group's share of the whole weight."""
    weights, _, first = layout_of(kind, drawn.shape[-1])
    of_groups = np.add.reduceat(weights, first)
    return np.add.reduceat(drawn * weights, first, axis=1) / of_groups, of_groups / of_groups.sum()


def _attainable(groups: Numbers) -> float:
    """Return with what chance the sharpest test of signs calls equal combinations unequal, of those that differ so.

    Given what differs and by how much, either sign is as likely. Where all differ by as much, as with pass or fail, it
    can only go by the number of losses.
    """
    sizes = np.abs(groups)
    differ = sizes[sizes > _SAME]
    return _by_signs(len(differ), alike=bool(np.ptp(differ) < _SAME) if len(differ) else True)


def _passed_by_signs(differences: Numbers) -> int:
    """Return in how many rows the mid-p of as few losses, or fewer, is at most 5%."""
    losses, gains = ((sign * differences > _SAME).sum(axis=1).tolist() for sign in (-1, 1))
    return sum(_mid_p(*counts) <= 1 - CONFIDENCE for counts in zip(losses, gains, strict=True))


@lru_cache(maxsize=65_536)
def _mid_p(losses: int, gains: int) -> float:
    ways = [math.comb(losses + gains, number) for number in range(losses + 1)]
    return float((sum(ways) - ways[-1] / 2) / 2 ** (losses + gains))


@lru_cache(maxsize=4096)
def _by_signs(differ: int, *, alike: bool) -> float:
    """Return how often the mid-p of so many signs is at most 5%: the chance of less, and half of that of as much."""
    outcomes = 1 << differ
    asked = round(100 * (1 - CONFIDENCE)) * outcomes  # in hundredths, of integers that floats would not hold
    if not alike:
        return (asked // 100 + (asked % 100 >= 50)) / outcomes
    tail = losses = 0
    while 100 * tail + 50 * math.comb(differ, losses) <= asked:
        tail += math.comb(differ, losses)
        losses += 1
    return tail / outcomes


_ABOUT = """\
# How often the gate is wrong

Made by `python -m benchmarks.false_alarms --gates {gates}`: {gates:,} simulated gates a cell, by the rule of the gate
in arrays (`many_gates.py`); the gate's own code judges one in fifty of them and must say the same. Confidence 95%, so
that 5% is the rate that is asked for.

## Two equally good combinations, margin 0

The better the test, the nearer the first two numbers are to 5%, and none may be above 6%. The third is how often the
interval between the bounds (90%) holds a difference of 0.1 that is there; it is asked of every fifth.

alarm / lucky pass / interval right, in %
"""

_BEST = """
### Where that is less than 4%

Two things keep it there. Where few cases, or groups, differ, what any test can be wrong in goes by steps: of k that do,
each of the 2^k ways in which their differences can have their signs is as likely, so with three it is 12.5% or nothing,
with four 6.2%. Behind the alarms stands what the sharpest test has that goes by signs (mid-p; M. W. Fagerland,
S. Lydersen and P. Laake, BMC Med. Res. Methodol. 13 (2013) 91), or could have if all differences of unequal size told
something. Where that is 4% or more, the rest is the method's own care: few differences are not taken for the largest
there are, and a few heavy cases or groups not for many. What a test of signs makes of combinations that are equal only
on the average stands below the second table.

alarm / sharpest test of signs, in %
"""

_EDGE = """
## The true difference is the margin

The new combination is worse by {margin:g} on the average, which is the margin: to pass and to fail are both wrong. 5%
is what is asked for, and what is less the care described above; what is more than 6% is named below. Where most cases
are equal and the rest much worse, the few that a small batch shows may not be the worst. The last row has the margin 0:
the two are equal, but only on the average.

wrongly passed / wrongly failed, in %
"""

_SIGNS = """
A test of the signs alone takes many small gains and a few large losses for a gain. It would pass the last row's in:
"""

_OVER = """
More than {most:.0%} are wrong here. The larger losses carry the mean, and a batch that happens to have few of them, or
none, sees both the mean and its error too small:
"""


def _text(rows: list[Row], edges: list[Edge], gates: int) -> Iterator[str]:
    yield _ABOUT.format(gates=gates)
    yield from _table(
        {kind.name: [f"{_in_percent(row.alarms, row.lucky, row.covered)}" for row in _of(kind, rows)] for kind in EQUAL}
    )
    yield _BEST
    sharp = {
        kind.name: [_in_percent(row.alarms, row.best) if row.alarms < LEAST_SHARP else "" for row in _of(kind, rows)]
        for kind in EQUAL
    }
    yield from _table({name: cells for name, cells in sharp.items() if any(cells)})
    yield _EDGE.format(margin=MARGIN)
    kinds = (*AT_THE_MARGIN, ON_THE_AVERAGE)
    yield from _table(
        {kind.name: [_in_percent(edge.passed, edge.failed) for edge in _of(kind, edges)] for kind in kinds}
    )
    yield _SIGNS
    for edge in _of(ON_THE_AVERAGE, edges):
        yield f"- {edge.cases:,} cases: {edge.by_signs:.1%}"
    yield _OVER.format(most=MOST_WRONG)
    for kind in kinds:
        over = [edge for edge in _of(kind, edges) if max(edge.passed, edge.failed) > MOST_WRONG]
        if over:
            cells = ", ".join(f"{max(edge.passed, edge.failed):.1%} at {edge.cases:,} cases" for edge in over)
            yield f"- {kind.name}: {cells}"


_Cell = TypeVar("_Cell", Row, Edge)


def _of(kind: Kind, rows: list[_Cell]) -> list[_Cell]:
    return sorted((row for row in rows if row.kind == kind.name), key=lambda row: row.cases)


def _in_percent(*shares: float) -> str:
    return " / ".join(f"{share * 100:.1f}" for share in shares)


def _table(cells: dict[str, list[str]]) -> Iterator[str]:
    yield "| cases | " + " | ".join(f"{cases:,}" for cases in CASES) + " |"
    yield "| --- |" + " --- |" * len(CASES)
    for name, row in cells.items():
        yield f"| {name} | " + " | ".join(row) + " |"


def main() -> None:
    """Simulate and write the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--gates", type=int, default=10_000, help="gates a cell")
    options.add_argument("--seed", type=int, default=2026)
    options.add_argument("--json", type=int, metavar="CASES", help="print the rates of so many cases, write nothing")
    given = options.parse_args()
    if given.json:
        equal, edge = (
            [one(number, given.json, given.gates, given.seed) for number in range(many)] for one, many in _ALL
        )
        print(json.dumps({"equal": [row._asdict() for row in equal], "edge": [row._asdict() for row in edge]}))
        return
    with ProcessPoolExecutor() as pool:
        running = [
            [pool.submit(one, number, cases, given.gates, given.seed) for number in range(many)]
            for cases in reversed(CASES)
            for one, many in _ALL
        ]
        made = [one.result() for some in running for one in some]
    rows = [row for row in made if isinstance(row, Row)]
    edges = [row for row in made if isinstance(row, Edge)]
    TABLE.write_text("\n".join(_text(rows, edges, given.gates)) + "\n", encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


# Functions that are made in place do not go to other processes, so these go by number.
def _equal(kind: int, cases: int, gates: int, seed: int) -> Row:
    return simulate(EQUAL[kind], cases, gates, seed)


def _edge(kind: int, cases: int, gates: int, seed: int) -> Edge:
    return at_the_margin((*AT_THE_MARGIN, ON_THE_AVERAGE)[kind], cases, gates, seed)


_ALL = ((_equal, len(EQUAL)), (_edge, len(AT_THE_MARGIN) + 1))


if __name__ == "__main__":
    main()
