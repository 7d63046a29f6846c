"""The fake store of the session's tests does what every store must do."""

from __future__ import annotations

import pytest

from batchyard.testing.fake_store import FakeStore
from batchyard.testing.store_conformance import StoreConformance


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


class TestFakeStore(StoreConformance):
    """In memory."""
