"""What an operator's store promises beyond a batch's: leadership, places, segments, the outbox. On both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from batchyard.engine.cluster_ports import ClusterRef, EnvironmentRecord, EnvironmentState, Mirrored
from batchyard.engine.ports import BatchRecord, BatchUpdate, Owner
from batchyard.model.audit import AuditEntry, verify_chain
from batchyard.model.errors import (
    BatchAmbiguous,
    BatchNotFound,
    SegmentOutOfOrder,
    StaleLeader,
    StaleSession,
    StoreError,
)
from batchyard.model.events import EventType, severity_of
from batchyard.model.outcome import Outcome, Phase
from batchyard.model.trial import AttemptResult
from batchyard.store.opening import open_cluster_store
from batchyard.testing.fake_clock import T0

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchyard.engine.ports import Session
    from batchyard.store.cluster import SqlClusterStore

OWNER = Owner("host", 1, "one")
REF = ClusterRef("team", "docs-search", "uid-1")


@pytest.fixture
def store(store_target: str) -> Iterator[SqlClusterStore]:
    """An empty store."""
    with closing(open_cluster_store(store_target)) as opened:
        yield opened


def a_record(batch_id: str = "docs-search-1", **fields: object) -> BatchRecord:
    usual = BatchRecord(
        id=batch_id, name="docs-search", spec={"metadata": {"name": "docs-search"}, "spec": {}}, spec_digest="",
        base="", total=3, accepted_at=T0, deadline_at=T0 + timedelta(hours=1),
    )  # fmt: skip
    return replace(usual, **fields)  # type: ignore[arg-type]


def a_place(attempt: int = 1, **fields: object) -> EnvironmentRecord:
    usual = EnvironmentRecord(
        "docs-search-1", attempt, "InProcess", f"docs-search-{attempt}", EnvironmentState.REQUESTED, T0
    )
    return replace(usual, **fields)  # type: ignore[arg-type]


def an_entry(kind: EventType = EventType.BATCH_ACCEPTED, batch_id: str = "docs-search-1") -> AuditEntry:
    return AuditEntry(T0, kind, severity_of(kind), kind.value, batch_id)


def a_result(ordinal: int = 0, attempt: int = 1) -> AttemptResult:
    return AttemptResult(
        trial_id=f"v/c{ordinal}/0", ordinal=ordinal, combination="v", case=f"c{ordinal}", repeat=0, attempt=attempt,
        epoch=1, outcome=Outcome.PASSED, reason="", message="", started_at=T0, ended_at=T0, duration_seconds=0.0,
    )  # fmt: skip


def begin(store: SqlClusterStore) -> Session:
    assert store.create_cluster_batch(a_record(), REF)
    return store.open_session("docs-search-1", OWNER, T0)


# -- leadership ------------------------------------------------------------------------------------------------------


def test_each_leader_has_a_higher_epoch_than_the_one_before(store: SqlClusterStore) -> None:
    assert store.leadership() is None

    epochs = [store.take_leadership(holder, T0) for holder in ("one", "two", "one")]

    assert epochs == [1, 2, 3]
    assert store.leadership() == (3, "one")


def test_of_several_that_take_over_at_once_each_gets_an_epoch_of_its_own(store: SqlClusterStore) -> None:
    with ThreadPoolExecutor(8) as threads:
        epochs = list(threads.map(lambda number: store.take_leadership(f"holder-{number}", T0), range(16)))

    assert sorted(epochs) == list(range(1, 17))


WRITES: dict[str, Callable[[SqlClusterStore, Session], object]] = {
    "create a batch": lambda store, _: store.create_cluster_batch(a_record("other"), ClusterRef("team", "b", "uid-2")),
    "open a session": lambda store, session: store.open_session(session.batch_id, OWNER, T0),
    "write a step": lambda store, session: store.commit_step(session, entries=[an_entry()]),
    "end a session": lambda store, session: store.close_session(session, "done", T0),
    "beat": lambda store, session: store.heartbeat(session, T0),
    "note posted events": lambda store, _: store.outbox_posted(store.outbox_due(T0, 1)),
    "note a failed event": lambda store, _: store.outbox_failed(store.outbox_due(T0, 1)[0], "no", T0, parked=True),
    "mirror": lambda store, _: store.mirror([Mirrored("key", an_entry())], "events", "1"),
    "prune": lambda store, _: store.prune(T0),
    "check": lambda store, _: store.check_leading(),
    "read the trail's head": lambda store, session: store.trail_of(session.batch_id),
}


@pytest.mark.parametrize("write", WRITES, ids=str)
def test_a_leader_that_was_replaced_writes_nothing(store: SqlClusterStore, write: str) -> None:
    old = store.fenced(store.take_leadership("old", T0))
    session = begin(old)
    old.commit_step(session, entries=[an_entry()], outbox=[0])
    store.take_leadership("new", T0)
    before = (store.batch("docs-search-1"), store.live_owner("docs-search-1"), store.outbox_due(T0, 9))

    with pytest.raises(StaleLeader, match=r"new \(epoch 2\)"):
        WRITES[write](old, session)

    assert (store.batch("docs-search-1"), store.live_owner("docs-search-1"), store.outbox_due(T0, 9)) == before
    assert store.watch_position("events") is None
    assert store.batch_of("uid-2") is None


@pytest.mark.parametrize("write", WRITES, ids=str)
def test_the_leader_writes(store: SqlClusterStore, write: str) -> None:
    leader = store.fenced(store.take_leadership("one", T0))
    session = begin(leader)
    leader.commit_step(session, entries=[an_entry()], outbox=[0])

    WRITES[write](leader, session)


def test_the_token_key_is_made_once_and_is_long_enough(store_target: str) -> None:
    with closing(open_cluster_store(store_target)) as first:
        key = first.token_key()
    with closing(open_cluster_store(store_target)) as second, ThreadPoolExecutor(4) as threads:
        keys = set(threads.map(lambda _: second.token_key(), range(8)))

    assert keys == {key}
    assert len(key) == 32


# -- batches and places ----------------------------------------------------------------------------------------------


def test_a_batch_is_created_once_for_its_batchtest(store: SqlClusterStore) -> None:
    assert store.create_cluster_batch(a_record(), REF)
    assert not store.create_cluster_batch(a_record(message="again"), REF)

    assert store.cluster_ref("docs-search-1") == REF
    found = store.batch_of("uid-1")
    assert found is not None
    assert (found.id, found.message) == ("docs-search-1", "")
    # Both may be large, and most questions are about neither.
    assert replace(store.batch("docs-search-1"), spec=None, status=None) == found
    with pytest.raises(StoreError, match="belongs to BatchTest"):
        store.create_cluster_batch(a_record(), ClusterRef("team", "docs-search", "uid-9"))


def test_a_batch_is_found_in_its_own_namespace_with_its_batchtest(store: SqlClusterStore) -> None:
    other = ClusterRef("other-team", "docs-search", "uid-2")
    store.create_cluster_batch(a_record("docs-search-2", accepted_at=T0 + timedelta(hours=1)), other)
    store.create_cluster_batch(a_record(), REF)
    store.create_batch(a_record("of-nobody", name="local"))

    assert store.batch_and_test("docs-search", "team") == (store.batch("docs-search-1"), REF)
    assert store.batch_and_test("docs-search", "other-team") == (store.batch("docs-search-2"), other)
    assert store.batch_and_test("docs-search", "") == (store.batch("docs-search-2"), other)
    assert store.batch_and_test("local", "") == (store.batch("of-nobody"), None)
    for reference in ("docs-search-2", "local"):
        with pytest.raises(BatchNotFound):
            store.batch_and_test(reference, "team")
    # Among the batches of one namespace this beginning of an id is unique.
    assert store.batch_and_test("docs-search-", "team")[1] == REF
    with pytest.raises(BatchAmbiguous):
        store.batch_and_test("docs-search-", "")


def test_the_newest_batches_of_a_namespace_are_listed_with_their_batchtests(store: SqlClusterStore) -> None:
    refs = [ClusterRef(namespace, f"test-{number}", f"uid-{number}") for number, namespace in enumerate("abab")]
    for number, ref in enumerate(refs):
        store.create_cluster_batch(a_record(f"batch-{number}", accepted_at=T0 + timedelta(hours=number)), ref)
    store.create_batch(a_record("of-nobody", accepted_at=T0 - timedelta(hours=1)))

    def listed(namespace: str, limit: int = 10) -> list[tuple[str, ClusterRef | None]]:
        return [(record.id, ref) for record, ref in store.batches_and_tests(namespace, limit, [])]

    assert listed("a") == [("batch-2", refs[2]), ("batch-0", refs[0])]
    assert listed("a", 1) == [("batch-2", refs[2])]
    assert listed("c") == []
    assert listed("") == [*((f"batch-{number}", refs[number]) for number in (3, 2, 1, 0)), ("of-nobody", None)]


def test_what_is_not_there_is_none(store: SqlClusterStore) -> None:
    assert store.batch_of("uid-1") is None
    assert store.cluster_ref("docs-search-1") is None
    assert list(store.environments("docs-search-1")) == []
    with pytest.raises(BatchNotFound):
        store.trail_of("docs-search-1")


def test_a_place_comes_back_as_it_was_written_and_is_changed_as_a_whole(store: SqlClusterStore) -> None:
    session = begin(store)
    first = a_place(message="ä\N{GRINNING FACE}", identity="session@uid", reason="ErrImagePull", finished_at_start=2)
    later = T0 + timedelta(seconds=1, microseconds=5)
    second = a_place(
        2, state=EnvironmentState.RELEASED, ready_at=later, started_at=later, heard_at=later, ended_at=later,
        released_at=later, done_stop="",
    )  # fmt: skip

    store.commit_step(session, environment=first)
    store.commit_step(session, environment=second)
    changed = replace(first, state=EnvironmentState.ENDED, done_stop="FailFast", ended_at=later)
    store.commit_step(session, environment=changed)

    assert list(store.environments("docs-search-1")) == [changed, second]


@pytest.mark.parametrize(
    ("phase", "place", "is_open"),
    [
        (Phase.PENDING, None, True),
        (Phase.SUSPENDED, EnvironmentState.RELEASED, True),
        (Phase.SUCCEEDED, None, False),
        (Phase.SUCCEEDED, EnvironmentState.RELEASED, False),
        (Phase.CANCELLED, EnvironmentState.RUNNING, True),
        (Phase.FAILED, EnvironmentState.ENDED, True),
    ],
)
def test_a_batch_is_open_until_it_is_over_and_its_places_are_given_back(
    store: SqlClusterStore, phase: Phase, place: EnvironmentState | None, *, is_open: bool
) -> None:
    session = begin(store)
    released = T0 if place is EnvironmentState.RELEASED else None
    environment = a_place(state=place, released_at=released) if place is not None else None

    store.commit_step(session, environment=environment, batch=BatchUpdate(phase))

    assert list(store.open_batches()) == ([("docs-search-1", REF)] if is_open else [])


# -- steps -----------------------------------------------------------------------------------------------------------


def test_segments_come_one_after_another_and_one_that_does_not_writes_nothing(store: SqlClusterStore) -> None:
    session = begin(store)
    place = a_place()
    store.commit_step(session, environment=place)
    store.commit_step(session, environment=replace(place, segments=1), segment=(1, 1))

    for number, wanted in ((1, 2), (3, 2), (7, 2)):
        with pytest.raises(SegmentOutOfOrder) as refused:
            store.commit_step(
                session, entries=[an_entry()], results=[(a_result(), True)], segment=(1, number),
                environment=replace(place, segments=number, message="wrong"),
            )  # fmt: skip
        assert refused.value.next == wanted

    assert list(store.environments("docs-search-1")) == [replace(place, segments=1)]
    assert list(store.results("docs-search-1")) == []
    assert store.trail_of("docs-search-1").entries == 0


def test_results_that_were_there_already_are_named_and_change_nothing(store: SqlClusterStore) -> None:
    session = begin(store)
    assert list(store.commit_step(session, results=[(a_result(0), True), (a_result(1), False)])) == []

    again = [
        (a_result(0), True),
        (a_result(0, 2), True),
        (a_result(1), False),
        (a_result(1, 2), True),
        (a_result(2), True),
    ]
    left_out = store.commit_step(session, results=again)

    assert list(left_out) == [(0, 1), (0, 2), (1, 1)]
    assert [(one.ordinal, one.attempt) for one in store.results("docs-search-1")] == [(0, 1), (1, 2), (2, 1)]


@pytest.mark.proves("unit-of-work")
def test_a_step_is_written_as_a_whole_or_not_at_all(store: SqlClusterStore) -> None:
    session = begin(store)
    store.open_session("docs-search-1", Owner("host", 2, "two"), T0)

    with pytest.raises(StaleSession):
        store.commit_step(
            session, entries=[an_entry()], results=[(a_result(), True)], environment=a_place(), outbox=[0],
            batch=BatchUpdate(Phase.RUNNING),
        )  # fmt: skip

    assert store.batch("docs-search-1").phase is Phase.PENDING
    assert list(store.environments("docs-search-1")) == []
    assert store.outbox_stats() == (0, None, 0)


def test_the_last_step_ends_the_session_and_another_does_not(store: SqlClusterStore) -> None:
    session = begin(store)
    store.commit_step(session, entries=[an_entry()])
    assert store.live_owner("docs-search-1") is not None

    store.commit_step(session, entries=[an_entry(EventType.BATCH_FINISHED)], closed_at=T0)

    assert store.live_owner("docs-search-1") is None


def test_where_the_trail_stands_is_told_without_reading_the_batch(store: SqlClusterStore) -> None:
    session = begin(store)
    store.commit_step(session, entries=[an_entry(), an_entry(EventType.BATCH_STARTED)], dropped=7)

    trail = store.trail_of("docs-search-1")

    assert (trail.entries, trail.dropped) == (2, 7)
    assert verify_chain(store.audit_entries("docs-search-1"), trail.head) == ""


# -- the outbox ------------------------------------------------------------------------------------------------------


def due(store: SqlClusterStore, at: float = 0.0, limit: int = 99) -> list[tuple[str, int]]:
    return [(item.batch_id, item.seq) for item in store.outbox_due(T0 + timedelta(seconds=at), limit)]


def two_batches(store: SqlClusterStore) -> None:
    for batch_id, uid in (("docs-search-1", "uid-1"), ("docs-search-2", "uid-2")):
        store.create_cluster_batch(a_record(batch_id), ClusterRef("team", "docs-search", uid))
        session = store.open_session(batch_id, OWNER, T0)
        entries = [
            an_entry(kind, batch_id)
            for kind in (EventType.BATCH_ACCEPTED, EventType.TRIAL_PASSED, EventType.BATCH_FINISHED)
        ]
        store.commit_step(session, entries=entries, outbox=[0, 2])


def test_what_is_to_be_posted_is_what_was_chosen_with_its_entry_and_its_batchtest(store: SqlClusterStore) -> None:
    two_batches(store)

    items = store.outbox_due(T0, 99)

    assert due(store) == [("docs-search-1", 1), ("docs-search-1", 3), ("docs-search-2", 1), ("docs-search-2", 3)]
    assert items[1].entry.entry.type is EventType.BATCH_FINISHED
    assert (items[1].ref, items[1].tries, items[1].created_at) == (REF, 0, T0)
    assert due(store, limit=3) == due(store)[:3]
    assert store.outbox_stats() == (4, T0, 0)


def test_what_was_posted_is_forgotten(store: SqlClusterStore) -> None:
    two_batches(store)

    store.outbox_posted(store.outbox_due(T0, 2))

    assert due(store) == [("docs-search-2", 1), ("docs-search-2", 3)]
    store.outbox_posted([])


@pytest.mark.proves("outbox")
def test_what_failed_holds_up_its_own_batch_until_it_is_due_again(store: SqlClusterStore) -> None:
    two_batches(store)
    (first, *_) = store.outbox_due(T0, 1)

    store.outbox_failed(first, "no answer", T0 + timedelta(seconds=10), parked=False)

    assert due(store, 9) == [("docs-search-2", 1), ("docs-search-2", 3)]
    assert due(store, 10) == [("docs-search-1", 1), ("docs-search-1", 3), ("docs-search-2", 1), ("docs-search-2", 3)]
    assert store.outbox_due(T0 + timedelta(seconds=10), 1)[0].tries == 1


@pytest.mark.proves("outbox")
def test_what_is_parked_holds_nothing_up_and_never_comes_again(store: SqlClusterStore) -> None:
    two_batches(store)
    (first, *_) = store.outbox_due(T0, 1)

    store.outbox_failed(first, "it cannot be posted", T0, parked=True)

    assert due(store, 10_000) == [("docs-search-1", 3), ("docs-search-2", 1), ("docs-search-2", 3)]
    assert store.outbox_stats() == (3, T0, 1)


def test_the_newest_batch_of_a_batchtest_is_that_of_its_namespace_and_none_that_was_refused(
    store: SqlClusterStore,
) -> None:
    later = {"accepted_at": T0 + timedelta(hours=1)}
    store.create_cluster_batch(a_record(), REF)
    store.create_cluster_batch(a_record("second", **later), ClusterRef("team", "docs-search", "uid-2"))
    store.create_cluster_batch(a_record("refused", total=0, **later), ClusterRef("team", "docs-search", "uid-3#1"))
    store.create_cluster_batch(a_record("other", **later), ClusterRef("other-team", "docs-search", "uid-4"))

    found = store.newest_of("team", "docs-search")

    assert found is not None
    assert (found.id, found.spec) == ("second", a_record().spec)
    assert store.newest_of("team", "nothing") is None
