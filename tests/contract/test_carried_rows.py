"""Results that another batch takes over within the database, on SQLite and on PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchyard.engine.carrying import Pair
from batchyard.model.errors import StaleSession, StoreError
from batchyard.model.outcome import Outcome, Phase
from batchyard.store.carrying import SqlPastResults
from batchyard.store.opening import open_store
from batchyard.testing.store_builders import OWNER, T0, a_batch, a_result, an_entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.engine.ports import Session
    from batchyard.store.sql import SqlStore


@pytest.fixture
def store(store_target: str) -> Iterator[SqlStore]:
    """A store with a batch ``old`` of three results, one of them not final, and a batch ``new`` of none."""
    with open_store(store_target) as opened:
        opened.create_batch(replace(a_batch("old"), phase=Phase.SUCCEEDED))
        opened.create_batch(a_batch("new"))
        errored = a_result(2, outcome=Outcome.ERRORED)
        finals = [(a_result(0), True), (a_result(1), True), (errored, False)]
        opened.commit(opened.open_session("old", OWNER, T0), results=finals)
        yield opened


@pytest.fixture
def session(store: SqlStore) -> Session:
    """The session of the new batch; its number is the second."""
    store.open_session("new", OWNER, T0)
    return store.open_session("new", OWNER, T0)


def test_a_row_is_copied_whole_to_its_new_place_with_what_tells_of_it(store: SqlStore, session: Session) -> None:
    past = SqlPastResults(store)

    past.carry_over(session, "old", [Pair(0, 7, 3.0), Pair(1, 5, 1.0)], [an_entry(1, "new"), an_entry(2, "new")], 0)

    copied = [
        replace(a_result(1), ordinal=5, weight=1.0, epoch=2),
        replace(a_result(0), ordinal=7, weight=3.0, epoch=2),
    ]
    assert list(store.results("new")) == copied
    assert [sealed.entry for sealed in store.audit_entries("new")] == [an_entry(1, "new"), an_entry(2, "new")]
    assert len(list(store.results("old"))) == 2


@pytest.mark.parametrize("old", [2, 9])
def test_a_step_with_a_result_that_is_not_there_or_not_final_is_not_written_at_all(
    store: SqlStore, session: Session, old: int
) -> None:
    past = SqlPastResults(store)

    with pytest.raises(StoreError, match="only 1 of 2 results of batch old are still there"):
        past.carry_over(session, "old", [Pair(0, 0, 1.0), Pair(old, 1, 1.0)], [an_entry(1, "new")], 0)

    assert list(store.results("new", final_only=False)) == []
    assert list(store.audit_entries("new")) == []


def test_a_trial_never_gets_a_second_result(store: SqlStore, session: Session) -> None:
    past = SqlPastResults(store)
    past.carry_over(session, "old", [Pair(0, 3, 1.0)], [], 0)

    with pytest.raises(StoreError):
        past.carry_over(session, "old", [Pair(1, 3, 1.0)], [], 0)

    assert [result.case for result in store.results("new")] == ["case-0"]


def test_an_older_session_carries_nothing_over(store: SqlStore, session: Session) -> None:
    older = replace(session, epoch=1)

    with pytest.raises(StaleSession):
        SqlPastResults(store).carry_over(older, "old", [Pair(0, 0, 1.0)], [], 0)

    assert list(store.results("new")) == []


def test_results_are_read_without_outputs_and_nodes_that_nobody_asks_for(store: SqlStore) -> None:
    past = SqlPastResults(store)

    bare, whole = (list(past.results("old", with_nodes=wanted)) for wanted in (False, True))

    assert bare == [replace(a_result(number), output=None, boundaries=()) for number in (0, 1)]
    assert whole == [replace(a_result(number), output=None) for number in (0, 1)]


def test_only_finished_batches_of_the_name_are_found_the_newest_first(store: SqlStore) -> None:
    store.create_batch(replace(a_batch("newer", minutes=1), phase=Phase.FAILED))
    store.create_batch(replace(a_batch("other", name="other", minutes=2), phase=Phase.FAILED))

    found = SqlPastResults(store).earlier("docs-search", 5)

    assert [record.id for record in found] == ["newer", "old"]
    assert found[0].spec == a_batch().spec
