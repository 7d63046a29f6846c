"""The version of a database's schema: which it has, whether it serves, and the upgrade to the newest.

Not for the tables' definition (``tables``, ``migrations``). Alembic takes a fifth of a second to import, so only a real
upgrade does it; every other start compares one row with the list below.
"""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from batchyard.model.errors import SchemaTooNew, StoreError
from batchyard.store.connect import for_writing, make_engine, prepare_file, refuse_foreign_file
from batchyard.store.faults import place_of, reported

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL

REVISIONS = ("0001", "0002")
"""Every version of the schema, oldest first; a test compares it with the migration scripts."""

_ADVISORY_LOCK = 0x42594152
_VERSION = sa.text("SELECT version_num FROM alembic_version")


def head() -> str:
    """Return the version that this Batchyard works with."""
    return REVISIONS[-1]


def current(engine: sa.Engine) -> str | None:
    """Return the database's version, or None if it has no schema yet."""
    if _is_sqlite(engine) and not refuse_foreign_file(engine.url):
        return None
    with reported(place_of(engine.url), "read the schema's version"), engine.connect() as connection:
        return _current(connection)


def check(engine: sa.Engine) -> None:
    """Raise ``SchemaTooNew`` or ``StoreError`` unless the database has exactly the version that is needed."""
    found = current(engine)
    _refuse_unknown(engine.url, found)
    if found != head():
        state = "there is no schema yet" if found is None else f"the schema is version {found}, this needs {head()}"
        back_up = "" if found is None else ", after a back-up: there is no way back"
        raise StoreError(f"store {place_of(engine.url).shown}: {state}; run `batchyard db upgrade`{back_up}")


def upgrade(engine: sa.Engine) -> None:
    """Bring the database to the newest version; creates the file and the tables of a new one.

    Any number of processes may call it at once: one does the work, under a lock, and the others wait for it. All
    of an upgrade happens in one transaction. Raises ``SchemaTooNew`` for a version this Batchyard does not know.
    """
    found = current(engine)
    _refuse_unknown(engine.url, found)
    if found == head():
        return
    with _alone(engine.url):
        if _is_sqlite(engine):
            refuse_foreign_file(engine.url)
            prepare_file(engine.url)
        # A table cannot be rebuilt while SQLite enforces foreign keys, and that cannot change within a transaction.
        migrating = make_engine(engine.url, foreign_keys=False, pooled=False)
        with reported(place_of(engine.url), "upgrade the schema"), for_writing(migrating).begin() as connection:
            if not _is_sqlite(engine):
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            found = _current(connection)
            _refuse_unknown(engine.url, found)
            if found != head():
                _run_migrations(connection)
                _refuse_dangling(engine.url, connection)


def _run_migrations(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "batchyard.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _refuse_dangling(url: URL, connection: sa.Connection) -> None:
    if connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        raise StoreError(
            f"store {url.database}: upgrading would leave {len(broken)} rows without the row they belong to "
            f'(first in table "{broken[0][0]}"); nothing was changed; run `batchyard db check`'
        )


def _refuse_unknown(url: URL, found: str | None) -> None:
    if found is not None and found not in REVISIONS:
        raise SchemaTooNew(
            f"store {place_of(url).shown}: its schema is version {found}, which this Batchyard does not know "
            f"(newest known: {head()}); upgrade Batchyard, or choose another store with --store"
        )


def _current(connection: sa.Connection) -> str | None:
    # A savepoint, because PostgreSQL gives up the whole transaction after an error.
    try:
        with connection.begin_nested():
            return connection.execute(_VERSION).scalar_one_or_none()
    except DBAPIError:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        # Another process may have made it in between; if that is not it, this raises again.
        with connection.begin_nested():
            return connection.execute(_VERSION).scalar_one_or_none()


@contextmanager
def _alone(url: URL) -> Iterator[None]:
    """Keep other processes of this machine from upgrading the same SQLite file; PostgreSQL has its own lock."""
    if url.get_backend_name() != "sqlite":
        yield
        return
    database = Path(url.database or "")
    with reported(place_of(url), "create the lock file"):
        database.parent.mkdir(parents=True, exist_ok=True)
        lock = database.with_name(f"{database.name}.lock").open("w")
    # The lock goes with the file object; the file itself stays, since removing it would let two processes in.
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_sqlite(engine: sa.Engine) -> bool:
    return engine.dialect.name == "sqlite"
