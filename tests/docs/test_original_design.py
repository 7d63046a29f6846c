"""The table of the original design's parts is made from the tests' markers."""

from __future__ import annotations

from pathlib import Path

import original_design


def test_the_page_is_what_the_markers_make_of_it() -> None:
    page = Path(__file__).parents[2] / "docs" / "original-design.md"

    assert page.read_text(encoding="utf-8") == original_design.markdown(), "write it anew: make golden"


def test_every_row_has_a_test_that_carries_its_marker() -> None:
    rows = [row for section in original_design.sections() for row in section.rows]

    assert [row.id for row in rows if not row.tests] == []


def test_a_row_is_told_as_proven_only_if_all_its_tests_ran_and_passed() -> None:
    rows = [row for section in original_design.sections() for row in section.rows]
    every = {test for row in rows for test in row.tests}
    failed, absent, *_ = sorted(every)

    told = [*original_design.lines({test: test != failed for test in every if test != absent})]

    wrong = {f"{failed} did not pass".removeprefix("tests/"), f"{absent} did not run".removeprefix("tests/")}
    open_rows = [line for line in told if line.startswith("  not proven  ")]
    assert [line.split()[2] for line in open_rows] == [row.id for row in rows if {failed, absent} & {*row.tests}]
    assert {said for line in open_rows for said in line.split(maxsplit=3)[3].split("; ")} == wrong
    assert sum(line.startswith("  proven  ") for line in told) == len(rows) - len(open_rows)
