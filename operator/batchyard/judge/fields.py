"""Find values in a run's JSON and compare them, as JSON sees it. Not for JSONPath, which is a library's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from batchyard.judge.observation import CannotJudge, Observed

if TYPE_CHECKING:
    from batchyard.model.trial import JSON

_NAMES_SHOWN = 8


def output_field(observed: Observed, field: str) -> JSON:
    """Return the output's value at ``field``. Raises ``CannotJudge`` if it is not there."""
    return _value_at(observed.output, field, "output")


def expected_value(observed: Observed, field: str | None) -> JSON:
    """Return what the case expects of ``field``: that entry of a mapping, or all of ``expected`` if it is none.

    Raises ``CannotJudge`` if the case expects nothing, or nothing of this field.
    """
    if observed.expected is None:
        raise CannotJudge(f"case {observed.case!r} has no expected value; add `expected` to it")
    if field is not None and isinstance(observed.expected, Mapping):
        return _value_at(observed.expected, field, f"`expected` of case {observed.case!r}")
    return observed.expected


def number(value: JSON, what: str) -> float:
    """Return ``value`` as a float. Raises ``CannotJudge`` if it is no finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CannotJudge(f"{what} is {kind(value)}, not a number")
    try:
        converted = float(value)
    except OverflowError:
        raise CannotJudge(f"{what} is too large a number") from None
    if not math.isfinite(converted):
        raise CannotJudge(f"{what} is {converted}, not a finite number")
    return converted


def same(one: JSON, other: JSON, *, ignore_case: bool = False) -> bool:
    """Return whether two JSON values are equal: 1 equals 1.0, but true does not equal 1."""
    if isinstance(one, str) and isinstance(other, str):
        return one.casefold() == other.casefold() if ignore_case else one == other
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(
            same(value, other[key], ignore_case=ignore_case) for key, value in one.items()
        )
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(
            same(mine, theirs, ignore_case=ignore_case) for mine, theirs in zip(one, other, strict=True)
        )
    return bool(one == other)


def kind(value: JSON) -> str:
    """Return what a JSON value is, in the words of an error message."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case Mapping():
            return "a mapping"
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"


def _value_at(data: JSON, field: str, where: str) -> JSON:
    """Follow ``a.b.0`` through mappings and lists; a key that itself has dots goes before the path."""
    if isinstance(data, Mapping) and field in data:
        return data[field]
    value = data
    for word in field.split("."):
        if isinstance(value, Mapping) and word in value:
            value = value[word]
        elif isinstance(value, list | tuple) and _is_index(word, len(value)):
            value = value[int(word)]
        else:
            raise CannotJudge(f"{where} has no field {field!r}; {_what_is_there(value, word)}")
    return value


def _is_index(word: str, length: int) -> bool:
    digits = word.removeprefix("-")
    return digits.isdecimal() and digits.isascii() and len(digits) < 10 and -length <= int(word) < length


def _what_is_there(value: JSON, word: str) -> str:
    place = f"where {word!r} would be"
    if isinstance(value, Mapping):
        names = sorted(str(name) for name in value)
        more = ", ..." if len(names) > _NAMES_SHOWN else ""
        return f"{place} there is: {', '.join(names[:_NAMES_SHOWN])}{more}" if names else f"{place} there is nothing"
    if isinstance(value, list | tuple):
        return f"{place} there is a list of {len(value)}"
    return f"{place} there is {kind(value)}"
