"""Reading a checkpoint file whose writer is at work, has ended or was killed; needs no workflow framework.

Not for the states themselves: here they are blobs.
"""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from batchyard.model.errors import StoreError
from batchyard.model.execution import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INTERNAL = re.compile("(?!__root__$)(?:__|branch:|join:|start:)")
"""How the names of channels begin that LangGraph adds to a state for its own book-keeping."""

_HISTORY = "SELECT id, parent, step, nodes, upcoming, files FROM checkpoints WHERE thread = ? AND ns = '' ORDER BY id"


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Give the file as it is at this moment, for reading only; None if there is nothing in it yet.

    Raises ``StoreError`` if it is damaged.
    """
    if not path.exists():
        yield None
        return
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        ) as connection:
            connection.execute("PRAGMA busy_timeout = 5000")
            connection.execute("BEGIN")
            begun = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'checkpoints'").fetchone()
            yield None if begun is None else connection
    except sqlite3.Error as error:
        raise StoreError(f"the checkpoint file {path} cannot be read: {error}") from error


def number_of(connection: sqlite3.Connection, thread_id: str) -> int | None:
    """Return the number the file knows a thread by, or None."""
    row = connection.execute("SELECT number FROM threads WHERE name = ?", (thread_id,)).fetchone()
    return None if row is None else int(row[0])


def history_of(connection: sqlite3.Connection, thread: int | None) -> tuple[Checkpoint, ...]:
    """Return a thread's top-level checkpoints, oldest first, without reading a state."""
    rows = connection.execute(_HISTORY, (thread,)).fetchall()
    ran = {id_: tuple(name for name, _ in json.loads(nodes)) if nodes else () for id_, _, _, nodes, *_ in rows}
    following: dict[str, tuple[str, ...]] = {}
    for id_, parent, *_ in rows:
        if parent is not None:
            following[parent] = tuple(dict.fromkeys((*following.get(parent, ()), *ran[id_])))
    return tuple(
        Checkpoint(
            id=id_,
            step=-1 if step is None else step,
            parent=parent,
            nodes=ran[id_],
            next=following.get(id_, ()) or tuple(json.loads(upcoming or "[]")),
            files=files or "",
        )
        for id_, parent, step, _, upcoming, files in rows
    )


def read_history(path: Path, thread_id: str) -> tuple[Checkpoint, ...]:
    """Return a thread's checkpoints, oldest first; none if the file or the thread is not there.

    Raises ``StoreError`` if the file is damaged.
    """
    with reading(path) as connection:
        return () if connection is None else history_of(connection, number_of(connection, thread_id))
