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


def test_a_row_whose_test_failed_or_did_not_run_is_not_proved() -> None:
    every = {test for section in original_design.sections() for row in section.rows for test in row.tests}
    first, second, *_ = sorted(every)
    passed = {test: test != first for test in every if test != second}

    faults = original_design.faults(passed)

    assert {fault.partition(": ")[2] for fault in faults} >= {f"{first} failed", f"{second} did not run"}
