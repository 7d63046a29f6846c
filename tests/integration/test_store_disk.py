"""A disk that is full, or that may not be written to: a clear error, and nothing lost that was written before."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from batchyard.clock import SystemClock
from batchyard.model.errors import StoreError
from batchyard.store import GroupCommitWriter, open_store
from batchyard.testing.store_builders import a_result, a_running_batch, an_entry

# Root may write everywhere, so the child gives its rights up once all it needs is imported.
READ_ONLY = """
import os, sys
from batchyard.model.errors import StoreError
from batchyard.store import open_store
from batchyard.testing.store_builders import a_batch
store = open_store(sys.argv[1])
store.close()
if os.geteuid() == 0:
    os.seteuid(65534)
print(store.batch("b1").name)
try:
    store.create_batch(a_batch("b2"))
except StoreError as err:
    print(err)
store.close()
"""


def test_a_full_disk_is_reported_with_a_remedy_and_keeps_what_was_written(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "store.db")) as store:
        session = a_running_batch(store)
        store.commit(session, results=[(a_result(0), True)], entries=[an_entry(0)])
        before = store.batch("b1")
        with store.engine.connect() as connection:
            # The one pooled connection keeps it: SQLite then behaves as if the disk ended there.
            connection.exec_driver_sql("PRAGMA max_page_count=1")

        with pytest.raises(StoreError, match="disk is full; free some space"):
            store.commit(session, results=[(a_result(n), True) for n in range(1, 400)], entries=[an_entry(1)])

        assert [result.ordinal for result in store.results("b1")] == [0]
        assert store.batch("b1") == before


def test_a_write_that_the_system_refuses_fails_the_writer_and_keeps_what_was_written(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "store.db")) as store:
        session = a_running_batch(store)
        store.commit(session, results=[(a_result(0), True)])
        writer = GroupCommitWriter(store, session, clock=SystemClock(), max_delay=0)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "store.db-wal").stat().st_size + 4096, hard))
        try:
            refused = writer.submit(results=[(a_result(n), True) for n in range(1, 400)]).exception(timeout=60)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        with pytest.raises(StoreError, match="--store"):
            writer.submit(results=[(a_result(1), True)])
        with pytest.raises(StoreError, match="--store"):
            writer.close()
        assert isinstance(refused, StoreError)
        assert [result.ordinal for result in store.results("b1")] == [0]


def test_a_store_that_may_only_be_read_can_be_read_and_says_how_to_write() -> None:
    # Not tmp_path: pytest lets nobody but the user into it.
    with tempfile.TemporaryDirectory(prefix="batchyard-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        path = folder / "store.db"
        with open_store(str(path)) as store:
            a_running_batch(store)
            for file in folder.iterdir():
                file.chmod(0o444)
            folder.chmod(0o555)

            told = subprocess.run([sys.executable, "-c", READ_ONLY, path], capture_output=True, text=True, check=False)
        folder.chmod(0o755)

    name_read, refusal = told.stdout.splitlines()
    assert name_read == "docs-search"
    assert refusal.startswith(f"store {path}: cannot create the batch: attempt to write a readonly database;")
    assert "make the file and its folder writable" in refusal


def test_a_place_where_no_file_can_be_made_is_reported_with_a_remedy() -> None:
    with pytest.raises(StoreError, match=r"store /proc/no/where\.db: cannot .*--store"):
        open_store("/proc/no/where.db")
