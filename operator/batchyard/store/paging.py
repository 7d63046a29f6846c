"""Reads long tables in pages, so that memory stays flat and no reader holds the database up.

Not for questions with a short answer; the store asks those directly.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from batchyard.store.faults import Place, reported

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import RowMapping


def paged(
    engine: sa.Engine,
    place: Place,
    rows: sa.Select[Any],
    *,
    key: Sequence[sa.Column[int]],
    after: Sequence[int],
    size: int,
    limit: int | None = None,
) -> Iterator[RowMapping]:
    """Yield the rows in the order of ``key`` (whole numbers, unique together) that come behind ``after``.

    Each page begins behind the last row seen and is a transaction of its own: an offset would read all rows before
    it again, and a cursor left open would keep SQLite's log from shrinking. ``size`` is the length of a page.
    """
    yield from islice(_endless(engine, place, rows, key, after, size if limit is None else min(size, limit)), limit)


def _endless(
    engine: sa.Engine,
    place: Place,
    rows: sa.Select[Any],
    key: Sequence[sa.Column[int]],
    after: Sequence[int],
    size: int,
) -> Iterator[RowMapping]:
    names = [column.name for column in key]
    # A comparison of one-element tuples keeps SQLite from using the index.
    mark = [sa.bindparam(f"after_{name}", type_=sa.BigInteger) for name in names]
    behind = key[0] > mark[0] if len(key) == 1 else sa.tuple_(*key) > sa.tuple_(*mark)
    page = rows.where(behind).order_by(*key).limit(size)
    position = {f"after_{name}": value for name, value in zip(names, after, strict=True)}
    while True:
        with reported(place, "read"), engine.connect() as connection:
            found = connection.execute(page, position).mappings().all()
        yield from found
        if len(found) < size:
            return
        position = {f"after_{name}": found[-1][name] for name in names}
