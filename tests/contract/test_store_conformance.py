"""The store on each of its databases does what every store must do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.store import SqlStore, open_store
from batchyard.testing.store_conformance import StoreConformance

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def store(store_target: str) -> Iterator[SqlStore]:
    with open_store(store_target) as opened:
        yield opened


@pytest.mark.proves("unit-of-work", by="test_a_commit_that_cannot_be_written_leaves_nothing")
class TestSqlStore(StoreConformance):
    """On SQLite and on PostgreSQL."""
