"""What looks after a store: retention, quick summaries, and lost connections."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from batchyard.engine.ports import BatchUpdate
from batchyard.model.audit import verify_chain
from batchyard.model.errors import StoreError
from batchyard.model.outcome import Outcome, Phase
from batchyard.store import SqlStore, open_store
from batchyard.store.faults import StoreBusy
from batchyard.store.integrity import check_integrity
from batchyard.store.lookup import batches_run_here
from batchyard.store.retention import prune
from batchyard.store.tables import documents
from batchyard.testing.store_builders import OWNER, T0, a_batch, a_result, a_running_batch, an_entry
from store_damage import a_finished_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def store(store_target: str) -> Iterator[SqlStore]:
    with open_store(store_target) as opened:
        yield opened


# -- retention ---------------------------------------------------------------------------------------------------


def test_only_trails_past_their_own_retention_time_are_deleted_and_as_a_whole(store: SqlStore) -> None:
    for name, days in (("b1", 30), ("b2", 31), ("b3", 1)):
        a_finished_batch(store, name, days=days)
    a_running_batch(store, "b4")
    store.commit(store.open_session("b4", OWNER, T0), entries=[an_entry(0, "b4")])
    now = T0 + timedelta(days=30, seconds=1)

    pruned = prune(store, now)
    again = prune(store, now)

    left = {name: len(list(store.audit_entries(name))) for name in ("b1", "b2", "b3", "b4")}
    assert (list(pruned), list(again)) == (["b1", "b3"], [])
    assert left == {"b1": 0, "b2": 5, "b3": 0, "b4": 1}


def test_what_an_unfinished_batch_begins_from_or_carries_over_stays_until_it_has_ended(store: SqlStore) -> None:
    for name in ("b1", "b2", "b3", "b4"):
        a_finished_batch(store, name)
    _amend_spec(store, "b2", {"carriesFrom": ["b1"]})
    store.create_batch(a_batch("b5"))
    _amend_spec(store, "b5", {"forkedFrom": "b2"})
    for name, damaged in (("b6", "{"), ("b7", "[" * 100_000)):
        store.create_batch(a_batch(name))
        _amend_spec(store, name, damaged)
    now = T0 + timedelta(days=31)

    while_it_runs = prune(store, now)
    store.commit(store.open_session("b5", OWNER, T0), batch=BatchUpdate(Phase.SUCCEEDED, completed_at=now))
    afterwards = prune(store, now)

    assert (list(while_it_runs), list(afterwards)) == (["b3", "b4"], ["b1", "b2"])


def _amend_spec(store: SqlStore, batch_id: str, spec: Any) -> None:
    """Add keys to a batch's document, or put a text in its place."""
    text = spec if isinstance(spec, str) else json.dumps({**store.batch(batch_id).spec, **spec})
    with store.engine.begin() as connection:
        connection.execute(documents.update().where(documents.c.batch_id == batch_id), {"spec": text})


def test_batches_of_this_machine_are_those_of_its_containers_too(store: SqlStore) -> None:
    for name, host in (("b1", "here"), ("b2", "here/77"), ("b3", "hereafter"), ("b4", "there")):
        store.create_batch(a_batch(name))
        session = store.open_session(name, replace(OWNER, host=host), T0)
        store.commit(session, batch=BatchUpdate(Phase.SUCCEEDED, started_at=T0, completed_at=T0))

    assert list(batches_run_here(store, "here")) == ["b1", "b2"]


def test_a_pruned_batch_keeps_its_results_and_says_what_its_trail_was(store: SqlStore) -> None:
    session = a_finished_batch(store)
    before = store.batch("b1")
    now = T0 + timedelta(days=31)

    prune(store, now)

    assert store.batch("b1") == replace(before, audit_pruned_at=now)
    assert len(list(store.results("b1"))) == 2
    assert check_integrity(store, T0) == []
    with pytest.raises(StoreError, match="its audit trail was deleted after its retention time"):
        store.commit(session, entries=[an_entry()])


# -- summaries ---------------------------------------------------------------------------------------------------


def test_counts_and_failures_tell_of_final_results_only(store: SqlStore) -> None:
    session = a_running_batch(store)
    outcomes = [Outcome.FAILED, Outcome.PASSED, Outcome.ERRORED, Outcome.FAILED, Outcome.NOT_RUN, Outcome.TIMED_OUT]
    final = [(a_result(ordinal, 2, outcome), True) for ordinal, outcome in enumerate(outcomes)]
    store.commit(session, results=[(a_result(1, 1, Outcome.ERRORED), False), *final])

    assert store.counts("b1") == Counter(outcomes)
    assert [result.ordinal for result in store.failures("b1")] == [0, 2, 3, 5]
    assert [result.ordinal for result in store.failures("b1", limit=2)] == [0, 2]
    assert (store.counts("b2"), store.failures("b2")) == ({}, [])


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda store: store.counts("b1"), "COVERING INDEX ix_attempts_final_outcome (batch_id=?)"),
        (
            lambda store: store.failures("b1"),
            "INDEX ix_attempts_final_outcome (batch_id=? AND outcome=? AND ordinal>?)",
        ),
        (
            lambda store: list(store.finished_ordinals("b1")),
            "INDEX uq_attempts_final (batch_id=? AND ordinal>?)",
        ),
        (lambda store: store.attempts_made("b1"), "INDEX ix_attempts_open (batch_id=?)"),
        (lambda store: list(store.results("b1")), "INDEX uq_attempts_final (batch_id=? AND ordinal>?)"),
        (lambda store: list(store.results("b1", final_only=False)), "(batch_id=? AND (ordinal,attempt)>(?,?))"),
        (lambda store: list(store.attempts_ended("b1")), "(batch_id=? AND (ordinal,attempt)>(?,?))"),
        (lambda store: list(store.audit_entries("b1")), "(batch_id=? AND seq>?)"),
        (lambda store: store.batches(limit=5), "INDEX ix_batches_newest"),
    ],
)
def test_a_question_to_a_large_store_is_answered_from_an_index(
    tmp_path: Any, ask: Callable[[SqlStore], object], index: str
) -> None:
    asked: list[tuple[str, Any]] = []
    with open_store(str(tmp_path / "store.db")) as store:
        a_running_batch(store)

        @sa.event.listens_for(store.engine, "before_cursor_execute")
        def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_rest: object) -> None:
            if statement.startswith("SELECT"):
                asked.append((statement, parameters))

        ask(store)
        with store.engine.connect() as connection:
            plans = [
                " / ".join(row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values))
                for statement, values in list(asked)
            ]

    assert plans
    for plan in plans:
        assert index in plan
        assert "TEMP B-TREE" not in plan
        assert "SCAN attempts" not in plan


def test_threads_that_commit_side_by_side_keep_the_chain_whole(store: SqlStore) -> None:
    session = a_running_batch(store)

    def commit(start: int) -> None:
        for number in range(start, start + 10):
            store.commit(session, results=[(a_result(number), True)], entries=[an_entry(number)], dropped=1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(commit, range(0, 40, 10)))

    batch = store.batch("b1")
    assert (batch.audit_entries, batch.audit_dropped) == (40, 40)
    assert verify_chain(store.audit_entries("b1"), batch.audit_head) == ""


# -- lost connections --------------------------------------------------------------------------------------------


def lose_the_answer(store: SqlStore, *, of_a_commit_that_happened: bool) -> None:
    """Break the connection once, at the moment of the next COMMIT: just after it, or just before."""
    armed = [True]

    @sa.event.listens_for(store.engine, "commit")
    def lose(connection: sa.Connection) -> None:
        if not armed:
            return
        armed.clear()
        if of_a_commit_that_happened:
            connection.connection.dbapi_connection.commit()  # type: ignore[union-attr]
        raise sa.exc.OperationalError("COMMIT", {}, ConnectionError("gone"), connection_invalidated=True)


def test_a_commit_whose_answer_was_lost_is_not_written_twice(store: SqlStore) -> None:
    session = a_running_batch(store)
    lose_the_answer(store, of_a_commit_that_happened=True)

    store.commit(session, results=[(a_result(0), True)], entries=[an_entry(0)])

    assert [sealed.entry for sealed in store.audit_entries("b1")] == [an_entry(0)]
    assert list(store.finished_ordinals("b1")) == [0]


def test_a_commit_that_did_not_happen_says_that_it_may_be_tried_again(store: SqlStore) -> None:
    session = a_running_batch(store)
    lose_the_answer(store, of_a_commit_that_happened=False)

    with pytest.raises(StoreBusy):
        store.commit(session, results=[(a_result(0), True)], entries=[an_entry(0)])
    lost = list(store.results("b1"))
    store.commit(session, results=[(a_result(0), True)], entries=[an_entry(0)])

    assert lost == []
    assert verify_chain(store.audit_entries("b1"), store.batch("b1").audit_head) == ""
    assert store.batch("b1").audit_entries == 1


def test_connections_that_the_server_ended_are_replaced(postgres_url: str) -> None:
    end_others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    with open_store(postgres_url) as store, open_store(postgres_url) as other:
        session = a_running_batch(store)
        with other.engine.connect() as connection:
            connection.exec_driver_sql(f"{end_others} AND pid <> pg_backend_pid()")

        store.commit(session, results=[(a_result(0), True)])

        assert list(store.finished_ordinals("b1")) == [0]
