"""The failure atlas has a row with cause and remedy for all that can go wrong, and for nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchyard.model.events import EventType, Severity, severity_of
from batchyard.model.outcome import Reason
from batchyard.model.status import ConditionType

ATLAS = Path(__file__).resolve().parents[2] / "docs" / "failures.md"
TROUBLE = {Severity.WARNING, Severity.ERROR}


def rows(*titles: str) -> list[tuple[str, str, str]]:
    """Return the rows of the tables under these headings."""
    sections = dict(
        re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", ATLAS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    )
    return [
        row
        for title in titles
        for row in re.findall(r"^\| (?:`(\w+)`|\(none\)) \| (.+?) \| (.+?) \|$", sections[title], re.MULTILINE)
    ]


def test_every_reason_has_one_row_and_no_row_is_of_a_reason_that_there_is_not() -> None:
    found = [name for name, _, _ in rows("Reasons of a batch", "Reasons of an attempt")]

    assert sorted(found) == sorted(str(reason) for reason in Reason)


def test_every_event_of_trouble_has_one_row_and_no_row_is_of_another() -> None:
    found = [name for name, _, _ in rows("Events that tell of trouble")]

    assert sorted(found) == sorted(str(kind) for kind in EventType if severity_of(kind) in TROUBLE)


def test_every_condition_has_one_row_and_no_row_is_of_another() -> None:
    assert sorted(name for name, _, _ in rows("Conditions")) == sorted(str(kind) for kind in ConditionType)


@pytest.mark.parametrize(
    "title", ["Reasons of a batch", "Reasons of an attempt", "Events that tell of trouble", "Conditions"]
)
def test_every_row_says_what_happened_and_what_to_do(title: str) -> None:
    found = rows(title)

    assert found
    assert all(cause.endswith((".", ".)")) and remedy.endswith(".") for _, cause, remedy in found)


def test_every_page_that_it_names_is_there() -> None:
    pages = re.findall(r"\]\(([^)#]+)\)", ATLAS.read_text(encoding="utf-8"))

    assert pages
    assert [page for page in pages if not (ATLAS.parent / page).is_file()] == []
