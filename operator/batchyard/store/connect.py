"""Makes engines: what a target names, and the settings that every single connection needs.

Not for the schema (``schema``) nor for what is stored (``sql``).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from batchyard.model.errors import StoreError
from batchyard.store.faults import error_for, place_of

APPLICATION_ID = 0x42594152
"""Stands in the header of every SQLite file that is ours ("BYAR")."""

BUSY_SECONDS = 30

_POSTGRESQL = frozenset({"postgresql", "postgres", "postgresql+psycopg"})
_SQLITE = frozenset({"sqlite", "sqlite+pysqlite"})
_SUPPORTED = "give a path, sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE"


def parse_target(target: str) -> URL:
    """Return the URL for a path or URL. Raises ``StoreError`` for anything but SQLite in a file and PostgreSQL."""
    if "://" not in target:
        return _sqlite_url(target)
    try:
        url = make_url(target)
    except (ArgumentError, ValueError):
        # The text may hold a password, and so may the cause.
        raise StoreError(f"store: this is no URL that can be read; {_SUPPORTED}") from None
    if url.drivername in _POSTGRESQL:
        return url.set(drivername="postgresql+psycopg")
    if url.drivername in _SQLITE and not url.query:
        return _sqlite_url(url.database or "")
    what = "options on a SQLite URL are" if url.drivername in _SQLITE else f'"{url.drivername}" is'
    raise StoreError(f"store: {what} not supported; {_SUPPORTED}")


def _sqlite_url(name: str) -> URL:
    if not name or name == ":memory:":
        raise StoreError("store: a database in memory would not outlive this process; give a path")
    try:
        path = Path(name).expanduser().absolute()
    except RuntimeError as err:
        raise StoreError(f"store {name}: there is no such home folder; write the path from / on") from err
    if path.is_dir():
        raise StoreError(f"store {path}: this is a folder; name a file in it, such as {path / 'batchyard.db'}")
    return URL.create("sqlite", database=str(path))


def make_engine(url: URL, *, foreign_keys: bool = True, pooled: bool = True) -> sa.Engine:
    """Return an engine whose every connection has the settings below. No connection is made yet.

    ``foreign_keys=False`` is for migrations, which rebuild tables. Raises ``StoreError`` if psycopg is missing.
    """
    # A statement's parameters are users' data: they stay out of every error text.
    options: dict[str, Any] = {"hide_parameters": True}
    if not pooled:
        options["poolclass"] = sa.NullPool
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS}, **options)
        _set_up_sqlite(engine, foreign_keys=foreign_keys)
        return engine
    try:
        return sa.create_engine(
            url, pool_pre_ping=True, connect_args={"connect_timeout": 10, "application_name": "batchyard"}, **options
        )
    except ModuleNotFoundError as err:
        shown = place_of(url).shown
        raise StoreError(
            f"store {shown}: PostgreSQL needs the psycopg driver; install it with: pip install 'batchyard[postgres]'"
        ) from err


def for_writing(engine: sa.Engine) -> sa.Engine:
    """Return a view of the engine whose transactions take SQLite's write lock at their beginning.

    A transaction that reads first and writes later cannot wait for the lock: SQLite refuses it at once.
    """
    return engine.execution_options(batchyard_begin="BEGIN IMMEDIATE")


def _set_up_sqlite(engine: sa.Engine, *, foreign_keys: bool) -> None:
    @sa.event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        # Python's driver would begin transactions by itself, too late and never for DDL.
        connection.isolation_level = None
        connection.text_factory = _text
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise StoreError(
                f"store {engine.url.database}: this file system has no write-ahead log for SQLite (mode {mode}); "
                "use a local disk, or PostgreSQL"
            )
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        connection.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
        connection.execute(f"PRAGMA journal_size_limit={64 * 1024 * 1024}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("batchyard_begin", "BEGIN"))


def _text(raw: bytes) -> str | bytes:
    """Return text, or as bytes what is none: whoever reads that row says so, and every other one can be read."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def prepare_file(url: URL) -> None:
    """Make the file and its folders if they are missing, marked as ours and in WAL mode.

    Called under the upgrade's lock. The file gets its name only when it is complete, because other processes look
    at it without the lock, and SQLite does not let two connections switch to WAL at once.
    """
    path = Path(url.database or "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > 0:
            return
        unnamed = path.with_name(f"{path.name}.new")
        unnamed.unlink(missing_ok=True)
        with closing(sqlite3.connect(unnamed, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute("PRAGMA journal_mode=WAL")
        unnamed.rename(path)
    except (sqlite3.Error, OSError) as err:
        raise error_for(place_of(url), "create the database", err) from err


def refuse_foreign_file(url: URL) -> bool:
    """Return whether the file holds a database yet. Raises ``StoreError`` if that is not ours; changes nothing."""
    path = Path(url.database or "")
    try:
        if not path.exists() or path.stat().st_size == 0:
            return False
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as connection:
            (found,) = connection.execute("PRAGMA application_id").fetchone()
    except (sqlite3.Error, OSError) as err:
        raise error_for(place_of(url), "open the database", err) from err
    if found != APPLICATION_ID:
        raise StoreError(f"store {path}: this SQLite file belongs to another program; choose another with --store")
    return True
