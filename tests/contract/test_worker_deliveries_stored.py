"""From a worker's writer to the operator's store over a network that breaks anywhere: each result is kept once."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from batchyard.kube.limits import Limits
from batchyard.model.audit import AuditEntry
from batchyard.model.events import EventType, Severity
from batchyard.model.wire import Done, Hello
from batchyard.worker.client import ResultsClient
from batchyard.worker.poster import Poster
from batchyard.worker.settings import WorkerSettings
from batchyard.worker.spool import Spool
from batchyard.worker.writer import SegmentWriter
from breaking_proxy import BreakingProxy, Cut, breaking_proxy
from runner_bench import CLOCK, LONG
from worker_bench import BATCH, OperatorBench
from worker_fakes import QUICK

if TYPE_CHECKING:
    from pathlib import Path

RESULTS = 120
ENOUGH_TURNS = Limits(rate=100_000, burst=100_000)


def a_cut(chance: random.Random) -> Cut:
    """Return a cut within the first requests of a connection, or within their answers."""
    if chance.random() < 0.5:
        return Cut(up=chance.randrange(1, 4000))
    return Cut(down=chance.randrange(1, 1200))


def send_all(bench: OperatorBench, proxy: BreakingProxy, chance: random.Random, folder: Path) -> None:
    """Write a result a step, in segments of several steps, while connections break."""
    token = folder / "token"
    token.write_text(bench.token())
    spool = Spool(folder / "spool")
    settings = WorkerSettings(f"http://127.0.0.1:{proxy.port}", BATCH, 1, token, folder)
    with ResultsClient(settings) as client:
        poster = Poster(
            client, spool, CLOCK, QUICK,
            running=lambda: 1, on_directive=lambda _directive: None, on_end=lambda _error: None,
        )  # fmt: skip
        poster.start()
        with SegmentWriter(spool, poster, Hello(1, "1", "3"), spool_bytes=10**9, may_hold_up=lambda: True) as writer:
            for number in range(RESULTS):
                result = bench.result(number, output="x" * chance.choice([0, 10, 3000, 20_000]))
                told = AuditEntry(CLOCK.now(), EventType.TRIAL_PASSED, Severity.SUCCESS, str(number), BATCH)
                writer.submit(results=[(result, True)], entries=[told])
                if chance.random() < 0.7:
                    writer.flush()
            writer.finish(Done(""))
        assert poster.wait_sent(LONG)
        poster.close()


@pytest.mark.parametrize("seed", range(3))
def test_each_result_and_entry_is_kept_once_and_in_order_whatever_breaks(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    with (
        OperatorBench(tmp_path, repeats=RESULTS, bounds=ENOUGH_TURNS) as bench,
        breaking_proxy(bench.port) as proxy,
    ):
        proxy.script.extend(a_cut(chance) for _ in range(60))
        send_all(bench, proxy, chance, tmp_path)

        assert proxy.broken >= 20
        assert [result.ordinal for result in bench.attempts] == [*range(RESULTS)]
        assert bench.told("TrialPassed") == [str(number) for number in range(RESULTS)]
        assert bench.told("LateResult") == []
        assert bench.place.done_stop == ""
        assert (bench.batch.open_trials, bench.batch.summary.finished) == (0, RESULTS)
