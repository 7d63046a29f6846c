"""What ending a batch early saves and costs: in the committed data, and in a small simulation of the same."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from statistics import fmean
from typing import NamedTuple

from plain_parts import FOLDER

BENCHMARKS = FOLDER.parent / "benchmarks"
MARGIN = 0.02
GATES = 10


class Row(NamedTuple):
    """One scenario, as the script writes it."""

    kind: str
    cases: int
    difference: float
    run: float
    passed: float
    failed: float
    passed_at_once: float
    failed_at_once: float

    @property
    def at_the_margin(self) -> bool:
        return math.isclose(self.difference, -MARGIN)

    @property
    def right(self) -> tuple[float, float]:
        """How often it was right, look by look and at once."""
        if self.difference > -MARGIN:
            return self.passed, self.passed_at_once
        return self.failed, self.failed_at_once

    @property
    def wrong(self) -> tuple[float, float]:
        """How often it was wrong, look by look and at once."""
        if self.at_the_margin:
            return max(self.passed, self.failed), max(self.passed_at_once, self.failed_at_once)
        return (self.failed, self.failed_at_once) if self.difference > -MARGIN else (self.passed, self.passed_at_once)


with (BENCHMARKS / "early_stopping.csv").open(encoding="utf-8", newline="") as _file:
    ROWS = [Row(row[0], int(row[1]), *(float(value) for value in row[2:])) for row in list(csv.reader(_file))[1:]]


def test_the_committed_batches_ran_two_fifths_fewer_trials() -> None:
    assert len(ROWS) == 4 * 3 * 5
    assert fmean(row.run for row in ROWS) <= 0.6


def test_the_committed_batches_were_wrong_no_more_often_than_those_judged_at_once() -> None:
    early, at_once = (fmean(row.wrong[side] for row in ROWS if row.at_the_margin) for side in (0, 1))

    assert early <= at_once
    assert max(row.wrong[0] for row in ROWS) <= 0.065


def test_the_committed_batches_kept_nine_tenths_of_the_right_answers() -> None:
    kept = [
        early / at_once for early, at_once in (row.right for row in ROWS if not row.at_the_margin) if at_once >= 0.8
    ]

    assert len(kept) >= 15
    assert fmean(kept) >= 0.95
    assert min(kept) >= 0.85


def test_a_small_simulation_says_the_same() -> None:
    command = [sys.executable, "-m", "benchmarks.early_stopping", "--json", "100", "--gates", str(GATES)]

    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    rows = [Row(**row) for row in json.loads(done.stdout)]
    assert {row.kind for row in rows} == {row.kind for row in ROWS}
    assert fmean(row.run for row in rows) < 0.9
    # Three standard errors of a rate of 5% over all batches at the margin, of which there are five times as many.
    edge = [row for row in rows if row.at_the_margin]
    assert fmean(row.passed for row in edge) <= 0.05 + 3 * (0.05 * 0.95 / (5 * GATES * len(edge))) ** 0.5
