"""What ending a batch early saves and costs: ``python -m benchmarks.early_stopping`` writes ``early_stopping.md``.

A set of scenarios, each a kind of cases, a number of them and a true difference of the two combinations. Each is
simulated many times, and every time the gate judges the same results twice: at once, after all cases, and with
``sequential`` as it is by default, by the gate's own code. The share of trials run, and how often either says Passed
and Failed, go to ``early_stopping.csv``.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from concurrent.futures import ProcessPoolExecutor
from copy import copy
from pathlib import Path
from statistics import NormalDist, fmean
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from benchmarks.simulated_cases import KINDS, Kind, layout_of, pairs_of

from batchyard.judge.cases import CaseTable, Pair, Pairs
from batchyard.judge.paired import difference
from batchyard.judge.ranking import Measure
from batchyard.judge.sequential import Looks
from batchyard.model.outcome import GateOutcome
from batchyard.model.spec_evaluation import Baseline, Sequential
from batchyard.model.trial import Case

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

MARGIN = 0.02
CONFIDENCE = 0.95
CASES = (100, 300, 1000)
DIFFERENCES = (-0.1, -0.05, -MARGIN, 0.0, 0.05)
EDGE = 5
"""So many times more batches where the truth is the margin: there the errors are counted."""
KIND_NAMES = ("pass or fail, once", "score", "score, 70% of cases equal", "pass or fail, groups of 5 alike")
TABLE = Path(__file__).parent / "early_stopping.md"
DATA = TABLE.with_suffix(".csv")
BASELINE = Baseline(combination="old", max_regression=MARGIN, confidence=CONFIDENCE, sequential=Sequential())
_NORMAL = NormalDist()


class Drawn(CaseTable):
    """Cases whose differences were drawn, all settled from the start."""

    def __init__(self, cases: list[Case], pairs: list[Pair]) -> None:
        super().__init__(cases)
        self._pairs = pairs

    def measure(self, among: Container[str]) -> Measure:
        """Return the score: differences were drawn, whatever they are of."""
        return Measure.SCORE

    def pairs(self, first: str, second: str, measure: Measure, among: Container[str] | None = None) -> Pairs:
        """Return what was drawn for these cases."""
        return Pairs(tuple(pair for pair in self._pairs if among is None or pair.case in among), 0)


class Row(NamedTuple):
    """What came of one scenario, in shares of the simulated gates; ``run`` is the mean share of trials."""

    kind: str
    cases: int
    difference: float
    run: float
    passed: float
    failed: float
    passed_at_once: float
    failed_at_once: float


def simulate(kind: Kind, cases: int, lift: float, gates: int, seed: int) -> Row:
    """Judge so many simulated batches both ways."""
    luck = np.random.default_rng([seed, KINDS.index(kind), cases, round((lift + 1) * 1000)])
    planned = [Case(str(number), {}, group=str(group)) for number, group in enumerate(layout_of(kind, cases).group)]
    plan = Looks(BASELINE, planned, ["old", "new"])
    run = passed = failed = passed_at_once = failed_at_once = 0.0
    for _ in range(gates):
        drawn = [
            # The other way round where the new one is the worse.
            Pair(str(number), pair.group, pair.weight, math.copysign(1, lift) * pair.difference, pair.repeats)
            for number, pair in enumerate(pairs_of(kind, cases, luck, abs(lift)))
        ]
        look = copy(plan).go_on(Drawn(planned, drawn))
        if look is None or look.shown.difference is None:
            raise RuntimeError("a look at settled cases shows something")
        run += look.shown.difference.cases / cases
        passed += look.shown.outcome is GateOutcome.PASSED
        failed += look.shown.outcome is GateOutcome.FAILED
        whole = difference(drawn)
        passed_at_once += whole.p_above(-MARGIN) <= 1 - CONFIDENCE
        failed_at_once += whole.p_below(-MARGIN) <= 1 - CONFIDENCE
    shares = (count / gates for count in (run, passed, failed, passed_at_once, failed_at_once))
    return Row(kind.name, cases, lift, *shares)


def same_power(row: Row) -> float | None:
    """Return with what share of the cases a single look would be right as often, None where nothing is to be shown.

    By the normal power formula: cases go with (z_confidence + z_power)^2.
    """
    right, right_at_once = (
        (row.passed, row.passed_at_once) if row.difference > -MARGIN else (row.failed, row.failed_at_once)
    )
    if math.isclose(row.difference, -MARGIN) or not 0.2 < right < 0.999 or right_at_once >= 0.9995:
        return None
    sure = _NORMAL.inv_cdf(CONFIDENCE)
    reach, reach_at_once = (sure + _NORMAL.inv_cdf(share) for share in (right, right_at_once))
    return min(1.0, (reach / reach_at_once) ** 2)


_ABOUT = """\
# What ending a batch early saves

Made by `python -m benchmarks.early_stopping --gates {gates}`: {gates:,} simulated batches a scenario ({edge:,} where
the difference is the margin), each judged by the gate's own code at once and with `sequential: {{}}`; margin
{margin:g}, confidence 95%. The data are in `early_stopping.csv`.

- **Trials saved**: {saved:.0%} over all scenarios; by kind {by_kind}; {least:.0%} in the one that saves least.
- **Errors**: where the truth is the margin itself, Passed or Failed are wrong, each in at most {wrong:.1%} of batches
  ({wrong_at_once:.1%} at once); where it lies on one side, the other is said in at most {far:.1%}.
- **Right answers**: where the gate that looks once is right in 80% or more, the one that looks often is in
  {kept:.1%} of what that is, on the average, and {worst:.1%} in the worst of these scenarios.
- **Against a smaller batch**: where that can be said, a single look would be right as often with {smaller:.0%} of the
  cases; {run:.0%} were run.

Each cell: share of trials run / Passed / Failed, in brackets Passed / Failed at once; in %.
"""


def _text(rows: list[Row], gates: int) -> Iterator[str]:
    edge = [row for row in rows if math.isclose(row.difference, -MARGIN)]
    clear = [row for row in rows if row not in edge]
    strong = [(right, at_once) for row in clear for right, at_once in [_right(row)] if at_once >= 0.8]
    compared = [(row.run, share) for row in clear if (share := same_power(row)) is not None]
    yield _ABOUT.format(
        gates=gates,
        edge=gates * EDGE,
        margin=MARGIN,
        saved=1 - fmean(row.run for row in rows),
        by_kind=", ".join(
            f"{1 - fmean(row.run for row in rows if row.kind == name):.0%} ({name})" for name in KIND_NAMES
        ),
        least=1 - max(row.run for row in rows),
        wrong=max(max(row.passed, row.failed) for row in edge),
        wrong_at_once=max(max(row.passed_at_once, row.failed_at_once) for row in edge),
        far=max(row.failed if row.difference > -MARGIN else row.passed for row in clear),
        kept=fmean(right / at_once for right, at_once in strong),
        worst=min(right / at_once for right, at_once in strong),
        run=fmean(run for run, _ in compared),
        smaller=fmean(share for _, share in compared),
    )
    yield "| kind | cases | " + " | ".join(f"difference {lift:+g}" for lift in DIFFERENCES) + " |"
    yield "| --- | --- |" + " --- |" * len(DIFFERENCES)
    for name in KIND_NAMES:
        for cases in CASES:
            mine = {row.difference: row for row in rows if (row.kind, row.cases) == (name, cases)}
            yield f"| {name} | {cases:,} | " + " | ".join(_cell(mine[lift]) for lift in DIFFERENCES) + " |"


def _right(row: Row) -> tuple[float, float]:
    better = row.difference > -MARGIN
    return (row.passed, row.passed_at_once) if better else (row.failed, row.failed_at_once)


def _cell(row: Row) -> str:
    run, passed, failed, first, second = (f"{value * 100:.0f}" for value in row[3:])
    return f"{run} / {passed} / {failed} ({first} / {second})"


def main() -> None:
    """Simulate and write table and data."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--gates", type=int, default=400, help="batches a scenario")
    options.add_argument("--seed", type=int, default=2026)
    options.add_argument("--json", type=int, metavar="CASES", help="print the rows of so many cases, write nothing")
    given = options.parse_args()
    if given.json:
        jobs = [(name, given.json, lift) for name in KIND_NAMES for lift in DIFFERENCES]
        print(json.dumps([_one(*job, given.gates, given.seed)._asdict() for job in jobs]))
        return
    jobs = [(name, cases, lift) for cases in reversed(CASES) for name in KIND_NAMES for lift in DIFFERENCES]
    with ProcessPoolExecutor() as pool:
        running = [pool.submit(_one, *job, given.gates, given.seed) for job in jobs]
        rows = [one.result() for one in running]
    with DATA.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(rows)
    TABLE.write_text("\n".join(_text(rows, given.gates)) + "\n", encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


def _one(kind: str, cases: int, lift: float, gates: int, seed: int) -> Row:
    # Functions that are made in place do not go to other processes.
    (found,) = (one for one in KINDS if one.name == kind)
    return simulate(found, cases, lift, gates * (EDGE if math.isclose(lift, -MARGIN) else 1), seed)


if __name__ == "__main__":
    main()
