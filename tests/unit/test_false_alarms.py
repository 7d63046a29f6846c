"""How often the gate is wrong: in the committed table, and in a small simulation of the same."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys

from plain_parts import FOLDER

BENCHMARKS = FOLDER.parent / "benchmarks"
TEXT = (BENCHMARKS / "statistics.md").read_text(encoding="utf-8")
SIZES = 7
GATES = 500
STEEP = re.compile("uneven|much better|most of the rest better")
"""The kinds in which a few cases carry most of the difference, by the names they have in the table."""


def table(title: str) -> dict[str, list[list[float]]]:
    """Return the table under this heading: for each kind the numbers of each size, none where a cell is empty."""
    section = TEXT.split(f"{title}\n", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")][2:]
    return {
        name.strip(): [[float(one) for one in cell.split("/") if one.strip()] for cell in row] for name, *row in rows
    }


EQUAL = table("## Two equally good combinations, margin 0")
BEST = table("### Where that is less than 4%")
EDGES = table("## The true difference is the margin")


def most_by_chance(rate: float, gates: float) -> float:
    """Return what a rate is below in so many gates, but for three standard errors."""
    return rate + 3 * math.sqrt(rate * (1 - rate) / gates)


def test_in_the_committed_table_no_gate_is_wrong_in_more_than_6_of_100() -> None:
    wrong = {kind: max(max(alarms, lucky) for alarms, lucky, _ in cells) for kind, cells in EQUAL.items()}

    assert "10,000 simulated gates" in TEXT
    assert (len(wrong), {len(cells) for cells in EQUAL.values()}) == (12, {SIZES})
    assert max(wrong.values()) <= 6.0


def test_in_the_committed_table_scores_reach_the_rate_that_was_asked_for_with_any_number_of_cases() -> None:
    assert all(4.0 <= alarms <= 6.0 for alarms, _, _ in EQUAL["score"])


def test_in_the_committed_table_a_lower_rate_comes_with_what_the_best_test_could_have() -> None:
    low = {(kind, size) for kind, cells in EQUAL.items() for size, (alarms, _, _) in enumerate(cells) if alarms < 4.0}

    told = {(kind, size): cell for kind, cells in BEST.items() for size, cell in enumerate(cells) if cell}

    # A rate of 4.0 in print may be one of 3.96.
    assert low <= {*told}
    assert all(alarms == EQUAL[kind][size][0] for (kind, size), (alarms, _) in told.items())
    assert all(0.0 <= best <= 6.0 for _, best in told.values())


def test_in_the_committed_table_intervals_hold_what_they_should() -> None:
    held = [covered for cells in EQUAL.values() for _, _, covered in cells]

    assert min(held) >= 88.0
    assert sum(held) / len(held) >= 90.0


def test_in_the_committed_table_the_margin_is_not_passed_by_luck_where_most_cases_are_equal() -> None:
    wrong = {kind: max(rate for cell in cells for rate in cell) for kind, cells in EDGES.items()}

    assert len(EDGES) == 15
    assert all(len(cells) == SIZES for cells in EDGES.values())
    assert all(most <= 6.0 for kind, most in wrong.items() if not STEEP.search(kind))
    assert wrong["score, 70% of cases equal, the rest unevenly worse"] <= 6.0


def test_in_the_committed_table_what_is_over_6_of_100_is_said() -> None:
    over = {kind for kind, cells in EDGES.items() if max(rate for cell in cells for rate in cell) > 6.0}

    said = re.findall(r"^- (.*?): [\d.]+% at", TEXT.split("More than 6% are wrong here", 1)[1], re.MULTILINE)

    assert over
    assert {*said} == over
    assert max(rate for kind in over for cell in EDGES[kind] for rate in cell) <= 12.0


def test_a_small_simulation_says_the_same() -> None:
    command = [sys.executable, "-m", "benchmarks.false_alarms", "--json", "20", "--gates", str(GATES)]

    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    rows, edges = (json.loads(done.stdout)[part] for part in ("equal", "edge"))
    assert ({row["kind"] for row in rows}, {edge["kind"] for edge in edges}) == ({*EQUAL}, {*EDGES})
    assert max(rate for row in rows for rate in (row["alarms"], row["lucky"])) <= most_by_chance(0.06, GATES)
    assert max(rate for row in rows for rate in (1 - row["covered"],)) <= most_by_chance(0.1, GATES / 5)
    level = [edge for edge in edges if not STEEP.search(edge["kind"])]
    assert max(rate for edge in level for rate in (edge["passed"], edge["failed"])) <= most_by_chance(0.06, GATES)
