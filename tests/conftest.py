"""Fixtures that several kinds of tests share."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from postgres_server import PostgresServer, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest_plugins = ["proofs"]

# An example may take its time, since the machine is shared with the other tests. New examples are looked for where
# somebody can look at what they show; a change is judged by the same ones every time.
settings.register_profile("batchyard", deadline=None, derandomize="CI" in os.environ)  # noqa: TID251
settings.load_profile("batchyard")

# Tests are rewritten for their assertions once, not once in every stage of `make test`; what they write themselves
# (a workflow twice within a second, say) is never kept compiled.
_writes_no_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, False


def pytest_collection_finish() -> None:
    """Write bytecode no longer than tests are imported, if none may be written."""
    sys.dont_write_bytecode = _writes_no_bytecode


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL server, started for the first test that asks for it."""
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a new, empty PostgreSQL database."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new store can be opened: once on SQLite, once on PostgreSQL."""
    if request.param == "sqlite":
        return str(tmp_path / "store" / "batchyard.db")
    return str(request.getfixturevalue("postgres_url"))
