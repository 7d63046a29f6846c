"""The table of values in the chart's README: from the comments in ``values.yaml``.

A comment belongs to the value below it. Not for checking values, which ``values.schema.json`` does.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "<!-- values: written by `make golden` -->\n"

_KEY = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z0-9]+):(?P<rest>.*)")


@dataclass(frozen=True, slots=True)
class Value:
    """One value that a user may set, or a group of them."""

    path: str
    comment: str
    default: object
    is_group: bool


def readme(now: str, values: str) -> str:
    """Return the README with a new table; what stands before the mark stays.

    Raises:
        ValueError: A value has no comment, or the README no mark.
    """
    head, found, _ = now.partition(MARK)
    if not found:
        raise ValueError(f"the README of the chart has no line {MARK.strip()}; put it where the table belongs")
    rows = [f"| `{value.path}` | {_shown(value.default)} | {value.comment} |" for value in leaves(values)]
    return head + MARK + "\n".join(["| value | default | meaning |", "| --- | --- | --- |", *rows]) + "\n"


def leaves(values: str) -> list[Value]:
    """Return every value that is no group, in order. Raises ``ValueError`` if one has no comment."""
    found = [value for value in described(values) if not value.is_group]
    bare = [value.path for value in found if not value.comment]
    if bare:
        raise ValueError(f"values.yaml: {', '.join(bare)} have no comment; write above each what it is for")
    return found


def described(values: str) -> Iterator[Value]:
    """Yield every key that stands in a line of its own, with the comment above it.

    A key is a group if keys with comments stand below it; else it is one value, whatever that holds.
    """
    document = yaml.safe_load(values)
    keys = list(_keys(values))
    for number, (path, comment) in enumerate(keys):
        below = [other for other in keys[number + 1 :] if other[0][: len(path)] == path]
        if any(other[0] == path[:size] and other[1] for other in keys for size in range(1, len(path))) and not comment:
            # A part of a value that is described as a whole.
            continue
        default = reduce(lambda value, key: value[key], path, document)
        yield Value(".".join(path), comment, default, is_group=any(comment for _, comment in below))


def _keys(values: str) -> Iterator[tuple[tuple[str, ...], str]]:
    stack: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in values.splitlines():
        text = line.strip()
        if text.startswith("#"):
            comment.append(text.lstrip("# "))
        elif match := _KEY.fullmatch(line):
            depth = len(match["indent"])
            stack = [*(parent for parent in stack if parent[0] < depth), (depth, match["key"])]
            yield tuple(key for _, key in stack), " ".join(comment)
            comment = []
        else:
            comment = []


def _shown(default: object) -> str:
    match default:
        case "":
            return '`""`'
        case str():
            return f"`{default}`"
        case _:
            return f"`{json.dumps(default, ensure_ascii=False)}`".replace("|", "\\|")
