"""How often the gate is wrong: in the committed table, and in a small simulation of the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from plain_parts import FOLDER

BENCHMARKS = FOLDER.parent / "benchmarks"
TABLE = (BENCHMARKS / "statistics.md").read_text(encoding="utf-8")
CELL = re.compile(r"([\d.]+) / ([\d.]+) / ([\d.]+)")
ROWS = {line.split(" | ")[0].removeprefix("| "): CELL.findall(line) for line in TABLE.splitlines() if CELL.search(line)}
GATES = 300


def test_in_the_committed_table_no_gate_is_wrong_in_more_than_6_of_100() -> None:
    wrong = [float(rate) for cells in ROWS.values() for alarms, lucky, _ in cells for rate in (alarms, lucky)]

    assert "10,000 simulated gates" in TABLE
    assert len(wrong) == 6 * 6 * 2
    assert max(wrong) <= 6.0


def test_in_the_committed_table_scores_reach_the_rate_that_was_asked_for_with_any_number_of_cases() -> None:
    alarms = [float(alarm) for alarm, _, _ in ROWS["score"]]

    assert all(4.0 <= alarm <= 6.0 for alarm in alarms)


def test_in_the_committed_table_intervals_hold_what_they_should() -> None:
    held = [float(covered) for cells in ROWS.values() for _, _, covered in cells]

    assert min(held) >= 88.0
    assert sum(held) / len(held) >= 90.0


def test_a_small_simulation_says_the_same() -> None:
    command = [sys.executable, "-m", "benchmarks.false_alarms", "--json", "20", "--gates", str(GATES)]

    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {row["kind"] for row in rows} == {*ROWS}
    # Three standard errors of rates of 6% over all gates and of 90% over every fifth.
    assert (
        max(rate for row in rows for rate in (row["alarms"], row["lucky"])) <= 0.06 + 3 * (0.06 * 0.94 / GATES) ** 0.5
    )
    assert min(row["covered"] for row in rows) >= 0.9 - 3 * (0.9 * 0.1 / (GATES / 5)) ** 0.5
