"""Fixtures of the tests that run whole batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batch_bench import BatchBench
from batchyard.compose import LocalEngine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    """An engine whose start-up a whole module shares."""
    with LocalEngine() as started:
        yield started


@pytest.fixture
def bench(engine: LocalEngine, tmp_path: Path) -> Iterator[BatchBench]:
    """A bench with an empty store."""
    made = BatchBench(engine, tmp_path)
    yield made
    made.store.close()
