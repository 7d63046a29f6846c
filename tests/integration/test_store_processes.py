"""Several real processes at one store: starting together, writing together, and dying in the middle of it."""

from __future__ import annotations

import fcntl
import multiprocessing
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

import store_children
from batchyard.model.audit import verify_chain
from batchyard.store import open_store, schema
from batchyard.store.findings import FindingSeverity
from batchyard.store.integrity import check_integrity
from batchyard.testing.store_builders import T0, a_batch, a_result, a_running_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from batchyard.store import SqlStore

SPAWN = multiprocessing.get_context("spawn")
SECONDS = 60


def started(work: Callable[..., None], *arguments: object) -> tuple[BaseProcess, Connection]:
    """Start a process whose last argument is the pipe that it answers through."""
    answers, answer = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=work, args=(*arguments, answer), daemon=True)
    process.start()
    # Ours must go, or the end of the process would never be the end of the pipe.
    answer.close()
    return process, answers


def answered(process: BaseProcess, answers: Connection) -> object:
    """Return the one answer of a process, which then ends."""
    with answers:
        assert answers.poll(SECONDS), "no answer in time"
        answer = answers.recv()
    process.join(SECONDS)
    assert process.exitcode == 0
    process.close()
    return answer


def test_processes_that_start_at_once_on_a_new_database_share_one_schema(store_target: str) -> None:
    together = SPAWN.Barrier(3)
    children = [started(store_children.open_at_once, store_target, together) for _ in range(3)]

    answers = [answered(*child) for child in children]

    assert answers == [schema.head()] * 3
    with open_store(store_target, upgrade=False) as store, store.engine.connect() as connection:
        assert connection.scalars(sa.text("SELECT version_num FROM alembic_version")).all() == [schema.head()]


@pytest.mark.proves("bug-20")
def test_a_process_waits_for_the_one_that_upgrades_before_it_makes_the_file(tmp_path: Path) -> None:
    path, together = tmp_path / "store.db", SPAWN.Barrier(2)
    with path.with_name("store.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process, answers = started(store_children.open_at_once, str(path), together)
        together.wait(SECONDS)

        waits = not answers.poll(0.5)
        made_meanwhile = path.exists()

    assert (waits, made_meanwhile) == (True, False)
    assert answered(process, answers) == schema.head()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["store.db", "store.db.lock"]


@pytest.mark.proves("unit-of-work")
def test_whatever_was_acknowledged_survives_kill_9_in_the_middle_of_commits(store_target: str) -> None:
    acknowledged: set[int] = set()
    with open_store(store_target) as store:
        store.create_batch(a_batch("b1"))

        for answers_before_the_kill in (1, 23, 58):
            acknowledged |= killed_after(store_target, answers_before_the_kill)

            assert acknowledged <= set(store.finished_ordinals("b1"))
            assert verify_chain(store.audit_entries("b1"), store.batch("b1").audit_head) == ""
            assert entries_and_results_agree(store)


def killed_after(target: str, answers_before_the_kill: int) -> set[int]:
    process, answers = started(store_children.write_until_killed, target)
    acknowledged: set[int] = set()
    with answers:
        while len(acknowledged) < answers_before_the_kill:
            assert answers.poll(SECONDS), "no answer in time"
            acknowledged.add(answers.recv())
        process.kill()
        process.join(SECONDS)
        process.close()
        try:
            while answers.poll():
                acknowledged.add(answers.recv())
        except EOFError:
            return acknowledged
    raise AssertionError("the pipe outlived its process")


def entries_and_results_agree(store: SqlStore) -> bool:
    return [result.ordinal for result in store.results("b1")] == [
        int(sealed.entry.message.removeprefix("entry ").split(":")[0]) for sealed in store.audit_entries("b1")
    ]


def test_eight_processes_write_to_one_file_and_none_finds_it_locked(store_target: str) -> None:
    together = SPAWN.Barrier(8)
    names = [f"batch-{number}" for number in range(8)]
    children = [started(store_children.write_a_batch, store_target, name, 40, together) for name in names]

    answers = [answered(*child) for child in children]

    assert answers == [""] * 8
    with open_store(store_target) as store:
        assert [len(list(store.results(name))) for name in names] == [40] * 8
        assert [finding for finding in check_integrity(store, T0) if finding.severity is not FindingSeverity.INFO] == []


def test_a_reader_is_not_held_up_by_a_write_that_goes_on(store_target: str) -> None:
    with open_store(store_target) as writer, open_store(store_target) as reader:
        writer.create_batch(a_batch("b1"))
        with writer.engine.execution_options(batchyard_begin="BEGIN IMMEDIATE").begin() as connection:
            connection.execute(sa.text("UPDATE batches SET name = 'changed'"))

            during = reader.batch("b1").name

        assert (during, reader.batch("b1").name) == ("docs-search", "changed")


def test_a_reader_half_way_does_not_stop_a_writer(store_target: str) -> None:
    with open_store(store_target) as store:
        session = a_running_batch(store)
        store.commit(session, results=[(a_result(ordinal), True) for ordinal in range(300)])
        half_read = store.results("b1")
        first = next(half_read)

        store.commit(session, results=[(a_result(300), True)])

        assert [first, *half_read] == [a_result(ordinal) for ordinal in range(300 + 1)]
