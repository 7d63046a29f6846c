"""Rows that somebody changed by hand, in any way: said of the batch they are in, and never in another's way."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from batchyard.cli.audit import verify_batch
from batchyard.cli.options import Origin, Output
from batchyard.engine.sources import LoadedBatch
from batchyard.engine.stored_status import status_of
from batchyard.model.audit import verify_chain
from batchyard.model.errors import RecordDamaged
from batchyard.store import SqlStore, open_store
from batchyard.store.integrity import check_integrity
from batchyard.store.opening import open_cluster_store
from batchyard.store.repair import repair
from batchyard.testing.store_builders import T0, a_running_batch, an_entry
from store_damage import FORGED, IS_A_BATCHTESTS, MICROS, TO_POST, a_finished_batch, corrupt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchyard.model.audit import SealedEntry

DEEP = "[" * 100_000
UNPOSTABLE = [
    "UPDATE audit_entries SET type = 'Unheard' WHERE batch_id = 'b1' AND seq = 2",
    "UPDATE audit_entries SET details = '{' WHERE batch_id = 'b1' AND seq = 2",
    "UPDATE outbox SET created_at = 9000000000000000000 WHERE batch_id = 'b1' AND seq = 2",
]


def named(value: object) -> str:
    """Name a test: some of these values are very long."""
    return str(value)[:70]


@pytest.fixture
def store(store_target: str) -> Iterator[SqlStore]:
    """Give a store with two finished batches."""
    with open_store(store_target) as opened:
        a_finished_batch(opened, "b1")
        a_finished_batch(opened, "b2")
        yield opened


def of_b1(table: str, column: str, value: str, where: str = "") -> str:
    key = "id" if table == "batches" else "batch_id"
    return f"UPDATE {table} SET {column} = {value} WHERE {key} = 'b1'{where}"  # noqa: S608 - these tests' own


DOCUMENTS = [
    *(
        of_b1("documents", "spec", f"REPLACE(spec, '\"kind\":', '{also},\"kind\":')")
        for also in (
            '"forkedFrom":5',
            '"carriesFrom":[3]',
            '"twin":{"of":"x","only":[0,99]}',
            '"twin":{"of":3,"only":null}',
        )
    ),
    *(
        of_b1("documents", "spec", f"'{text}'")
        for text in ("[]", "null", "3", '"x"', "{}", "{", "", '{"spec": 3}', DEEP)
    ),
    of_b1("documents", "spec", "REPLACE(spec, 'apiVersion', 'version')"),
    of_b1("documents", "spec", """REPLACE(spec, '"include"', '"exclude"')"""),
    of_b1("documents", "spec", """REPLACE(spec, '"cases":[', '"cases":[3,')"""),
    of_b1("documents", "spec", """REPLACE(spec, '"repeats":1', '"repeats":2')"""),
    *(of_b1("documents", "status", f"'{text}'") for text in ("[]", "null", "3", "{", "", '{"trials": 3}', DEEP)),
]
BATCHES = [
    of_b1("batches", "phase", "'Undone'"),
    of_b1("batches", "accepted_at", "9000000000000000000"),
    of_b1("batches", "completed_at", "-9000000000000000000"),
    of_b1("batches", "audit_entries", "-1"),
    of_b1("batches", "total", "-1"),
]
RESULTS = [
    of_b1("attempts", "case_name", "'another'"),
    of_b1("attempts", "metrics", "'{'"),
    of_b1("attempts", "metrics", "'3'"),
    of_b1("attempts", "metrics", "'{\"tokens\": Infinity}'"),
    of_b1("attempts", "metrics", f"'{{\"tokens\": {10**400}}}'"),
    of_b1("attempts", "scores", "'[3]'"),
    of_b1("attempts", "scores", f"""'[{{"evaluator": "x", "score": {10**400}}}]'"""),
    of_b1("attempts", "boundaries", """'[{"node": "a", "status": "completed", "duration_seconds": Infinity}]'"""),
    of_b1("attempts", "scores", """'[{"evaluator": "x", "score": 1, "metrics": 3}]'"""),
    of_b1("attempts", "metrics", """'{"tokens": "many"}'"""),
    of_b1("attempts", "scores", """'[{"evaluator": "x", "score": "good"}]'"""),
    of_b1("attempts", "boundaries", "'{}'"),
    of_b1("attempts", "boundaries", """'[{"node": 3}]'"""),
    of_b1("attempts", "output", "'{'"),
    of_b1("attempts", "outcome", "'Better'"),
    of_b1("attempts", "started_at", "9000000000000000000"),
]
ENTRIES = [
    of_b1("audit_entries", column, value, " AND seq = 2")
    for column, value in (
        ("details", "'3'"),
        ("details", "'{'"),
        ("details", """'{"a": NaN}'"""),
        ("details", f"'{DEEP}'"),
        ("at", "9000000000000000000"),
        ("type", "'Praised'"),
        ("severity", "'Fine'"),
    )
]
TRAILS = [
    FORGED,
    FORGED.replace(" 6, ", " 0, "),
    FORGED.replace(" 6, ", " -3, "),
    of_b1("batches", "audit_entries", "4"),
    of_b1("batches", "audit_entries", "9"),
    of_b1("batches", "audit_head", "'x'"),
    of_b1("batches", "audit_pruned_at", "1"),
    "DELETE FROM audit_entries WHERE batch_id = 'b1' AND seq = 5",
]
FINDINGS = [
    *((statement, "unreadable_document") for statement in DOCUMENTS),
    *((statement, "unreadable_batch") for statement in BATCHES),
    *((statement, "unreadable_results") for statement in RESULTS),
    *((statement, "audit_chain") for statement in ENTRIES),
    *(
        (statement, "no_status")
        for statement in (of_b1("documents", "status", "'{}'"), of_b1("documents", "status", "NULL"))
    ),
]
"""Each with the kind of finding that it makes."""

MISTYPED = [
    of_b1("batches", "accepted_at", "'soon'"),
    of_b1("batches", "audit_entries", "'abc'"),
    of_b1("batches", "name", "x'ff'"),
    of_b1("batches", "message", "CAST(x'ff' AS TEXT)"),
    of_b1("documents", "status", "CAST(x'ff' AS TEXT)"),
    of_b1("attempts", "message", "CAST(x'ff' AS TEXT)"),
    of_b1("audit_entries", "message", "CAST(x'ff' AS TEXT)", " AND seq = 2"),
    of_b1("sessions", "host", "CAST(x'ff' AS TEXT)"),
    of_b1("sessions", "pid", "'x'"),
    of_b1("batches", "base", "CAST(x'2f00' AS TEXT)"),
    of_b1("attempts", "duration_seconds", "'long'"),
    of_b1("attempts", "duration_seconds", "9e999"),
    of_b1("attempts", "score", "'good'"),
    of_b1("audit_entries", "at", "'then'", " AND seq = 2"),
    of_b1("audit_entries", "message", "x'ff'", " AND seq = 2"),
]
"""What SQLite keeps in a column that is not for it, and PostgreSQL refuses."""


@pytest.mark.proves("integrity")
@pytest.mark.parametrize(("statement", "kind"), FINDINGS, ids=named)
def test_a_damaged_row_is_a_critical_finding_and_hides_no_other_batch(
    store: SqlStore, statement: str, kind: str
) -> None:
    corrupt(store, statement, "DELETE FROM audit_entries WHERE batch_id = 'b2' AND seq = 3")

    found = {(one.severity.value, one.kind, one.batch_id) for one in check_integrity(store, T0)}

    assert {("critical", kind, "b1"), ("critical", "audit_chain", "b2")} <= found


@pytest.mark.parametrize("statement", MISTYPED, ids=named)
def test_so_is_one_that_holds_what_its_column_is_not_for(tmp_path: Path, statement: str) -> None:
    with open_store(str(tmp_path / "store.db")) as store:
        a_finished_batch(store, "b1")
        a_finished_batch(store, "b2")
        corrupt(store, statement, "DELETE FROM audit_entries WHERE batch_id = 'b2' AND seq = 3")

        found = {(one.severity.value, one.batch_id) for one in check_integrity(store, T0)}

    assert {("critical", "b1"), ("critical", "b2")} <= found


@pytest.mark.parametrize("statement", [*DOCUMENTS, *BATCHES], ids=named)
def test_a_damaged_batch_cannot_be_read_and_another_one_can(store: SqlStore, statement: str) -> None:
    corrupt(store, statement)

    with pytest.raises(RecordDamaged, match=r"batch b1.*restore a back-up, see docs/database.md"):
        (LoadedBatch.of(store.batch("b1")), status_of(store.batch("b1")))
    assert LoadedBatch.of(store.batch("b2")).batch.metadata.name == "docs-search"


@pytest.mark.parametrize("statement", [of_b1("documents", "status", "'[]'"), *BATCHES], ids=named)
def test_a_damaged_batch_is_left_out_of_a_list_and_said_to_be(store: SqlStore, statement: str) -> None:
    corrupt(store, statement)
    damaged: list[RecordDamaged] = []

    listed = [record.id for record in store.batches(damaged=damaged)]

    assert (listed, len(damaged)) == (["b2"], 1)
    with pytest.raises(RecordDamaged, match="batch b1"):
        store.batches()


def test_a_batch_without_its_specification_is_said_in_a_list(store: SqlStore) -> None:
    corrupt(store, "DELETE FROM documents WHERE batch_id = 'b1'")
    damaged: list[RecordDamaged] = []

    listed = [record.id for record in store.batches(damaged=damaged)]

    assert listed == ["b2"]
    assert "batch b1 was changed or damaged: its specification is missing" in str(damaged[0])
    with pytest.raises(RecordDamaged, match="its specification is missing"):
        store.batch("b1")


def test_an_open_session_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "store.db")) as store:
        a_running_batch(store, "b1")
        a_running_batch(store, "b2")
        corrupt(store, of_b1("sessions", "pid", "'x'"))
        damaged: list[RecordDamaged] = []

        found = [session.batch_id for session in store.open_sessions(damaged)]

        assert (found, len(damaged)) == (["b2"], 1)


@pytest.mark.parametrize("table", ["attempts", "audit_entries", "documents", "sessions"])
def test_rows_whose_batch_has_no_name_are_found_and_left(tmp_path: Path, table: str) -> None:
    with open_store(str(tmp_path / "store.db")) as store:
        a_finished_batch(store, "b1")
        corrupt(store, of_b1(table, "batch_id", "x'00ff'"))

        findings = check_integrity(store, T0)
        done = repair(store, findings, T0)

    assert ("dangling_rows", repr(b"\x00\xff")) in {(one.kind, one.batch_id) for one in findings}
    assert done == ([], [])


# -- repair ----------------------------------------------------------------------------------------------------------


@pytest.mark.proves("integrity")
@pytest.mark.parametrize("statement", [*TRAILS, *ENTRIES, BATCHES[0]], ids=named)
def test_nothing_is_added_to_a_trail_that_does_not_verify(store: SqlStore, statement: str) -> None:
    corrupt(store, statement, *TO_MEND)
    before = rows_of(store, "b1")

    done, failed = repair(store, check_integrity(store, T0), T0)

    assert rows_of(store, "b1") == before
    assert [batch_id for batch_id, _ in done] == ["b2"]
    assert failed == []
    assert verify_chain(store.audit_entries("b2"), store.batch("b2").audit_head) == ""


@pytest.mark.parametrize("also", ["NaN", "Infinity", "1e400", '"\\ud800"'])
def test_a_status_is_mended_whatever_else_is_in_it(store: SqlStore, also: str) -> None:
    wrong = f"""{{"trials": {{"total": 2, "passed": 0, "failed": 1, "timedOut": 1}}, "message": {also}}}"""
    corrupt(store, of_b1("documents", "status", f"'{wrong}'"), *TO_MEND)

    done, failed = repair(store, check_integrity(store, T0), T0)

    assert "b2" in {batch_id for batch_id, _ in done}
    assert failed == []


def test_a_batch_that_cannot_be_written_is_said_and_the_next_is_mended(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "store.db")) as store:
        a_finished_batch(store, "b1")
        a_finished_batch(store, "b2")
        corrupt(store, *TO_MEND, REFUSED)

        done, failed = repair(store, check_integrity(store, T0), T0)

        assert [batch_id for batch_id, _ in done] == ["b2"]
        assert [(batch_id, "not this one" in why) for batch_id, why in failed] == [("b1", True)]


TO_MEND = (
    IS_A_BATCHTESTS,
    IS_A_BATCHTESTS.replace("'b1'", "'b2'").replace("'u1'", "'u2'"),
    TO_POST.format(seq=1, created=MICROS, parked="TRUE"),
    TO_POST.format(seq=1, created=MICROS, parked="TRUE").replace("'b1'", "'b2'"),
)
REFUSED = (
    "CREATE TRIGGER refused BEFORE UPDATE ON outbox WHEN NEW.batch_id = 'b1' "
    "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
)


def rows_of(store: SqlStore, batch_id: str) -> list[object]:
    found: list[object] = []
    with store.engine.connect() as connection:
        for table, key in (("batches", "id"), ("outbox", "batch_id"), ("audit_entries", "batch_id")):
            found += connection.exec_driver_sql(f"SELECT * FROM {table} WHERE {key} = '{batch_id}'").all()  # noqa: S608
    return found


# -- the trail of one batch ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", TRAILS, ids=named)
def test_audit_verify_says_of_any_change_to_a_trail_that_it_is_broken(
    store: SqlStore, store_target: str, statement: str, capsys: pytest.CaptureFixture[str]
) -> None:
    corrupt(store, statement)

    code = verify_batch("b1", "", Origin(store=store_target), Output.TEXT)

    assert (code, "b1: BROKEN: " in capsys.readouterr().out) == (1, True)


def test_audit_verify_takes_no_entry_that_a_running_batch_adds_meanwhile_for_a_forged_one(
    store: SqlStore, store_target: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = a_running_batch(store, "b3")
    store.commit(session, entries=[an_entry(1, "b3")])
    read, asked = SqlStore.audit_entries, []

    def read_late(self: SqlStore, batch_id: str, **limits: int) -> Iterator[SealedEntry]:
        asked.append(batch_id)
        store.commit(session, entries=[an_entry(1 + len(asked), "b3")])
        return read(self, batch_id, **limits)

    monkeypatch.setattr(SqlStore, "audit_entries", read_late)
    code = verify_batch("b3", "", Origin(store=store_target), Output.TEXT)

    assert (code, "b3: intact: 1 entries" in capsys.readouterr().out, len(asked)) == (0, True, 2)


@pytest.mark.proves("outbox", "integrity")
@pytest.mark.parametrize("change", UNPOSTABLE, ids=named)
def test_an_event_that_cannot_be_read_is_given_up_and_holds_up_no_other(store_target: str, change: str) -> None:
    with open_store(store_target) as store:
        a_finished_batch(store)
        to_post = [TO_POST.format(seq=seq, created=MICROS, parked="FALSE") for seq in (1, 2, 3)]
        corrupt(store, IS_A_BATCHTESTS, *to_post, change)

    damaged: list[RecordDamaged] = []
    with closing(open_cluster_store(store_target)) as cluster_store:
        due = [item.seq for item in cluster_store.outbox_due(T0, 10, damaged)]
        again = [item.seq for item in cluster_store.outbox_due(T0, 10)]
        given_up = cluster_store.outbox_stats()[2]
        found = [one.message for one in check_integrity(cluster_store, T0) if one.kind == "parked_events"]

    assert (due, again, given_up) == ([1, 3], [1, 3], 1)
    assert "of batch b1 was changed or damaged" in str(damaged[0])
    assert "1 Kubernetes events were given up; the last time: " in found[0]
