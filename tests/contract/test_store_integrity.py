"""What is found wrong in a store, and what of it can be mended."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.engine.ports import BatchUpdate
from batchyard.model.audit import verify_chain
from batchyard.model.events import EventType
from batchyard.model.outcome import Phase
from batchyard.store import SqlStore, open_store
from batchyard.store.findings import FindingSeverity, Remedy
from batchyard.store.integrity import check_integrity
from batchyard.store.opening import open_cluster_store
from batchyard.store.repair import back_up, repair
from batchyard.store.retention import MICROS_A_DAY, prune
from batchyard.testing.store_builders import T0, a_result, a_running_batch, an_entry
from store_damage import FORGED, IS_A_BATCHTESTS, MICROS, TO_POST, a_finished_batch, corrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchyard.model.audit import SealedEntry


@pytest.fixture
def store(store_target: str) -> Iterator[SqlStore]:
    with open_store(store_target) as opened:
        yield opened


# -- integrity ---------------------------------------------------------------------------------------------------


def test_a_sound_store_has_no_findings(store: SqlStore) -> None:
    a_finished_batch(store)

    assert check_integrity(store, T0) == []


NOBODYS = (
    "INSERT INTO sessions (batch_id, epoch, host, pid, started, opened_at, heartbeat_at, closed_at) "
    "SELECT 'gone', epoch, host, pid, started, opened_at, heartbeat_at, closed_at FROM sessions"
)
"""A row of no batch, while none lacks any."""
PRUNED = f"UPDATE batches SET audit_pruned_at = {MICROS + 31 * MICROS_A_DAY}"  # noqa: S608
"""A trail whose time was over, and whose entries are there."""
WRONG_STATUS = """UPDATE documents SET status = '{"trials": {"total": 2, "passed": 0, "failed": 1, "timedOut": 1}}'"""
ADDED = (
    "INSERT INTO attempts SELECT batch_id, {ordinal}, 9, final, trial_id, combination, case_name, repeat, epoch, "
    "outcome, reason, message, started_at, ended_at, duration_seconds, score, weight, metrics, scores, boundaries, "
    "output, output_digest, thread_id, worker FROM attempts WHERE ordinal = 0"
)


@pytest.mark.parametrize(
    ("statement", "severity", "kind", "batch_id"),
    [
        ("UPDATE attempts SET batch_id = 'gone'", "critical", "dangling_rows", "gone"),
        ("UPDATE audit_entries SET batch_id = 'gone'", "critical", "dangling_rows", "gone"),
        ("UPDATE sessions SET batch_id = 'gone'", "critical", "dangling_rows", "gone"),
        ("UPDATE documents SET batch_id = 'gone'", "critical", "no_document", "b1"),
        (ADDED.format(ordinal=2), "critical", "surplus_results", "b1"),
        (ADDED.format(ordinal=-5), "critical", "surplus_results", "b1"),
        ("UPDATE attempts SET epoch = 7", "warning", "unknown_session", "b1"),
        ("UPDATE audit_entries SET message = 'x' WHERE seq = 3", "critical", "audit_chain", "b1"),
        ("UPDATE audit_entries SET type = 'x' WHERE seq = 3", "critical", "audit_chain", "b1"),
        ("UPDATE audit_entries SET details = '{' WHERE seq = 3", "critical", "audit_chain", "b1"),
        ("DELETE FROM audit_entries WHERE seq = 3", "critical", "audit_chain", "b1"),
        ("DELETE FROM audit_entries WHERE seq = 5", "critical", "audit_chain", "b1"),
        ("UPDATE batches SET audit_head = 'x'", "critical", "audit_chain", "b1"),
        ("UPDATE batches SET audit_entries = 4", "critical", "audit_count", "b1"),
        (FORGED, "critical", "audit_count", "b1"),
        ("UPDATE batches SET audit_pruned_at = 1", "critical", "audit_pruned", "b1"),
        (PRUNED, "critical", "audit_pruned", "b1"),
        ("UPDATE batches SET phase = 'Failed'", "critical", "changed_verdict", "b1"),
        ("UPDATE batches SET spec_digest = 'x'", "critical", "unreadable_document", "b1"),
        ("UPDATE documents SET spec = REPLACE(spec, 'größer', 'anders')", "critical", "unreadable_document", "b1"),
        ("UPDATE sessions SET opened_at = 9000000000000000000", "critical", "unreadable_rows", "b1"),
        ("UPDATE attempts SET combination = 'x'", "critical", "unreadable_results", "b1"),
        ("UPDATE attempts SET weight = 9", "critical", "unreadable_results", "b1"),
        ("UPDATE batches SET epoch = 7", "critical", "session_count", "b1"),
        ("UPDATE documents SET spec = '{'", "critical", "unreadable_document", "b1"),
        ("UPDATE documents SET status = '{'", "critical", "unreadable_document", "b1"),
        ("DELETE FROM attempts WHERE ordinal = 0", "critical", "missing_results", "b1"),
        (WRONG_STATUS, "warning", "status_count", "b1"),
        ("UPDATE batches SET phase = 'Running'", "info", "no_live_session", "b1"),
        (TO_POST.format(seq=9, created=MICROS, parked="FALSE"), "warning", "orphaned_events", "b1"),
        (TO_POST.format(seq=1, created=MICROS, parked="TRUE"), "warning", "parked_events", "b1"),
        (TO_POST.format(seq=1, created=MICROS - 3_700_000_000, parked="FALSE"), "warning", "stuck_events", "b1"),
    ],
)
def test_the_check_finds(store: SqlStore, statement: str, severity: str, kind: str, batch_id: str) -> None:
    a_finished_batch(store)

    corrupt(store, statement)

    found = {(finding.severity.value, finding.kind, finding.batch_id) for finding in check_integrity(store, T0)}
    assert (severity, kind, batch_id) in found


def test_a_running_batch_with_a_live_session_is_no_finding(store: SqlStore) -> None:
    session = a_running_batch(store)

    store.commit(
        session, results=[(a_result(0), True)], batch=BatchUpdate(Phase.RUNNING, status={"trials": {"passed": 0}})
    )

    assert check_integrity(store, T0) == []


def test_entries_that_are_written_while_it_is_looked_at_are_no_finding(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = a_running_batch(store)
    store.commit(session, entries=[an_entry(1)])
    _at_the_first_read(monkeypatch, store, lambda: store.commit(session, entries=[an_entry(2)]))

    assert check_integrity(store, T0) == []
    assert store.batch("b1").audit_entries == 2


def test_a_trail_that_is_deleted_at_its_time_while_it_is_looked_at_is_no_finding(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_finished_batch(store)
    _at_the_first_read(monkeypatch, store, lambda: prune(store, T0 + timedelta(days=31)))

    assert check_integrity(store, T0) == []
    assert store.batch("b1").audit_pruned_at is not None


def _at_the_first_read(monkeypatch: pytest.MonkeyPatch, store: SqlStore, meanwhile: Callable[[], object]) -> None:
    """Have something done when the entries are asked for, after what tells of them was read."""
    read, left = store.audit_entries, [meanwhile]

    def asked(batch_id: str, *, after: int = 0, limit: int | None = None) -> Iterator[SealedEntry]:
        while left:
            left.pop()()
        return read(batch_id, after=after, limit=limit)

    monkeypatch.setattr(store, "audit_entries", asked)


def test_rows_that_violate_a_foreign_key_are_counted_by_the_database_too(store: SqlStore) -> None:
    # PostgreSQL has no such check of its own.
    wanted = {"dangling_rows"} | ({"foreign_key"} if store.engine.dialect.name == "sqlite" else set())
    a_finished_batch(store)

    corrupt(store, "UPDATE audit_entries SET batch_id = 'gone'")

    kinds = {finding.kind for finding in check_integrity(store, T0) if finding.batch_id in {"", "gone"}}
    assert kinds == wanted


def test_a_damaged_file_is_found(tmp_path: Any) -> None:
    path = tmp_path / "store.db"
    with open_store(str(path)) as store:
        session = a_running_batch(store)
        store.commit(session, results=[(a_result(n), True) for n in range(10)])
        with store.engine.connect() as connection:
            page = connection.exec_driver_sql("SELECT rootpage FROM sqlite_master WHERE name='uq_attempts_final'")
            offset = (page.scalar_one() - 1) * 4096
    with path.open("r+b") as file:
        # The number of cells in the index's only page.
        file.seek(offset + 3)
        file.write(b"\0\1")

    with open_store(str(path)) as store:
        findings = check_integrity(store, T0)

    assert (FindingSeverity.CRITICAL, "damaged_file") in {(finding.severity, finding.kind) for finding in findings}


# -- repair ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        NOBODYS,
        WRONG_STATUS,
        TO_POST.format(seq=9, created=MICROS, parked="FALSE"),
        TO_POST.format(seq=1, created=MICROS, parked="TRUE"),
    ],
)
def test_what_is_found_and_can_be_mended_is_found_no_more(store: SqlStore, statement: str) -> None:
    a_finished_batch(store)
    corrupt(store, IS_A_BATCHTESTS, statement)
    findings = check_integrity(store, T0)
    mendable = {finding.kind for finding in findings if finding.remedy not in {Remedy.MANUAL, Remedy.NONE}}

    done = repair(store, findings, T0)

    assert mendable
    assert done
    assert not mendable & {finding.kind for finding in check_integrity(store, T0)}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET message = 'x' WHERE seq = 3",
        "UPDATE audit_entries SET batch_id = 'gone'",
        "UPDATE attempts SET batch_id = 'gone'",
        "UPDATE sessions SET batch_id = 'gone'",
        "UPDATE documents SET batch_id = 'gone'",
        "UPDATE batches SET id = 'renamed'",
        "DELETE FROM attempts WHERE ordinal = 0",
        "UPDATE attempts SET outcome = 'Failed' WHERE ordinal = 0",
        "UPDATE batches SET audit_entries = 4",
        "UPDATE batches SET audit_pruned_at = 1",
        PRUNED,
        "UPDATE batches SET phase = 'Running'",
    ],
)
def test_what_needs_a_person_is_left_as_it_is(store: SqlStore, statement: str) -> None:
    a_finished_batch(store)
    corrupt(store, statement)
    manual = [one for one in check_integrity(store, T0) if one.remedy in {Remedy.MANUAL, Remedy.NONE}]

    repair(store, manual, T0)

    assert manual
    assert [one for one in check_integrity(store, T0) if one.remedy in {Remedy.MANUAL, Remedy.NONE}] == manual


@pytest.mark.proves("outbox", "integrity")
def test_events_that_were_given_up_are_posted_again_after_a_repair(store_target: str) -> None:
    with open_store(store_target) as store:
        a_finished_batch(store)
        corrupt(store, IS_A_BATCHTESTS, TO_POST.format(seq=1, created=MICROS, parked="TRUE"))

        repair(store, check_integrity(store, T0), T0)

    with closing(open_cluster_store(store_target)) as cluster_store:
        assert [(item.seq, item.tries) for item in cluster_store.outbox_due(T0, 10)] == [(1, 0)]


@pytest.mark.proves("integrity")
def test_a_repair_is_told_in_the_batchs_trail_which_still_verifies(store: SqlStore) -> None:
    a_finished_batch(store)
    corrupt(store, WRONG_STATUS)

    repair(store, check_integrity(store, T0), T0)

    *_, last = store.audit_entries("b1")
    assert last.entry.type is EventType.STORE_REPAIRED
    assert last.entry.details == {"remedies": ["updateStatus"]}
    assert verify_chain(store.audit_entries("b1"), store.batch("b1").audit_head) == ""


def test_a_repair_of_a_sound_store_does_nothing(store: SqlStore) -> None:
    a_finished_batch(store)

    assert repair(store, check_integrity(store, T0), T0) == ([], [])


def test_a_second_repair_finds_nothing_left_to_do(store: SqlStore) -> None:
    a_finished_batch(store)
    corrupt(store, WRONG_STATUS)
    findings = check_integrity(store, T0)
    repair(store, findings, T0)

    assert repair(store, findings, T0) == ([], [])


def test_the_copy_made_before_a_repair_is_the_store_as_it_was(tmp_path: Any) -> None:
    with open_store(str(tmp_path / "store.db")) as store:
        a_finished_batch(store)

        copy = back_up(store, T0)

        assert copy is not None
        with open_store(str(copy)) as copied:
            assert copied.batch("b1") == store.batch("b1")
