"""The reference of BatchTest is what the models say, and names every field."""

from __future__ import annotations

import re

from batchyard.model.crd import crd_schema, places
from batchyard.model.crd_reference import batchtest_markdown
from docs.pages import CHECKOUT

PAGE = CHECKOUT / "docs" / "batchtest.md"


def test_the_reference_is_what_the_models_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == batchtest_markdown(), "run `make golden` and read the diff"


def test_the_reference_has_every_field_of_the_crd_with_a_type_and_a_meaning() -> None:
    schema = {"properties": {name: crd_schema()["properties"][name] for name in ("spec", "status")}}
    wanted = {path for path, _ in places(schema) if path and path[-1] not in "]}"} - {"spec", "status"}

    rows = [
        [f"{path}.{cells[0]}", *cells[1:]]
        for path, table in re.findall(r"^### `(\S+)`\n\n.*?\n\n((?:\|.*\n)+)", batchtest_markdown(), re.MULTILINE)
        for cells in ([cell.strip(" `") for cell in line.split(" | ")] for line in table.splitlines()[2:])
        for cells in [[cells[0].strip("| `"), *cells[1:]]]
    ]

    # What an evaluator is told is in a guide of its own.
    assert {row[0] for row in rows} == {path for path in wanted if ".evaluators[].config." not in path}
    assert all(row[1] and row[-1].strip("| ") for row in rows)
