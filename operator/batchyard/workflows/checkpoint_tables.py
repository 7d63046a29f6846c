"""The tables of a checkpoint file, and how such a file is opened. Not for what goes into them."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from batchyard.model.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_ID = 0x42594350  # "BYCP"
VERSION = 2

TABLES = (
    "CREATE TABLE threads (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
    # whole: the body has every channel, not only those that changed since the parent.
    # nodes: what completed between the parent and this one, JSON pairs of name and seconds.
    # led_*: what the step's last task wrote on the parent, which led to this one: one commit instead of two.
    # files: the snapshot of the tracked files (``snapshots``), NULL if none was taken.
    # upcoming: what would have run next if the run ended here, JSON; NULL in a subgraph.
    """CREATE TABLE checkpoints (
        thread INTEGER NOT NULL, ns TEXT NOT NULL, id TEXT NOT NULL, parent TEXT, step INTEGER,
        whole INTEGER NOT NULL, run TEXT, nodes TEXT NOT NULL, upcoming TEXT, kind TEXT NOT NULL, body BLOB NOT NULL,
        led_task TEXT, led_path TEXT, led_kind TEXT, led_body BLOB, files TEXT, PRIMARY KEY (thread, ns, id)) STRICT""",
    """CREATE TABLE writes (
        thread INTEGER NOT NULL, ns TEXT NOT NULL, checkpoint TEXT NOT NULL, task TEXT NOT NULL, path TEXT NOT NULL,
        kind TEXT NOT NULL, body BLOB NOT NULL) STRICT""",
    "CREATE INDEX writes_of_thread ON writes (thread)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)


def open_file(path: Path) -> sqlite3.Connection:
    """Open a checkpoint file for its one writer, making it if it is not there. Raises ``StoreError``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"the checkpoint file {path} cannot be opened: {error}; choose another folder") from error
    try:
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # Each checkpoint rewrites the same last pages: folding the log in seldom saves writing them again and again.
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        _ensure_tables(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(f"the checkpoint file {path} cannot be used: {error}; remove it or choose another") from error
    except StoreError:
        connection.close()
        raise
    return connection


def _ensure_tables(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    is_new = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    for statement in TABLES if is_new else ():
        connection.execute(statement)
    connection.execute("COMMIT")
    if not is_new and (owner, version) != (APPLICATION_ID, VERSION):
        raise StoreError(
            f"{path} is no checkpoint file of this version (application {owner:#x}, version {version}, wanted "
            f"{APPLICATION_ID:#x} and {VERSION}); remove it or choose another"
        )
