"""Opening a store: what a target may be, the schema's version, and what every connection is set to."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from batchyard.model.errors import SchemaTooNew, StoreError
from batchyard.store import open_store, schema
from batchyard.store.connect import make_engine, parse_target, prepare_file
from batchyard.store.tables import metadata
from batchyard.testing.store_builders import a_batch, a_running_batch, an_entry

IMPORTS_AT_HEAD = """
import sys
from batchyard.store import open_store
with open_store(sys.argv[1]) as store:
    list(store.batches())
print(sorted({"alembic", "psycopg", "kopf", "ray", "kubernetes", "sqlalchemy.orm"} & set(sys.modules)))
"""

# -- the schema --------------------------------------------------------------------------------------------------


@pytest.mark.proves("bug-20")
def test_the_list_of_versions_is_the_migration_scripts(store_target: str) -> None:
    config = Config()
    config.set_main_option("script_location", "batchyard.store:migrations")
    scripts = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]

    with open_store(store_target) as store:
        assert (tuple(reversed(scripts)), schema.current(store.engine)) == (schema.REVISIONS, schema.head())


@pytest.mark.proves("p0-migrations")
def test_migrations_and_tables_agree(store_target: str) -> None:
    with open_store(store_target) as store, store.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)
        found = partial_indexes(connection)

    assert differences == []
    assert found == {
        "ix_attempts_final_outcome": "final",
        "ix_attempts_open": "not final",
        "ix_sessions_open": "closed_at is null",
        "ix_environments_held": "released_at is null",
        "uq_attempts_final": "final",
    }


def partial_indexes(connection: sa.Connection) -> dict[str, str]:
    """Return the condition of every partial index; Alembic does not compare those."""
    query = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql LIKE '% WHERE %'"
        if connection.dialect.name == "sqlite"
        else "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexdef LIKE '% WHERE %'"
    )
    return {name: sql.lower().split(" where ")[1].strip("()") for name, sql in connection.execute(sa.text(query))}


@pytest.mark.proves("bug-20")
def test_opening_again_changes_nothing(store_target: str) -> None:
    with open_store(store_target) as store:
        session = a_running_batch(store)
        store.commit(session, entries=[an_entry()])
        before = store.batch("b1")

    with open_store(store_target) as store:
        schema.upgrade(store.engine)

        assert store.batch("b1") == before


def test_a_database_at_its_newest_version_opens_without_the_migration_library(store_target: str) -> None:
    open_store(store_target).close()

    told = subprocess.run([sys.executable, "-c", IMPORTS_AT_HEAD, store_target], capture_output=True, check=True)

    assert told.stdout.decode().strip() == ("[]" if "://" not in store_target else "['psycopg']")


def test_a_newer_schema_is_refused_whether_or_not_to_upgrade(store_target: str) -> None:
    with open_store(store_target) as store, store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    for upgrade in (True, False):
        with pytest.raises(SchemaTooNew, match=r"version 9999.*upgrade Batchyard, or choose another store"):
            open_store(store_target, upgrade=upgrade)


def test_a_database_without_a_schema_is_refused_if_it_must_not_be_upgraded(store_target: str) -> None:
    with pytest.raises(StoreError, match="no schema yet; run `batchyard db upgrade`"):
        open_store(store_target, upgrade=False)

    engine = make_engine(parse_target(store_target))
    assert schema.current(engine) is None
    engine.dispose()
    assert "://" in store_target or not Path(store_target).exists()


@pytest.mark.proves("p0-migrations")
def test_an_interrupted_upgrade_leaves_no_half_schema(store_target: str) -> None:
    engine = make_engine(parse_target(store_target))
    if engine.dialect.name == "sqlite":
        prepare_file(engine.url)
    with engine.begin() as connection:
        # In the way of the last table but one.
        connection.execute(sa.text("CREATE TABLE attempts (x INTEGER)"))

    with pytest.raises(StoreError, match=r"cannot upgrade the schema: .*attempts"):
        schema.upgrade(engine)

    tables = sa.inspect(engine).get_table_names()
    engine.dispose()
    assert tables == ["attempts"]


# -- what a target may be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["{path}", "sqlite:///{path}", "sqlite+pysqlite:///{path}"])
def test_a_file_is_named_by_path_or_url_and_its_folders_are_made(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / "a ? b" / "100% #1" / "store.db" if spelling == "{path}" else tmp_path / "a" / "b" / "store.db"

    with open_store(spelling.format(path=path)) as store:
        shown = repr(store)

    assert path.is_file()
    assert shown == f"SqlStore({str(path)!r})"


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("", "in memory"),
        (":memory:", "in memory"),
        ("sqlite://", "in memory"),
        ("sqlite:///x.db?mode=ro", "options on a SQLite URL"),
        ("mysql://root:geheim@localhost/x", '"mysql" is not supported'),
        ("postgresql+asyncpg://u:geheim@localhost/x", '"postgresql\\+asyncpg" is not supported'),
        ("://geheim", "no URL that can be read"),
        ("postgresql://u:geheim@host:port/x", "no URL that can be read"),
        ("/tmp", "this is a folder; name a file in it"),
    ],
)
def test_anything_else_is_refused_with_a_remedy_and_without_its_password(target: str, complaint: str) -> None:
    with pytest.raises(StoreError, match=complaint) as refused:
        open_store(target)

    assert "geheim" not in everything_shown(refused.value)


def test_a_server_that_is_away_is_reported_without_the_password() -> None:
    target = "postgresql://someone:geheim@127.0.0.1:1/x?sslpassword=geheim"

    with pytest.raises(StoreError, match="check that the server runs") as refused:
        open_store(target)

    assert "geheim" not in everything_shown(refused.value)


def test_no_spelling_of_a_store_shows_its_password(postgres_url: str) -> None:
    with open_store(postgres_url.replace("postgres@", "postgres:geheim@")) as store:
        store.create_batch(a_batch())
        with pytest.raises(StoreError) as refused:
            store.create_batch(a_batch())

        shown = [repr(store), str(store), repr(store.engine), everything_shown(refused.value)]

    assert "geheim" not in "".join(shown)


def everything_shown(error: BaseException | None) -> str:
    text = ""
    while error is not None:
        text += f"{error!r} {error} {error.args}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return text


def test_a_missing_driver_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(StoreError, match=r"pip install 'batchyard\[postgres\]'"):
        open_store("postgresql://u:geheim@localhost/x")


@pytest.mark.parametrize("target", ["~nosuch/x.db", "sqlite:///~nosuch/x.db"])
def test_a_home_folder_that_nobody_has_is_no_place_for_a_store(target: str) -> None:
    with pytest.raises(StoreError, match=r"^store ~nosuch/x\.db: there is no such home folder; "):
        parse_target(target)


def test_a_database_of_another_program_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()

    for upgrade in (True, False):
        with pytest.raises(StoreError, match="belongs to another program; choose another"):
            open_store(str(path), upgrade=upgrade)

    assert path.read_bytes() == before
    assert not path.with_name("other.db-wal").exists()


def test_a_file_that_is_no_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be looked at\n" * 40)
    before = path.read_bytes()

    with pytest.raises(StoreError, match="the file is no SQLite database"):
        open_store(str(path))

    assert path.read_bytes() == before


# -- what every connection is set to -----------------------------------------------------------------------------


@pytest.mark.proves("p1-wal")
def test_every_pooled_connection_has_every_setting(tmp_path: Path) -> None:
    names = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys", "application_id")
    with open_store(str(tmp_path / "store.db")) as store, ExitStack() as stack:
        # Held all at once, so that each is another connection: five in the pool and ten beyond it.
        connections = [stack.enter_context(store.engine.connect()) for _ in range(15)]
        distinct = {id(connection.connection.dbapi_connection) for connection in connections}
        settings = {
            tuple(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names)
            for connection in connections
        }

    assert len(distinct) == 15
    assert settings == {("wal", 2, 30000, 1, 0x42594152)}


@pytest.mark.proves("bug-19")
def test_a_connection_that_was_replaced_has_every_setting(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "store.db")) as store:
        store.engine.dispose()

        with store.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


def test_a_row_cannot_refer_to_a_batch_that_does_not_exist(store_target: str) -> None:
    insert = "INSERT INTO sessions (batch_id, epoch, host, pid, started, opened_at, heartbeat_at) VALUES"

    with open_store(store_target) as store, pytest.raises(sa.exc.IntegrityError), store.engine.begin() as connection:
        connection.execute(sa.text(f"{insert} ('nope', 1, 'h', 1, 's', 0, 0)"))


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_entries SET message = 'x'", "DELETE FROM audit_entries", "TRUNCATE audit_entries"],
)
def test_the_database_itself_keeps_the_audit_trail_append_only(store_target: str, statement: str) -> None:
    if "://" not in store_target and statement.startswith("TRUNCATE"):
        statement = "DELETE FROM audit_entries WHERE seq = 2"
    with open_store(store_target) as store:
        session = a_running_batch(store)
        store.commit(session, entries=[an_entry(0), an_entry(1)])

        with pytest.raises(sa.exc.DBAPIError, match="append-only"), store.engine.begin() as connection:
            connection.execute(sa.text(statement))

        assert [sealed.entry for sealed in store.audit_entries("b1")] == [an_entry(0), an_entry(1)]
