"""Takes a thread out of one checkpoint file into a portable piece, and puts it into another file under a new name.

A piece is itself a small checkpoint file of one thread, as bytes: with subgraphs, what tasks wrote, and the whole line
that led to its newest checkpoint. It needs no workflow framework and no state is read, so whoever supervises workers
can take a thread out of a file whose worker runs, or was killed.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from batchyard.model.errors import StoreError
from batchyard.model.execution import CheckpointNotFound, ExecutionNotFound
from batchyard.workflows.checkpoint_reading import history_of, number_of, reading
from batchyard.workflows.checkpoint_tables import APPLICATION_ID, TABLES, VERSION, open_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CHECKPOINT_COLUMNS = (
    "ns, id, parent, step, whole, run, nodes, upcoming, kind, body, led_task, led_path, led_kind, led_body, files"
)
_WRITE_COLUMNS = "ns, checkpoint, task, path, kind, body"
_READ_CHECKPOINTS = f"SELECT {_CHECKPOINT_COLUMNS} FROM checkpoints WHERE thread = ? AND id <= ? ORDER BY id"  # noqa: S608
_READ_WRITES = f"SELECT {_WRITE_COLUMNS} FROM writes WHERE thread = ? AND checkpoint < ? ORDER BY rowid"  # noqa: S608
_PUT_CHECKPOINT = f"INSERT INTO checkpoints (thread, {_CHECKPOINT_COLUMNS}) VALUES (?{', ?' * 15})"  # noqa: S608
_PUT_WRITE = f"INSERT INTO writes (thread, {_WRITE_COLUMNS}) VALUES (?{', ?' * 6})"  # noqa: S608
_AFTER_ALL = "~"  # sorts after every id, which are hexadecimal
_PAGE_BYTES = 1024


def export_thread(path: Path, thread_id: str, checkpoint: str | None = None) -> bytes:
    """Return a thread as a piece: up to a top-level checkpoint if one is named, else all of it.

    What was under way on the named checkpoint is left behind; without one, what tasks of an unfinished step have
    written comes along, so that they do not run again.

    Raises:
        ExecutionNotFound: There is no such thread in the file, or no file.
        CheckpointNotFound: The thread has no such checkpoint.
        StoreError: The file is damaged.
    """
    with reading(path) as source, closing(_new_piece()) as piece:
        number = None if source is None else number_of(source, thread_id)
        if source is None or number is None:
            raise ExecutionNotFound(f"the checkpoint file {path} has no thread {thread_id}")
        upcoming = None
        if checkpoint is not None:
            upcoming = next((point.next for point in history_of(source, number) if point.id == checkpoint), None)
            if upcoming is None:
                raise CheckpointNotFound(f"thread {thread_id} has no checkpoint {checkpoint} in {path}")
        piece.execute("INSERT INTO threads (number, name) VALUES (1, ?)", (thread_id,))
        _copy(source, number, piece, 1, checkpoint, upcoming)
        return piece.serialize()


def import_thread(path: Path, piece: bytes, new_thread_id: str) -> None:
    """Put a piece into a checkpoint file that no one else writes, as a thread of this name; all of it or nothing.

    Raises ``StoreError`` if the piece is none, and ``ValueError`` if there is a thread of this name already.
    """
    with closing(open_file(path)) as target:
        target.execute("BEGIN IMMEDIATE")
        if number_of(target, new_thread_id) is not None:
            raise ValueError(f"the checkpoint file {path} has a thread {new_thread_id} already; choose another name")
        target.execute("INSERT INTO threads (name) VALUES (?)", (new_thread_id,))
        number = number_of(target, new_thread_id)
        insert_piece(target, number or 0, piece)
        target.execute("COMMIT")


def insert_piece(target: sqlite3.Connection, number: int, piece: bytes) -> None:
    """Add a piece's rows to a thread that has none, inside the caller's transaction. Raises ``StoreError``."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as source:
        try:
            source.deserialize(piece)
            marks = tuple(source.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
            if marks != (APPLICATION_ID, VERSION):
                raise StoreError("this is no thread of this version of Batchyard; take it out again with this one")
            _copy(source, 1, target, number)
        except sqlite3.DatabaseError as error:
            raise StoreError(f"a thread that was to be gone on with is damaged: {error}") from error


def _new_piece() -> sqlite3.Connection:
    piece = sqlite3.connect(":memory:", isolation_level=None)
    # A thread is small, and an empty table takes a page.
    piece.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    for statement in TABLES:
        piece.execute(statement)
    return piece


def _copy(
    source: sqlite3.Connection,
    number: int,
    target: sqlite3.Connection,
    into: int,
    checkpoint: str | None = None,
    upcoming: Sequence[str] | None = None,
) -> None:
    last = checkpoint or _AFTER_ALL
    target.executemany(_PUT_CHECKPOINT, ((into, *row) for row in source.execute(_READ_CHECKPOINTS, (number, last))))
    target.executemany(_PUT_WRITE, ((into, *row) for row in source.execute(_READ_WRITES, (number, last))))
    if upcoming is not None:
        target.execute(
            "UPDATE checkpoints SET upcoming = ? WHERE thread = ? AND ns = '' AND id = ?",
            (json.dumps(list(upcoming)), into, checkpoint),
        )
