"""What is written of a move stands between the runs of its batch, and takes none of them their session."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from batchyard.clock import SystemClock
from batchyard.executions.held import Held
from batchyard.executions.trail import BatchTrail
from batchyard.model.execution import BatchRuns
from batchyard.store.opening import open_store
from batchyard.testing.store_builders import T0, a_batch
from raced_store import RacedStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from batchyard.engine.ports import Owner
    from batchyard.store.sql import SqlStore

HELD = Held("x-1", "b1", "one/tea/0", "one", {}, "tea", 0, created_at="", changed_at="")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RacedStore]:
    with open_store(str(tmp_path / "store.db")) as opened:
        opened.create_batch(a_batch())
        yield RacedStore(opened.engine)


def trail_of(store: SqlStore, tmp_path: Path) -> BatchTrail:
    return BatchTrail(store, store.batch("b1"), tmp_path, SystemClock(), ())


def test_an_entry_takes_no_batch_from_a_run_that_began_in_this_moment(store: RacedStore, tmp_path: Path) -> None:
    with suppress(BatchRuns):
        trail_of(store, tmp_path).note(HELD, "resumed")

    assert store.others is not None
    store.heartbeat(store.others, T0)
    assert list(store.audit_entries("b1")) == []


def test_an_entry_waits_for_that_of_another_execution(store: RacedStore, tmp_path: Path) -> None:
    class Brief(RacedStore):
        def live_owner(self, batch_id: str) -> tuple[Owner, datetime] | None:
            found = super().live_owner(batch_id)
            if found is not None and self.others is not None:
                self.close_session(self.others, "Execution", T0)
            return found

    trail_of(Brief(store.engine), tmp_path).note(HELD, "resumed")

    assert [sealed.entry.message for sealed in store.audit_entries("b1")] == ["x-1: resumed"]
