"""What every ``BatchStore`` must do with sessions; part of ``store_conformance``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from batchyard.engine.ports import BatchUpdate
from batchyard.model.errors import BatchNotFound, StaleSession
from batchyard.model.outcome import Phase
from batchyard.testing.store_builders import (
    OTHER,
    OWNER,
    T0,
    a_batch,
    a_result,
    a_running_batch,
    an_entry,
    expect,
    refused,
)

if TYPE_CHECKING:
    from batchyard.engine.ports import BatchStore


class SessionConformance:
    """Sessions: only the newest may write."""

    def test_each_session_has_the_next_epoch(self, store: BatchStore) -> None:
        """And the batch knows it."""
        store.create_batch(a_batch())

        epochs = [store.open_session("b1", OWNER, T0).epoch for _ in range(3)]

        expect(epochs == [1, 2, 3], f"the epochs are {epochs}")
        expect(store.batch("b1").epoch == 3, "the batch has another epoch")

    def test_a_session_of_an_unknown_batch_isrefused(self, store: BatchStore) -> None:
        """A session cannot exist by itself."""
        refused(BatchNotFound, lambda: store.open_session("nope", OWNER, T0))

    def test_the_live_owner_is_the_newest_that_was_not_closed(self, store: BatchStore) -> None:
        """With its last heartbeat; none before the first session and after the last."""
        store.create_batch(a_batch())
        seen: list[object] = [store.live_owner("b1")]
        store.open_session("b1", OWNER, T0)
        second = store.open_session("b1", OTHER, T0 + timedelta(seconds=1))
        seen.append(store.live_owner("b1"))
        store.heartbeat(second, T0 + timedelta(seconds=2))
        seen.append(store.live_owner("b1"))
        store.close_session(second, "done", T0 + timedelta(seconds=3))
        seen.append(store.live_owner("b1"))

        beats = [(OTHER, T0 + timedelta(seconds=second)) for second in (1, 2)]
        expect(seen == [None, *beats, None], f"the owners were {seen}")

    def test_closing_twice_changes_nothing(self, store: BatchStore) -> None:
        """Nor does closing a session that another took over."""
        first = a_running_batch(store)
        second = store.open_session("b1", OTHER, T0)

        store.close_session(first, "late", T0)
        store.close_session(first, "later", T0)

        expect(store.live_owner("b1") == (OTHER, T0), "the newer session was closed")
        store.commit(second, results=[(a_result(), True)])

    def test_a_session_that_was_taken_over_can_write_nothing(self, store: BatchStore) -> None:
        """Neither results nor entries nor a heartbeat."""
        first = a_running_batch(store)
        store.commit(first, results=[(a_result(0), True)], entries=[an_entry(0)])
        store.open_session("b1", OTHER, T0)
        before = store.batch("b1")

        refused(StaleSession, lambda: store.commit(first, results=[(a_result(1), True)], entries=[an_entry(1)]))
        refused(StaleSession, lambda: store.commit(first, batch=BatchUpdate(Phase.FAILED)))
        refused(StaleSession, lambda: store.heartbeat(first, T0))

        expect(store.batch("b1") == before, "the batch was changed")
        expect(list(store.finished_ordinals("b1")) == [0], "a result was written")

    def test_open_sessions_are_those_that_were_never_closed(self, store: BatchStore) -> None:
        """The newest of each batch, with what is known of its process."""
        store.create_batch(a_batch("b1", "one"))
        store.create_batch(a_batch("b2", "two"))
        store.open_session("b1", OWNER, T0)
        store.open_session("b1", OTHER, T0)
        closed = store.open_session("b2", OWNER, T0)
        store.close_session(closed, "done", T0)

        found = store.open_sessions()

        seen = [(session.batch_id, session.epoch, session.owner, session.heard_at) for session in found]
        expect(seen == [("b1", 2, OTHER, T0)], f"the open sessions were {seen}")

    def test_a_takeover_after_another_session_is_refused_if_there_is_a_newer_one(self, store: BatchStore) -> None:
        """So that two who find the same dead session cannot both end it, nor the one that went on meanwhile."""
        store.create_batch(a_batch())
        store.open_session("b1", OWNER, T0)
        live = store.open_session("b1", OTHER, T0, after=1)

        refused(StaleSession, lambda: store.open_session("b1", OWNER, T0, after=1))

        store.heartbeat(live, T0)
