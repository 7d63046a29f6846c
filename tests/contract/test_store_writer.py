"""The writer: order, grouping, back-pressure, and what becomes of everybody when a commit fails."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.clock import SystemClock
from batchyard.engine.ports import BatchUpdate, Session
from batchyard.model.audit import verify_chain
from batchyard.model.errors import StaleSession, StoreError
from batchyard.model.outcome import Phase
from batchyard.store import GroupCommitWriter, open_store
from batchyard.store.faults import StoreBusy
from batchyard.store.writer import QUEUE_LIMIT
from batchyard.testing.store_builders import OTHER, OWNER, T0, a_result, a_running_batch, an_entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.engine.ports import BatchStore
    from batchyard.model.audit import AuditEntry
    from batchyard.model.trial import AttemptResult

SESSION = Session("b1", 1, OWNER)
SECONDS = 30


@dataclass
class Commit:
    """One call of ``FakeStore.commit``."""

    ordinals: list[int]
    entries: int
    dropped: int
    batch: BatchUpdate | None


@dataclass
class FakeStore:
    """Notes each commit; raises what it is told to, in turn, and holds commits up while ``gate`` is closed."""

    commits: list[Commit] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    threads: set[int] = field(default_factory=set)

    def commit(
        self,
        session: Session,
        *,
        results: Sequence[tuple[AttemptResult, bool]] = (),
        entries: Sequence[AuditEntry] = (),
        dropped: int = 0,
        batch: BatchUpdate | None = None,
    ) -> None:
        assert session == SESSION
        self.threads.add(threading.get_ident())
        self.begun.set()
        assert self.gate.wait(SECONDS)
        if self.errors:
            raise self.errors.pop(0)
        self.commits.append(Commit([result.ordinal for result, _ in results], len(entries), dropped, batch))


def open_gate(*errors: Exception) -> FakeStore:
    store = FakeStore(errors=list(errors))
    store.gate.set()
    return store


def a_writer(store: object, **options: Any) -> GroupCommitWriter:
    # The fake has the one method that the writer calls.
    as_store: BatchStore = store  # type: ignore[assignment]
    return GroupCommitWriter(as_store, SESSION, clock=SystemClock(), **options)


def test_a_submission_is_written_and_its_future_done() -> None:
    store = open_gate()

    with a_writer(store) as writer:
        done = writer.submit(results=[(a_result(7), True)], entries=[an_entry()], dropped=2)

        assert done.result(SECONDS) is None
        assert store.commits == [Commit([7], 1, 2, None)]


def test_what_waits_during_a_commit_is_written_by_the_next_one_in_order() -> None:
    store = FakeStore()
    with a_writer(store, max_delay=0) as writer:
        first = writer.submit(results=[(a_result(0), True)])
        assert store.begun.wait(SECONDS)
        later = [writer.submit(results=[(a_result(n), True)], entries=[an_entry()], dropped=1) for n in range(1, 50)]
        assert not first.done()

        store.gate.set()
        for future in later:
            future.result(SECONDS)

    assert store.commits == [Commit([0], 0, 0, None), Commit(list(range(1, 50)), 49, 49, None)]
    assert store.threads.isdisjoint({threading.get_ident()})
    assert len(store.threads) == 1


def test_a_group_is_never_larger_than_its_limit_nor_a_submission_split() -> None:
    store = FakeStore()
    with a_writer(store, max_delay=0, max_group=5) as writer:
        writer.submit(results=[(a_result(0), True)])
        assert store.begun.wait(SECONDS)
        for start in (1, 4, 7, 10):
            writer.submit(results=[(a_result(start + n), True) for n in range(3)])
        writer.submit(results=[(a_result(20 + n), True) for n in range(9)])
        writer.submit(results=[(a_result(30), True)])
        writer.submit(results=[(a_result(31), True)])
        store.gate.set()

    sizes = [len(commit.ordinals) for commit in store.commits]
    assert sizes == [1, 3, 3, 3, 3, 9, 2]


def test_a_full_group_does_not_wait_for_more() -> None:
    store = open_gate()

    with a_writer(store, max_delay=3600, max_group=3) as writer:
        futures = [writer.submit(results=[(a_result(n), True)]) for n in range(3)]

        for future in futures:
            future.result(SECONDS)


def test_flush_and_close_do_not_wait_for_company() -> None:
    store = open_gate()
    writer = a_writer(store, max_delay=3600)

    writer.submit(results=[(a_result(0), True)])
    writer.flush()
    flushed = len(store.commits)
    writer.submit(results=[(a_result(1), True)])
    writer.close()
    writer.close()

    assert (flushed, len(store.commits)) == (1, 2)
    with pytest.raises(StoreError, match="its writer is closed"):
        writer.submit(results=[(a_result(2), True)])


def test_flush_waits_for_the_commit_that_is_under_way() -> None:
    store = FakeStore()
    with a_writer(store, max_delay=0) as writer:
        future = writer.submit(results=[(a_result(0), True)])
        assert store.begun.wait(SECONDS)
        opener = threading.Timer(0.05, store.gate.set)
        opener.start()

        writer.flush()

        assert future.done()
        opener.join()


def test_flushing_with_nothing_to_write_returns_at_once() -> None:
    store = FakeStore()

    with a_writer(store) as writer:
        writer.flush()

    assert store.commits == []


def test_updates_of_one_group_add_up_and_the_later_one_wins() -> None:
    store = FakeStore()
    with a_writer(store, max_delay=0) as writer:
        writer.submit(results=[(a_result(0), True)])
        assert store.begun.wait(SECONDS)
        writer.submit(batch=BatchUpdate(Phase.RUNNING, message="1", status={"n": 1}, started_at=T0))
        writer.submit(results=[(a_result(1), True)])
        writer.submit(batch=BatchUpdate(Phase.SUCCEEDED, "Done", "2", completed_at=T0))
        store.gate.set()

    wanted = BatchUpdate(Phase.SUCCEEDED, "Done", "2", status={"n": 1}, started_at=T0, completed_at=T0)
    assert store.commits[1] == Commit([1], 0, 0, wanted)


def test_a_busy_database_is_tried_again() -> None:
    store = open_gate(StoreBusy("locked"))

    with a_writer(store, retry_seconds=(0,)) as writer:
        assert writer.submit(results=[(a_result(0), True)]).result(SECONDS) is None

    assert store.commits == [Commit([0], 0, 0, None)]


def test_a_database_that_stays_busy_fails_the_submission_in_the_end() -> None:
    store = open_gate(*[StoreBusy("locked")] * 4)

    writer = a_writer(store, retry_seconds=(0, 0, 0))
    failed = writer.submit(results=[(a_result(0), True)]).exception(SECONDS)

    with pytest.raises(StoreBusy):
        writer.close()
    assert isinstance(failed, StoreBusy)
    assert store.commits == []


@pytest.mark.parametrize("error", [StoreError("disk full"), StaleSession("taken over"), RuntimeError("a bug")])
def test_a_failed_commit_fails_itself_and_all_that_follow(error: Exception) -> None:
    store = FakeStore(errors=[error])
    writer = a_writer(store, max_delay=0)
    first = writer.submit(results=[(a_result(0), True)])
    assert store.begun.wait(SECONDS)
    second = writer.submit(results=[(a_result(1), True)])
    store.gate.set()
    failures = [first.exception(SECONDS), second.exception(SECONDS)]

    kind = type(error) if isinstance(error, StoreError) else StoreError
    assert [type(failure) for failure in failures] == [kind, kind]
    for call in (lambda: writer.submit(dropped=1), writer.flush, writer.close):
        with pytest.raises(kind):
            call()
    assert store.commits == []


def test_an_exception_under_way_is_not_hidden_by_the_writers_own() -> None:
    store = open_gate(StoreError("disk full"))

    def work() -> None:
        with a_writer(store) as writer:
            writer.submit(results=[(a_result(0), True)])
            raise KeyError("more telling")

    with pytest.raises(KeyError, match="more telling"):
        work()


@pytest.mark.proves("backpressure")
def test_a_full_queue_makes_its_callers_wait() -> None:
    store = FakeStore()
    with a_writer(store, max_delay=0) as writer:
        writer.submit(results=[(a_result(0), True)])
        assert store.begun.wait(SECONDS)
        for _ in range(QUEUE_LIMIT // 500):
            writer.submit(entries=[an_entry()] * 500)
        accepted = threading.Event()

        def submit_one_more() -> None:
            writer.submit(results=[(a_result(1), True)])
            accepted.set()

        caller = threading.Thread(target=submit_one_more)
        caller.start()
        waited = not accepted.wait(0.1)
        store.gate.set()
        caller.join(SECONDS)

    assert waited
    assert accepted.is_set()
    assert store.commits[-1].ordinals == [1]


def test_a_future_cannot_be_cancelled_and_its_callback_may_submit() -> None:
    store = FakeStore()
    with a_writer(store, max_delay=0) as writer:
        future = writer.submit(results=[(a_result(0), True)])
        future.add_done_callback(lambda _: writer.submit(results=[(a_result(1), True)]) and None)

        cancelled = future.cancel()
        store.gate.set()
        future.result(SECONDS)

    assert not cancelled
    assert store.commits[0].ordinals == [0]


def test_many_threads_at_a_real_store_lose_nothing(store_target: str) -> None:
    with open_store(store_target) as store:
        session = a_running_batch(store)
        with GroupCommitWriter(store, session, clock=SystemClock()) as writer:

            def submit(start: int) -> None:
                for ordinal in range(start, start + 50):
                    writer.submit(results=[(a_result(ordinal), True)], entries=[an_entry(ordinal)], dropped=1)

            threads = [threading.Thread(target=submit, args=(50 * number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            writer.flush()
            batch = store.batch("b1")

        assert list(store.finished_ordinals("b1")) == list(range(400))
        assert (batch.audit_entries, batch.audit_dropped) == (400, 400)
        assert verify_chain(store.audit_entries("b1"), batch.audit_head) == ""


def test_the_writer_of_a_session_that_was_taken_over_writes_nothing_more(store_target: str) -> None:
    with open_store(store_target) as store, open_store(store_target) as elsewhere:
        session = a_running_batch(store)
        writer = GroupCommitWriter(store, session, clock=SystemClock())
        writer.submit(results=[(a_result(0), True)])
        writer.flush()
        elsewhere.open_session("b1", OTHER, T0)

        failed = writer.submit(results=[(a_result(1), True)]).exception(SECONDS)

        with pytest.raises(StaleSession, match="session 2 took over from session 1"):
            writer.close()
        assert isinstance(failed, StaleSession)
        assert list(store.finished_ordinals("b1")) == [0]
