"""A store of an older version: commands that only look change nothing in it, those that write bring it up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.config import Config

from batchyard.cli.batches import known_batches
from batchyard.store import schema
from batchyard.store.connect import make_engine, parse_target, prepare_file
from command_line import Bench

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An empty store of the first version."""
    made = Bench(tmp_path)
    engine = make_engine(parse_target(str(made.store)))
    prepare_file(engine.url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "batchyard.store:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, schema.REVISIONS[0])
    engine.dispose()
    return made


def version(bench: Bench) -> str | None:
    engine = make_engine(parse_target(str(bench.store)))
    try:
        return schema.current(engine)
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("show", "small"),
        ("compare", "small"),
        ("report", "small", "--out", "out.html"),
        ("audit", "verify", "small"),
        ("db", "sessions"),
        ("execution", "list", "small"),
        ("db", "check"),
    ],
    ids=" ".join,
)
def test_a_command_that_only_looks_refuses_an_older_store_and_leaves_it_as_it_is(
    bench: Bench, words: tuple[str, ...]
) -> None:
    done = bench.run(*words)

    assert done.returncode == 4, done.stdout
    assert "the schema is version 0001" in done.stderr
    assert "run `batchyard db upgrade`, after a back-up: there is no way back" in done.stderr.replace("\n", " ")
    assert version(bench) == schema.REVISIONS[0]


def test_completing_names_of_batches_leaves_an_older_store_as_it_is(bench: Bench) -> None:
    assert known_batches(str(bench.store), "") == []
    assert version(bench) == schema.REVISIONS[0]


@pytest.mark.parametrize(
    ("words", "exit_code"),
    [
        (("db", "upgrade"), 0),
        (("db", "check", "--repair"), 0),
        (("db", "sessions", "--end-abandoned"), 0),
        (("resume", "small"), 2),
    ],
)
def test_a_command_that_writes_brings_an_older_store_up_to_date(
    bench: Bench, words: tuple[str, ...], exit_code: int
) -> None:
    done = bench.run(*words)

    assert done.returncode == exit_code, done.stderr
    assert version(bench) == schema.head()
