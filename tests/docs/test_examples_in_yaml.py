"""The BatchTests, and the parts of one, that the documentation shows are such as Batchyard takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from batchyard.model.crd import crd_schema, places
from batchyard.model.parse import parse_batch_test
from batchyard.model.spec import KIND
from docs.pages import Block, Page, every_page

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCKS = [(page, block) for page in every_page() for block in page.blocks if block.language == "yaml"]
WITH_YAML = list({page.name: page for page, _ in BLOCKS}.values())


def documents(page: Page) -> Iterator[tuple[Block, Any]]:
    for other, block in BLOCKS:
        if other is page:
            yield from ((block, document) for document in yaml.safe_load_all(block.text))


def open_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema as JSON Schema for a part: nothing is required, and no other field is known."""
    kept = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes") and key != "required"}
    for bound in ("Minimum", "Maximum"):
        kept.pop(f"exclusive{bound}", None)
    if kept.pop("nullable", False) and "type" in kept:
        kept["type"] = [kept["type"], "null"]
    if "properties" in kept:
        kept["properties"] = {name: open_schema(inner) for name, inner in kept["properties"].items()}
        kept["additionalProperties"] = False
    if "items" in kept:
        kept["items"] = open_schema(kept["items"])
    if isinstance(kept.get("additionalProperties"), dict):
        kept["additionalProperties"] = open_schema(kept["additionalProperties"])
    return kept


# What holds anything would fit everything.
PARTS = [
    Draft202012Validator(open_schema(schema))
    for _, schema in places(crd_schema())
    if "properties" in schema or "properties" in schema.get("items", {})
]


@pytest.mark.parametrize("page", WITH_YAML, ids=lambda page: page.name)
def test_what_a_page_shows_in_yaml_is_a_whole_batchtest_a_part_of_one_or_an_object_of_somebody_else(page: Page) -> None:
    for block, document in documents(page):
        if "fragment" in block.notes:
            assert block.notes["fragment"], f"line {block.line} does not say what it is a part of"
        elif isinstance(document, dict) and document.get("kind") == KIND:
            assert parse_batch_test(yaml.safe_dump(document, sort_keys=False), page.name)
        elif isinstance(document, dict) and {"apiVersion", "kind"} <= document.keys():
            # An object of somebody else.
            assert document["metadata"]["name"]
        else:
            assert any(part.is_valid(document) for part in PARTS), f"line {block.line} fits no part of a BatchTest"
