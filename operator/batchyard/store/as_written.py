"""Tells rows that are as Batchyard wrote them from those that were changed, whatever was done to them.

A database checks less than one would think: SQLite keeps text in a column of numbers, and no constraint looks into the
JSON of a document. Not for what a row means (``rows``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from batchyard.model.errors import RecordDamaged

if TYPE_CHECKING:
    import sqlalchemy as sa

    from batchyard.model.trial import JSON

T = TypeVar("T")
Row: TypeAlias = Mapping[Any, Any]  # SQLAlchemy names its keys by more than text
Kinds: TypeAlias = Mapping[str, frozenset[type]]
Read: TypeAlias = Callable[[Row], T]

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What reading a value raises that nobody foresaw."""

TEXT, NUMBER, NOTHING = frozenset({str}), frozenset({int, float}), frozenset({type(None)})

_MOST = sys.float_info.max
_SHOWN = 40


def as_written(table: sa.Table, about: Callable[[Row], str]) -> Callable[[Read[T]], Read[T]]:
    """Make a reader of the table's rows raise ``RecordDamaged`` for any that it cannot read; ``about`` names a row."""
    kinds: Kinds = {column.name: _kinds(column) for column in table.columns}

    def wrap(read: Read[T]) -> Read[T]:
        @wraps(read)
        def checked(row: Row) -> T:
            # A plain dict: a row of SQLAlchemy's takes several times as long for each value.
            found = dict(row)
            try:
                check_kinds(found, kinds)
                return read(found)
            except UNREADABLE as err:
                raise RecordDamaged.of(about(found), err) from err

        return checked

    return wrap


def check_kinds(row: Row, kinds: Kinds) -> None:
    """Raise ``TypeError`` if a value is not of one of its kinds, or no finite number; names without any are fine."""
    for name, value in row.items():
        allowed = kinds.get(name)
        if allowed and (type(value) not in allowed or (type(value) in NUMBER and not -_MOST <= value <= _MOST)):
            raise TypeError(f"{name} is {_shown(value)}")


def numbers(name: str, values: Mapping[str, float]) -> Mapping[str, float]:
    """Return the values, which must all be finite numbers. Raises ``TypeError``."""
    for key, value in values.items():
        if type(value) not in NUMBER or not -_MOST <= value <= _MOST:
            raise TypeError(f"{key} of {name} is {_shown(value)}")
    return values


def parsed(name: str, text: str, kind: type[T]) -> T:
    """Return what a column of this name holds as JSON. Raises one of ``UNREADABLE`` if it is not of this kind."""
    try:
        found: JSON = json.loads(text)
    except (ValueError, TypeError, RecursionError) as err:
        raise ValueError(f"{name} is no JSON: {err}") from err
    if not isinstance(found, kind):
        raise TypeError(f"{name} is {_shown(found)}")
    return found


def _kinds(column: sa.Column[Any]) -> frozenset[type]:
    kind = column.type.python_type
    return (NUMBER if kind is float else frozenset({kind})) | (NOTHING if column.nullable else frozenset())


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
