"""Results that are not as the audit trail tells: they are found, named, and nothing is made to follow them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from batchyard.engine.ports import BatchUpdate
from batchyard.model.events import EventType
from batchyard.model.outcome import Outcome, Phase, Reason
from batchyard.store import SqlStore, open_store
from batchyard.store.integrity import check_integrity
from batchyard.store.repair import repair
from batchyard.store.retention import prune
from batchyard.testing.store_builders import OWNER, T0, a_batch, a_result, an_entry
from store_damage import DONE, a_finished_batch, corrupt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.model.audit import AuditEntry
    from batchyard.model.trial import AttemptResult

RESULTS = (a_result(0), a_result(1, outcome=Outcome.TIMED_OUT))
ALTERED = "UPDATE attempts SET outcome = 'Failed' WHERE ordinal = 0"


@pytest.fixture
def store(store_target: str) -> Iterator[SqlStore]:
    with open_store(store_target) as opened:
        yield opened


def contradictions(store: SqlStore) -> list[str]:
    found = [one for one in check_integrity(store, T0) if one.kind == "contradicted_results"]
    assert all((one.severity.value, one.batch_id) == ("critical", "b1") for one in found)
    return [one.message for one in found]


def finish(
    store: SqlStore, entries: list[AuditEntry], *, results: tuple[AttemptResult, ...] = RESULTS, dropped: int = 0
) -> None:
    store.create_batch(replace(a_batch(), total=2))
    session = store.open_session("b1", OWNER, T0)
    final = [(result, True) for result in results]
    store.commit(session, results=final, entries=entries, dropped=dropped, batch=DONE)
    store.close_session(session, "done", T0)


def told(ordinal: int, kind: EventType, **details: str | int) -> AuditEntry:
    return replace(an_entry(), type=kind, trial_id=a_result(ordinal).trial_id, details=details)


@pytest.mark.proves("integrity")
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (ALTERED, "bm25-first/case-0/0#1 is Failed in the results and Passed in the trail"),
        (
            "UPDATE attempts SET outcome = 'NotRun' WHERE ordinal = 0",
            "bm25-first/case-0/0#1 is NotRun in the results and Passed in the trail",
        ),
        (
            "UPDATE attempts SET score = 1 WHERE ordinal = 0",
            "bm25-first/case-0/0#1 has the score 1.0 in the results and 0.3333333333333333 in the trail",
        ),
        (
            "DELETE FROM attempts WHERE ordinal = 1 AND attempt = 1",
            "bm25-first/case-1/0#1 has no result, and is Errored in the trail",
        ),
        (
            "UPDATE attempts SET attempt = 9 WHERE ordinal = 0",
            "bm25-first/case-0/0#9 is Passed in the results, and the trail tells of no such attempt; "
            "bm25-first/case-0/0#1 has no result, and is Passed in the trail",
        ),
    ],
)
def test_a_result_that_is_not_as_the_trail_tells_is_named_with_both_sides(
    store: SqlStore, statement: str, said: str
) -> None:
    a_finished_batch(store)

    corrupt(store, statement)

    restore = "restore a back-up, see docs/database.md"
    assert contradictions(store) == [f"its results contradict its audit trail: {said}; {restore}"]


@pytest.mark.proves("integrity")
@pytest.mark.parametrize("also", [ALTERED, "UPDATE audit_entries SET message = 'x' WHERE seq = 1"])
def test_no_status_is_made_to_follow_a_result_that_the_trail_does_not_vouch_for(store: SqlStore, also: str) -> None:
    a_finished_batch(store)
    corrupt(store, ALTERED, also)
    before = store.batch("b1")

    done = repair(store, check_integrity(store, T0), T0)

    assert done == ([], [])
    assert store.batch("b1") == before


def test_results_are_held_against_no_trail_that_was_deleted_after_its_time(store: SqlStore) -> None:
    a_finished_batch(store)
    prune(store, T0 + timedelta(days=31))

    corrupt(store, ALTERED)

    assert contradictions(store) == []


def test_of_many_results_the_first_are_named_with_how_many_more_there_are(store: SqlStore) -> None:
    results = tuple(a_result(n) for n in range(22))
    finish(store, [told(n, EventType.TRIAL_FAILED) for n in range(22)], results=results)

    (message,) = contradictions(store)

    assert message.count("in the trail") == 20
    assert "; and 2 more; restore" in message


def test_what_was_carried_over_or_not_run_is_told_of_in_other_words(store: SqlStore) -> None:
    carried = told(0, EventType.TRIAL_CARRIED_OVER, outcome="Passed", batch="b0")
    not_run = replace(an_entry(), type=EventType.TRIALS_NOT_RUN, trial_id="", details={"count": 1})
    finish(store, [carried, not_run], results=(RESULTS[0], a_result(1, outcome=Outcome.NOT_RUN)))

    assert contradictions(store) == []


def test_of_a_trail_with_dropped_entries_only_what_it_does_tell_counts(store: SqlStore) -> None:
    finish(store, [told(1, EventType.TRIAL_FAILED)], dropped=1)

    (message,) = contradictions(store)

    assert "case-1/0#1 is TimedOut in the results and Failed in the trail" in message
    assert "case-0" not in message


def test_a_result_that_came_too_late_to_count_is_no_contradiction(store: SqlStore) -> None:
    late = replace(an_entry(), type=EventType.LATE_RESULT, trial_id="", attempt=0, details={"count": 2})
    again = replace(told(0, EventType.TRIAL_FAILED), attempt=2)
    entries = [told(0, EventType.TRIAL_PASSED), told(1, EventType.TRIAL_PASSED), again, late]
    finish(store, entries, results=(RESULTS[0], a_result(1, outcome=Outcome.NOT_RUN)))

    assert contradictions(store) == []


def test_a_batch_that_was_made_for_an_execution_has_no_results_to_miss(store: SqlStore) -> None:
    store.create_batch(a_batch())
    session = store.open_session("b1", OWNER, T0)
    store.commit(session, batch=BatchUpdate(Phase.CANCELLED, Reason.EXECUTION, "no trial is run", completed_at=T0))
    store.close_session(session, Reason.EXECUTION, T0)

    assert check_integrity(store, T0) == []


def test_each_table_is_read_once_however_many_results_there_are(store: SqlStore) -> None:
    results = tuple(a_result(n) for n in range(50))
    finish(store, [told(n, EventType.TRIAL_PASSED) for n in range(50)], results=results)
    asked: list[str] = []

    @sa.event.listens_for(store.engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked.append(statement)

    check_integrity(store, T0)

    assert len([one for one in asked if "attempts.score" in one]) == 1
