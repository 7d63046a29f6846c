"""Where two final states differ, as JSON paths. Pure, and bounded whatever the states are."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.judge.closeness import Closeness
    from batchyard.model.trial import JSON

_LONGEST_VALUE = 120
_LONGEST_PATH = 200
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """A place where two states differ, and what each has there as ``shown``; None where it has nothing."""

    path: str
    left: JSON
    right: JSON


class _Absent:
    """What stands where one state has nothing, for JSON itself has None."""


_ABSENT = _Absent()


def differing_places(left: JSON, right: JSON, close: Closeness, most: int) -> list[Place]:
    """Return the first ``most`` places where the two differ, keys in alphabetical order; numbers may be ``close``."""
    places: list[Place] = []
    # A stack of its own: states may be nested deeper than Python calls.
    waiting: list[tuple[str, object, object]] = [("$", left, right)]
    while waiting and len(places) < most:
        path, one, other = waiting.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            waiting += reversed(list(_members(path, one, other)))
        elif isinstance(one, list) and isinstance(other, list):
            waiting += reversed(list(_items(path, one, other)))
        elif not _equal(one, other, close):
            places.append(Place(_cut(path, _LONGEST_PATH), _shown_or_absent(one), _shown_or_absent(other)))
    return places


def shown(value: JSON) -> JSON:
    """Return a value as short JSON: numbers as they are, unless JSON lacks them, and anything else as bounded text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return _cut(text, _LONGEST_VALUE)


def _shown_or_absent(value: object) -> JSON:
    if value is _ABSENT:
        return None
    return "null" if value is None else shown(value)


def _members(path: str, left: dict[str, JSON], right: dict[str, JSON]) -> Iterator[tuple[str, object, object]]:
    for key in sorted(left.keys() | right.keys()):
        step = f".{key}" if _PLAIN_KEY.match(key) else f"[{json.dumps(key, ensure_ascii=False)}]"
        yield path + step, left.get(key, _ABSENT), right.get(key, _ABSENT)


def _items(path: str, left: list[JSON], right: list[JSON]) -> Iterator[tuple[str, object, object]]:
    for index in range(max(len(left), len(right))):
        one = left[index] if index < len(left) else _ABSENT
        other = right[index] if index < len(right) else _ABSENT
        yield f"{path}[{index}]", one, other


def _equal(left: object, right: object, close: Closeness) -> bool:
    if _is_number(left) and _is_number(right):
        return close.equal(left, right)  # type: ignore[arg-type]
    # True is 1 to Python, and not to a state.
    return type(left) is type(right) and left == right


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
