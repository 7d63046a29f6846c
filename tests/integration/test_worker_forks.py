"""``batchyard worker`` keeps threads in a real PostgreSQL, and begins another batch's trials from them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg

from batchyard.engine.cluster_ports import ClusterRef
from batchyard.engine.ports import Owner
from batchyard.model.outcome import Outcome, Phase
from worker_bench import BATCH, OperatorBench, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DATABASE = {"postgres": {"secretRef": {"name": "threads", "key": "url"}}}


def work(bench: OperatorBench, url: str) -> None:
    """Run the batch with the database's URL where its pod would have it."""
    file = bench.folder / "url"
    file.write_text(f"{url}\n")
    with WorkerProcess(bench, BATCHYARD_THREADS_FILE=str(file)) as worker:
        assert worker.wait() == 0, worker.words


def put_source(bench: OperatorBench, source: OperatorBench) -> None:
    """Have the store know another batch, finished, with its results."""
    now = bench.clock.now()
    record = replace(source.store.batch(BATCH), id="first-1", name="first", phase=Phase.SUCCEEDED, completed_at=now)
    bench.store.create_cluster_batch(record, ClusterRef("team-a", "first", "uid-2"))
    session = bench.store.open_session("first-1", Owner("h", 1, "s"), now)
    bench.store.commit(session, results=[(result, True) for result in source.finals])


def ended(bench: OperatorBench) -> Mapping[str, Any]:
    """Return what the trail says of how the one trial ended."""
    (entry,) = (sealed.entry for sealed in bench.trail if sealed.entry.type == "TrialPassed")
    return entry.details


def test_trials_begin_from_what_another_places_worker_kept(tmp_path: Path, postgres_url: str) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    fork: dict[str, Any] = {"batchTest": "first", "node": "two", "variants": {"side": "left"}}
    wanted: dict[str, Any] = {"variants": {"matrix": {"side": ["up"]}}, "checkpoints": DATABASE, "forkFrom": fork}

    with OperatorBench(tmp_path / "first", checkpoints=DATABASE) as source:
        work(source, postgres_url)
        kept = ended(source)
        (result,) = source.finals
        with OperatorBench(tmp_path / "second", forked_from="first-1", **wanted) as bench:
            put_source(bench, source)
            work(bench, postgres_url)
            (forked,) = bench.finals
            told = ended(bench)

    assert kept["kept"] is True
    assert forked.outcome is Outcome.PASSED
    assert [boundary.node for boundary in forked.boundaries] == ["three", "four", "five"]
    assert forked.output == {**result.output, "variants": {"side": "up"}}
    assert told["forkedFrom"]["thread"] == result.thread_id
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute("SELECT thread_id FROM batchyard_threads ORDER BY kept_at").fetchall()
    assert rows == [(result.thread_id,), (forked.thread_id,)]


def test_a_database_that_is_away_costs_no_result_and_is_told_of_without_its_url(tmp_path: Path) -> None:
    with OperatorBench(tmp_path, checkpoints=DATABASE) as bench:
        work(bench, "postgresql://someone:hunter2@127.0.0.1:1/none")
        told = ended(bench)

    assert told["kept"] is False
    assert "spec.checkpoints.postgres" in told["notKept"]
    assert "hunter2" not in str(told)
